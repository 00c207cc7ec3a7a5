// panel_gemm_<kind>, panel_wide_<kind>: y[t] = end(W x[t]) for many rows of x, on tensor cores; kinds int8, int8_sparse24, f8_e4m3 and f16.
//
//   W      panels of 128 rows (kernels/panel.cuh); x panels of 128 rows, or of 256 for panel_wide_
//   y      f32 [T][y_stride]
//   work   2 T rows cols operations; a stage is 128 bytes of x's columns: 128, or 64 of f16
//
// panel_wide_ is Hopper's: one warp copies whole stages, which lie in memory as they lie in shared memory, two groups of four
// warps multiply 64 rows of W each by 256 rows of x, and blocks walk over tiles, so that copies go on while sums are written.
// (Pairs of blocks that share their rows of x were slower: 919 for 1330 TOPS of int8, 8192 cubed, on an H100.)
// panel_gemm_ runs everywhere. Sums of whole numbers are exact in both; f32 sums are added in the order of the columns.

template <int KIND> struct PanelKind;
enum { INT8, INT8_SPARSE24, F8, F16 };
#define PANEL_KIND(KIND, SUM, PIECES, PLACES)                                                                         \
  template <> struct PanelKind<KIND> {                                                                                \
    typedef SUM Sum;                                                                                                  \
    enum { W_PIECES = PIECES, W_BYTES = PIECES * 2048, PLACE_BYTES = PLACES };                                        \
  };
PANEL_KIND(INT8, int, 8, 0)
PANEL_KIND(INT8_SPARSE24, int, 4, 2048)
PANEL_KIND(F8, float, 8, 0)
PANEL_KIND(F16, float, 8, 0)

// Tiles that share rows of W or of x run side by side: 16 of W's panels, then the next of x's.
DEV void panel_tile(u32 index, u32 row_tiles, u32 column_tiles, u32* row_tile, u32* column_tile) {
  u32 group = index / (16 * column_tiles), rest = index % (16 * column_tiles), width = min(16u, row_tiles - group * 16);
  *row_tile = group * 16 + rest % width, *column_tile = rest / width;
}

// What a lane multiplies sums with: scales and biases of four of W's 16 rows from `row` on, loaded long before they are needed.
struct RowEnd {
  u32 row;
  float scales[4], biases[4];
};
DEV RowEnd row_end(const PanelProduct& p, u32 row) {
  RowEnd end;
  end.row = row + threadIdx.x % 4 * 4;
#pragma unroll
  for (u32 i = 0; i < 4; i++) {
    u32 own = min(end.row + i, p.rows - 1);
    end.scales[i] = p.w_scales[own], end.biases[i] = p.bias ? p.bias[own] : 0;
  }
  return end;
}

// A warp's sums of 16 rows of W with 32 of x, from `column` on, by way of `stage` (512 words of shared memory): there a lane has
// four neighbours of y. x_scale is that of x's row column + lane. The code of the ends is there once for 16 sums.
template <class Sum> DEV void panel_write(const PanelProduct& p, u32* stage, const Sum (*s)[4], const RowEnd& end, u32 column, float x_scale) {
  u32 lane = threadIdx.x % 32;
  __syncwarp();
#pragma unroll
  for (int j = 0; j < 4; j++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      u32 c = j * 8 + lane % 4 * 2 + i % 2;
      *(Sum*)(stage + c * 16 + (lane / 4 + i / 2 * 8 ^ (c / 2 % 2) << 3)) = s[j][i];
    }
  __syncwarp();
  float* y = p.y + (u64)column * p.y_stride + end.row;
  // Whole vectors, or each by itself.
  bool whole = p.mode == 0 && column + 32 <= p.count && p.y_stride % 4 == 0;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    u32 c = i * 8 + lane / 4;
    const Sum* sums = (const Sum*)(stage + c * 16 + (lane % 4 * 4 ^ (c / 2 % 2) << 3));
    float scale = __shfl_sync(~0u, x_scale, c), values[4];
#pragma unroll
    for (int k = 0; k < 4; k++) values[k] = panel_scaled(p, (float)sums[k], end.scales[k], scale, end.biases[k]);
    float* at = y + (u64)c * p.y_stride;
    if (whole && end.row + 4 <= p.rows) {
      *(float4*)at = make_float4(values[0], values[1], values[2], values[3]);
    } else if (column + c < p.count) {
#pragma unroll
      for (int k = 0; k < 4; k++)
        if (end.row + k < p.rows) panel_finish(p, at + k, values[k]);
    }
  }
}

