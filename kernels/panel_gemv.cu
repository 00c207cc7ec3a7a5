// panel_gemv_<format>: y[m] = end(W x[m]) for up to eight rows of INT8 codes, in whole numbers on tensor cores: int8, int8_sparse24,
// int4_sparse24.
//
//   W      panels of kernels/panel.cuh, and places; x panels of 8 rows; y f32 [M][y_stride]
//   grid   rows / 16; 4, 8 or 16 warps, each with its part of the columns of the same 16 rows
//   bytes  W once; x from the caches
//
// Sums of whole numbers have no order. Products reach 127^2 K, or 16 7 127 K, which fit into 32 bits up to K = 131072. The
// surprise: a kernel begins while the one before it ends, and has its first weights on their way before it waits for x.

enum { DENSE_INT8, SPARSE_INT8, SPARSE_INT4 };
// 32-bit words of a lane for a step of 128 columns.
template <int KIND> struct StepWords {
  u32 w[KIND == DENSE_INT8 ? 16 : KIND == SPARSE_INT8 ? 8 : 4], places[2];
};
template <int KIND> DEV void load_step(const u8* w, const u32* places, u32 step, StepWords<KIND>& out) {
  constexpr int PIECES = KIND == DENSE_INT8 ? 8 : KIND == SPARSE_INT8 ? 4 : 2;
#pragma unroll
  for (int i = 0; i < PIECES; i++) {
    const u8* at = w + (step * PIECES + i) * (PANEL_ROWS * 16);
    out.w[2 * i] = load<u32>(at), out.w[2 * i + 1] = load<u32>(at + 128);
  }
  if (KIND != DENSE_INT8) {
    uint2 both = load<uint2>((const u8*)(places + step * 512));
    out.places[0] = both.x, out.places[1] = both.y;
  }
}
template <int KIND> DEV void multiply_step(const StepWords<KIND>& s, const u32* x, int* sums) {
  if constexpr (KIND == DENSE_INT8) {
#pragma unroll
    for (int i = 0; i < 4; i++) mma_s8(sums, s.w + 4 * i, x[2 * i], x[2 * i + 1]);
  } else {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      if constexpr (KIND == SPARSE_INT8) {
        mma_s8_sparse(sums, s.w + 4 * i, x + 4 * i, s.places[i]);
      } else {
        const u32 high = 0xf0f0f0f0;
        u32 a[4] = {s.w[2 * i] << 4 & high, s.w[2 * i + 1] << 4 & high, s.w[2 * i] & high, s.w[2 * i + 1] & high};
        mma_s8_sparse(sums, a, x + 4 * i, s.places[i]);
      }
    }
  }
}

template <int KIND> DEV void panel_gemv(const PanelProduct& p) {
  __shared__ int sums[16][16][9];
  constexpr int PIECES = KIND == DENSE_INT8 ? 8 : KIND == SPARSE_INT8 ? 4 : 2, TURNS = KIND == DENSE_INT8 ? 2 : KIND == SPARSE_INT8 ? 3 : 4;
  let_next_begin();
  u32 warp = threadIdx.x / 32, team = blockDim.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, first = blockIdx.x * 16;
  const u8* w = p.w + (u64)(first / PANEL_ROWS) * p.steps * PIECES * (PANEL_ROWS * 16) + (first % PANEL_ROWS + g) * 16 + t * 4;
  const u32* places = p.places + (u64)(first / PANEL_ROWS) * p.steps * 512 + first % PANEL_ROWS / 16 * 64 + lane * 2;
  const u8* x = p.x + g * 128 + t * 4;
  int acc[4] = {0, 0, 0, 0};
  StepWords<KIND> words[TURNS];
#pragma unroll
  for (int turn = 0; turn < TURNS; turn++) load_step<KIND>(w, places, min(warp + turn * team, p.steps - 1), words[turn]);
  wait_for_last();
  for (u32 start = warp; start < p.steps; start += team * TURNS) {
#pragma unroll
    for (int turn = 0; turn < TURNS; turn++) {
      u32 step = start + turn * team, next = step + team * TURNS, columns[8];
      if (step >= p.steps) continue;
#pragma unroll
      for (int i = 0; i < 8; i++) columns[i] = g < p.count ? load<u32>(x + step * 1024 + ((i ^ g) << 4)) : 0;
      multiply_step<KIND>(words[turn], columns, acc);
      if (next < p.steps) load_step<KIND>(w, places, next, words[turn]);
    }
  }
  sums[warp][g][2 * t] = acc[0], sums[warp][g][2 * t + 1] = acc[1];
  sums[warp][g + 8][2 * t] = acc[2], sums[warp][g + 8][2 * t + 1] = acc[3];
  __syncthreads();
  u32 own = threadIdx.x % 16, m = threadIdx.x / 16, row = first + own;
  if (m >= p.count || row >= p.rows) return;
  int sum = 0;
  for (u32 i = 0; i < team; i++) sum += sums[i][own][m];
  float value = panel_scaled(p, (float)sum, p.w_scales[row], p.x_scales[m], p.bias ? p.bias[row] : 0);
  panel_finish(p, p.y + (u64)m * p.y_stride + row, value);
}
#define PANEL_GEMV(NAME, KIND)                                                                                        \
  extern "C" __global__ void __launch_bounds__(512, 2) panel_gemv_##NAME(PanelProduct p) { panel_gemv<KIND>(p); }
PANEL_GEMV(int8, DENSE_INT8)
PANEL_GEMV(int8_sparse24, SPARSE_INT8)
PANEL_GEMV(int4_sparse24, SPARSE_INT4)
