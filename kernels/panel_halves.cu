// Weights of panels whose products are f32, F8_E4M3 and INT4: what they mean, and their f16 twins for many rows of inputs.
//
//   scales   f32 [rows / 128][blocks][128], one for each `scale_cols` columns of a row

struct PanelWeights {
  const u8* w;
  const float* scales;
  u32 rows, cols, scale_cols, scale_blocks;
};

// Eight weights of `row` from column `k` on, a multiple of eight.
template <int INT4> DEV void panel_eight(const PanelWeights& p, u32 row, u32 k, float* out) {
  if (INT4) {
    uint2 v = load<uint2>(p.w + piece_at(row, k / 32, p.cols / 32) + k % 16);
    u32 shift = k % 32 / 16 * 4;
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = (float)((int)((i < 4 ? v.x : v.y) >> (8 * (i % 2 * 2 + i % 4 / 2) + shift) & 15) - 8);
  } else {
    uint2 v = load<uint2>(p.w + piece_at(row, k / 16, p.cols / 16) + k % 16);
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = e4m3_value((i < 4 ? v.x : v.y) >> 8 * (i % 4));
  }
  const float* scales = p.scales + (u64)(row / PANEL_ROWS) * p.scale_blocks * PANEL_ROWS + row % PANEL_ROWS;
#pragma unroll
  for (int i = 0; i < 8; i++) out[i] = __fmul_rn(out[i], scales[(u64)((k + i) / p.scale_cols) * PANEL_ROWS]);
}

// scale_panel_<format>: scales[r] = 2^-p where 2^p brings row r's largest weight to 2^14. grid: rows.
template <int INT4> DEV void scale_panel(const PanelWeights& p, float* scales) {
  float most = 0;
  for (u32 k = threadIdx.x * 8; k < p.cols; k += blockDim.x * 8) {
    float weights[8];
    panel_eight<INT4>(p, blockIdx.x, k, weights);
#pragma unroll
    for (int i = 0; i < 8; i++) most = fmaxf(most, fabsf(weights[i]));
  }
  most = block_max(most);
  float inverse;
  power_for(most, 14, &inverse);
  if (threadIdx.x == 0) scales[blockIdx.x] = inverse;
}
// halve_panel_<format>: W / scales as f16 in panels of 128 rows. grid: (pieces, panels).
template <int INT4> DEV void halve_panel(const PanelWeights& p, const float* scales, u32 pieces, u8* out) {
  u32 row = blockIdx.y * PANEL_ROWS + threadIdx.x, k = blockIdx.x * 8;
  float weights[8] = {0, 0, 0, 0, 0, 0, 0, 0}, power = 1;
  if (row < p.rows && k < p.cols) {
    panel_eight<INT4>(p, row, k, weights);
    power = __uint_as_float((254u << 23) - __float_as_uint(scales[row]));
  }
  store_f16((u16*)(out + piece_at(row, blockIdx.x, pieces)), weights, power);
}
#define HALVE_PANEL(NAME, INT4)                                                                                       \
  extern "C" __global__ void __launch_bounds__(256) scale_panel_##NAME(PanelWeights p, float* scales) {               \
    scale_panel<INT4>(p, scales);                                                                                     \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(PANEL_ROWS) halve_panel_##NAME(PanelWeights p, const float* scales, u32 pieces, u8* out) { \
    halve_panel<INT4>(p, scales, pieces, out);                                                                        \
  }
HALVE_PANEL(f8_e4m3, 0)
HALVE_PANEL(int4, 1)