// Eight warps, each 32 rows of W x 64 of x; three stages.
template <int KIND> DEV void panel_block(const PanelProduct& p) {
  typedef PanelKind<KIND> K;
  constexpr u32 STAGE = K::W_BYTES + K::PLACE_BYTES + 16384;
  u32 shared = shared_address(shared_memory()), warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  u32 row_tile, column_tile;
  panel_tile(blockIdx.x, (p.rows + 127) / 128, (p.count + 127) / 128, &row_tile, &column_tile);
  const u8 *w = p.w + (u64)row_tile * p.steps * K::W_BYTES, *x = p.x + (u64)column_tile * p.steps * 16384;
  const u8* places = (const u8*)p.places + (u64)row_tile * p.steps * 2048;
  auto fetch = [&](u32 step, u32 to) {
    if (step < p.steps) {
      for (u32 i = threadIdx.x * 16; i < K::W_BYTES; i += 4096) copy_async(to + i, w + (u64)step * K::W_BYTES + i, true);
      if constexpr (K::PLACE_BYTES != 0)
        for (u32 i = threadIdx.x * 16; i < K::PLACE_BYTES; i += 4096) copy_async(to + K::W_BYTES + i, places + (u64)step * 2048 + i, true);
      for (u32 i = threadIdx.x * 16; i < 16384; i += 4096) copy_async(to + K::W_BYTES + K::PLACE_BYTES + i, x + (u64)step * 16384 + i, true);
    }
    copies_commit();
  };
  typename K::Sum sums[2][8][4] = {};
  fetch(0, shared);
  fetch(1, shared + STAGE);
  u32 w_row = warp / 2 * 32 + lane % 16, x_row = warp % 2 * 64 + lane / 16 * 8 + lane % 8;
  for (u32 step = 0; step < p.steps; step++) {
    copies_wait<1>();
    __syncthreads();
    fetch(step + 2, shared + (step + 2) % 3 * STAGE);
    u32 at = shared + step % 3 * STAGE, x_at = at + K::W_BYTES + K::PLACE_BYTES;
    if constexpr (KIND == INT8_SPARSE24) {
#pragma unroll
      for (int k = 0; k < 2; k++) {
        u32 a[2][4], places_of[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
          matrix_load(at + (k * 2 + lane / 16) * 2048 + (w_row + i * 16) * 16, a[i]);
          places_of[i] = *(const u32*)(shared_memory() + (at - shared) + K::W_BYTES + (warp / 2 * 2 + i) * 256 + lane * 8 + k * 4);
        }
#pragma unroll
        for (int j = 0; j < 8; j++) {
          // Four pieces of eight rows of x.
          u32 b[4], row = warp % 2 * 64 + j * 8 + lane % 8;
          matrix_load(x_at + row * 128 + ((k * 4 + lane / 8 ^ row % 8) << 4), b);
#pragma unroll
          for (int i = 0; i < 2; i++) mma_s8_sparse(sums[i][j], a[i], b, places_of[i]);
        }
      }
    } else {
#pragma unroll
      for (int k = 0; k < 4; k++) {
        u32 a[2][4];
#pragma unroll
        for (int i = 0; i < 2; i++) matrix_load(at + (k * 2 + lane / 16) * 2048 + (w_row + i * 16) * 16, a[i]);
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
          u32 b[4], row = x_row + j * 8;
          matrix_load(x_at + row * 128 + ((k * 2 + lane / 8 % 2 ^ row % 8) << 4), b);
#pragma unroll
          for (int i = 0; i < 2; i++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
              typename K::Sum* c = sums[i][j + half];
              if constexpr (KIND == INT8) mma_s8(c, a[i], b[2 * half], b[2 * half + 1]);
#if __CUDA_ARCH__ >= 890
              if constexpr (KIND == F8) mma_e4m3(c, a[i], b[2 * half], b[2 * half + 1]);
#endif
              if constexpr (KIND == F16) mma_f16(c, a[i][0], a[i][1], a[i][2], a[i][3], b[2 * half], b[2 * half + 1]);
            }
        }
      }
    }
  }
  __syncthreads();
  u32* stage = (u32*)shared_memory() + warp * 512;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    RowEnd end = row_end(p, row_tile * 128 + warp / 2 * 32 + i * 16);
