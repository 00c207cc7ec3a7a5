// unpack_panel_<format>: what weights in panels mean, f32 [inputs][rows], to the bit as the host has it. grid: (columns / 8, panels).
//
// A thread is eight columns of a row, so that a warp writes neighbours. The surprise: of two-of-four formats the places of eight
// columns are a byte of the word that `pack_places` gave the lane of a tensor core.

enum { MEANS_F8, MEANS_INT8, MEANS_INT4, MEANS_INT8_SPARSE24, MEANS_INT4_SPARSE24 };

// The places of eight columns from `k` on, as quant/int8_sparse24.rs stores them.
DEV u32 panel_places(const u32* places, u32 row, u32 k, u32 cols) {
  u32 own = row % PANEL_ROWS, block = k / 8 % 16, lane = own % 8 * 4 + block % 8 / 4 * 2 + own % 16 / 8;
  u64 word = ((u64)(row / PANEL_ROWS) * (cols / 128) + k / 128) * 512 + own / 16 * 64 + lane * 2 + block / 8;
  return places[word] >> 8 * (block % 4) & 255;
}
template <int MEANS> DEV void unpack_panel(const PanelWeights& p, const u32* places, u32 inputs, float* out) {
  u32 row = blockIdx.y * PANEL_ROWS + threadIdx.x, k = blockIdx.x * 8;
  if (row >= p.rows) return;
  float weights[8];
  if constexpr (MEANS == MEANS_F8 || MEANS == MEANS_INT4) {
    panel_eight<MEANS == MEANS_INT4>(p, row, k, weights);
  } else {
    // These have one scale a row.
    float scale = p.scales[row];
    if constexpr (MEANS == MEANS_INT8) {
      uint2 v = load<uint2>(p.w + piece_at(row, k / 16, p.cols / 16) + k % 16);
#pragma unroll
      for (int i = 0; i < 8; i++) weights[i] = (float)(i8)((i < 4 ? v.x : v.y) >> 8 * (i % 4));
    } else {
      // Four codes are kept, signed bytes; of INT4 in their upper halves.
      u32 kept = k / 2, codes, of = panel_places(places, row, k, p.cols);
      if constexpr (MEANS == MEANS_INT8_SPARSE24) codes = load<u32>(p.w + piece_at(row, kept / 16, p.cols / 32) + kept % 16);
      else codes = load<u32>(p.w + piece_at(row, kept / 32, p.cols / 64) + kept % 16) << (kept % 32 < 16 ? 4 : 0) & 0xf0f0f0f0;
#pragma unroll
      for (int i = 0; i < 8; i++) {
        u32 four = i / 4, place = i % 4, lower = of >> 4 * four & 3, upper = of >> (4 * four + 2) & 3;
        int code = (i8)(codes >> (16 * four + (place == upper ? 8 : 0)));
        if constexpr (MEANS == MEANS_INT4_SPARSE24) code >>= 4;
        weights[i] = place == lower || place == upper ? (float)code : 0;
      }
    }
#pragma unroll
    for (int i = 0; i < 8; i++) weights[i] = __fmul_rn(weights[i], scale);
  }
#pragma unroll
  for (u32 i = 0; i < 8; i++)
    if (k + i < inputs) out[(u64)(k + i) * p.rows + row] = weights[i];
}
#define UNPACK_PANEL(NAME, MEANS)                                                                                     \
  extern "C" __global__ void __launch_bounds__(PANEL_ROWS)                                                            \
      unpack_panel_##NAME(PanelWeights p, const u32* places, u32 inputs, float* out) {                                \
    unpack_panel<MEANS>(p, places, inputs, out);                                                                      \
  }
UNPACK_PANEL(f8_e4m3, MEANS_F8)
UNPACK_PANEL(int8, MEANS_INT8)
UNPACK_PANEL(int4, MEANS_INT4)
UNPACK_PANEL(int8_sparse24, MEANS_INT8_SPARSE24)
UNPACK_PANEL(int4_sparse24, MEANS_INT4_SPARSE24)

// Panels of codes of a byte as rows [rows][pieces][16], which a library reads. grid: (pieces / 8, panels); a warp writes whole lines.
extern "C" __global__ void __launch_bounds__(PANEL_ROWS) rows_of_panels(const u8* panels, u32 rows, u32 pieces, u8* out) {
#pragma unroll
  for (u32 i = 0; i < 8; i++) {
    u32 index = i * PANEL_ROWS + threadIdx.x, row = blockIdx.y * PANEL_ROWS + index / 8, piece = blockIdx.x * 8 + index % 8;
    if (row < rows) *(uint4*)(out + ((u64)row * pieces + piece) * 16) = load<uint4>(panels + piece_at(row, piece, pieces));
  }
}