#pragma unroll
    for (int j = 0; j < 8; j += 4) {
      u32 column = column_tile * 128 + warp % 2 * 64 + j * 8;
      panel_write(p, stage, sums[i] + j, end, column, p.x_scales[column + lane]);
    }
  }
}
#define PANEL_GEMM(NAME, KIND)                                                                                        \
  extern "C" __global__ void __launch_bounds__(256, 1) panel_gemm_##NAME(PanelProduct p) { panel_block<KIND>(p); }
PANEL_GEMM(int8, INT8)
PANEL_GEMM(int8_sparse24, INT8_SPARSE24)
// Elsewhere these products are made of f16 ones, so the f16 kernel serves.
#if __CUDA_ARCH__ >= 890 && __CUDA_ARCH__ < 900 || __CUDA_ARCH__ >= 1200
PANEL_GEMM(f8_e4m3, F8)
#endif
PANEL_GEMM(f16, F16)

#if __CUDA_ARCH_FEAT_SM90_ALL
#define WIDE_X_BYTES 32768
template <int KIND> DEV void panel_wide(const PanelProduct& p) {
  typedef PanelKind<KIND> K;
  constexpr u32 STAGE = K::W_BYTES + K::PLACE_BYTES + WIDE_X_BYTES, STAGES = (226 * 1024 - 16384) / STAGE;
  // Who says that a stage was read: a thread of each group, and of each warp where warps load places by themselves.
  constexpr u32 TELLERS = K::PLACE_BYTES ? 8 : 2;
  // Behind the stages: what counts the bytes that come, and who is done with them; then each warp's sums on their way out.
  u8* shared = shared_memory();
  u64 *full = (u64*)(shared + STAGES * STAGE), *empty = full + STAGES;
  u32* kept = (u32*)(shared + STAGES * STAGE + 128);
  u32 row_tiles = (p.rows + 127) / 128, column_tiles = (p.count + 255) / 256, tiles = row_tiles * column_tiles;
  if (threadIdx.x == 0) {
    for (u32 i = 0; i < STAGES; i++) counter_init(&full[i], 1), counter_init(&empty[i], TELLERS);
    counter_publish();
  }
  __syncthreads();
  u32 group = threadIdx.x / 128, stage = 0, phase = 0;
  if (group == 0) {
    registers_fewer<40>();
    if (threadIdx.x == 0) {
      for (u32 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        u32 row_tile, column_tile;
        panel_tile(tile, row_tiles, column_tiles, &row_tile, &column_tile);
        const u8 *w = p.w + (u64)row_tile * p.steps * K::W_BYTES, *x = p.x + (u64)column_tile * p.steps * WIDE_X_BYTES;
        const u8* places = (const u8*)p.places + (u64)row_tile * p.steps * 2048;
        for (u32 step = 0; step < p.steps; step++) {
          counter_wait(&empty[stage], phase ^ 1);
          u8* to = shared + stage * STAGE;
          counter_expect(&full[stage], STAGE);
          copy_shared(to, x + (u64)step * WIDE_X_BYTES, WIDE_X_BYTES, &full[stage]);
          copy_shared(to + WIDE_X_BYTES, w + (u64)step * K::W_BYTES, K::W_BYTES, &full[stage]);
          if (K::PLACE_BYTES) copy_shared(to + WIDE_X_BYTES + K::W_BYTES, places + (u64)step * 2048, 2048, &full[stage]);
          if (++stage == STAGES) stage = 0, phase ^= 1;
        }
      }
    }
  } else {
    registers_more<232>();
    u32 own = group - 1, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, base = shared_address(shared), before = 0;
    bool tells = threadIdx.x % (256 / TELLERS) == 0;
    typename K::Sum sums[32][4];
    for (u32 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
      u32 row_tile, column_tile;
      panel_tile(tile, row_tiles, column_tiles, &row_tile, &column_tile);
      RowEnd end = row_end(p, row_tile * 128 + own * 64 + warp * 16);
      float x_scales[8];
#pragma unroll
      for (int i = 0; i < 8; i++) x_scales[i] = p.x_scales[column_tile * 256 + i * 32 + lane];
      for (u32 step = 0; step < p.steps; step++) {
        counter_wait(&full[stage], phase);
        u32 at = base + stage * STAGE;
        u64 x = wgmma_operand(at), w = wgmma_pieces(at + WIDE_X_BYTES + own * 1024, 2048);
        uint2 places = make_uint2(0, 0);
        if (KIND == INT8_SPARSE24) places = *(const uint2*)(shared + stage * STAGE + WIDE_X_BYTES + K::W_BYTES + (own * 4 + warp) * 256 + lane * 8);
        wgmma_begin();
        if constexpr (KIND == INT8_SPARSE24) {
          wgmma_s8_sparse(sums, w, x, places.x, step);
          wgmma_s8_sparse(sums, w + 256, x + 4, places.y, 1);
        } else {
#pragma unroll
          for (int k = 0; k < 4; k++) {
            if constexpr (KIND == INT8) wgmma_s8(sums, w + k * 256, x + k * 2, step | k);
            if constexpr (KIND == F8) wgmma_e4m3(sums, w + k * 256, x + k * 2, step | k);
            if constexpr (KIND == F16) wgmma_f16(sums, w + k * 256, x + k * 2, step | k);
          }
        }
        wgmma_commit();
        if constexpr (KIND == INT8_SPARSE24) {
          // The places must stay in their registers until they were read; the other group multiplies meanwhile. A warp has loaded
          // its places once its product is done, and no other warp says so for it.
          wgmma_wait<0>();
          __syncwarp();
          if (tells) counter_arrive(&empty[stage]);
        } else {
          wgmma_wait<1>();
          // What the step before read may be overwritten.
          if (step > 0 && tells) counter_arrive(&empty[before]);
        }
        before = stage;
        if (++stage == STAGES) stage = 0, phase ^= 1;
      }
      wgmma_wait<0>();
      wgmma_settle(sums);
      if (KIND != INT8_SPARSE24 && tells) counter_arrive(&empty[before]);
#pragma unroll
      for (int j = 0; j < 32; j += 4)
        panel_write(p, kept + (own * 4 + warp) * 512, sums + j, end, column_tile * 256 + j * 8, x_scales[j / 4]);
    }
  }
}
#define PANEL_WIDE(NAME, KIND)                                                                                        \
  extern "C" __global__ void __launch_bounds__(384, 1) panel_wide_##NAME(PanelProduct p) { panel_wide<KIND>(p); }
PANEL_WIDE(int8, INT8)
PANEL_WIDE(int8_sparse24, INT8_SPARSE24)
PANEL_WIDE(f8_e4m3, F8)
PANEL_WIDE(f16, F16)
#endif
