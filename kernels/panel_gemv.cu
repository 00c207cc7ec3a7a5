// panel_gemv_<format>: y[m] = end(W x[m]) for up to eight rows of INT8 codes, in whole numbers on tensor cores: int8, int8_sparse24,
// int4_sparse24. panel_gemv4_<format>_<columns>, panel_gemv8_: for up to four or eight rows of f32: f8_e4m3 and int4, of which so many
// columns share a scale.
//
//   W      panels of kernels/panel.cuh, and places; x panels of 8 rows, or halves; y f32 [M][y_stride]
//   grid   rows / 16; 4, 8 or 16 warps, each with its part of the columns of the same 16 rows
//   bytes  W once; x from the caches
//
// Sums of whole numbers have no order. Products reach 127^2 K, or 16 7 127 K, which fit into 32 bits up to K = 131072. f32 sums are
// added in an order that depends on the shape of W alone. The surprise: a kernel begins while the one before it ends, and has its
// first weights on their way before it waits for x.

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
  bool waited = false;
  for (u32 start = warp; start < p.steps || !waited; start += team * TURNS) {
    StepWords<KIND> words[TURNS];
#pragma unroll
    for (int turn = 0; turn < TURNS; turn++) load_step<KIND>(w, places, min(start + turn * team, p.steps - 1), words[turn]);
    if (!waited) wait_for_last(), waited = true;
#pragma unroll
    for (int turn = 0; turn < TURNS; turn++) {
      u32 step = start + turn * team, columns[8];
      bool inside = step < p.steps && g < p.count;
#pragma unroll
      for (int i = 0; i < 8; i++) columns[i] = inside ? load<u32>(x + step * 1024 + ((i ^ g) << 4)) : 0;
      multiply_step<KIND>(words[turn], columns, acc);
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

// What a lane loads of a step of 128 columns: words of rows g and g + 8 by turns, and the scales of each RUN chunks of 16 columns.
template <int INT4, int RUN> struct FloatStep {
  u32 w[INT4 ? 8 : 16];
  float scales[16 / RUN];
};
template <int INT4, int RUN> DEV void load_float_step(const PanelProduct& p, const u8* w, const float* scales, u32 step, FloatStep<INT4, RUN>& out) {
  constexpr int PIECES = INT4 ? 4 : 8;
#pragma unroll
  for (int i = 0; i < PIECES; i++) {
    const u8* at = w + (step * PIECES + i) * (PANEL_ROWS * 16);
    out.w[2 * i] = load<u32>(at), out.w[2 * i + 1] = load<u32>(at + 128);
  }
#pragma unroll
  for (int i = 0; i < 8 / RUN; i++) {
    const float* at = scales + (step * 128 + i * RUN * 16) / p.scale_cols * PANEL_ROWS;
    out.scales[2 * i] = at[0], out.scales[2 * i + 1] = at[8];
  }
}
// Two nibbles, 8 too large, in the lowest bits of both halves.
DEV u32 halves_of_nibbles(u32 bits) { return f16_pair_subtract((bits & 0x000f000f) | 0x64006400, 0x64086408); }

template <int INT4, int RUN, int SETS> DEV void panel_gemv_float(const PanelProduct& p) {
  __shared__ float sums[16][16][4 * SETS + 1];
  constexpr int PIECES = INT4 ? 4 : 8, TURNS = INT4 ? (RUN == 2 && SETS == 2 ? 1 : 2) : RUN == 8 && SETS == 1 ? 2 : 1;
  let_next_begin();
  u32 warp = threadIdx.x / 32, team = blockDim.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, first = blockIdx.x * 16;
  const u8* w = p.w + (u64)(first / PANEL_ROWS) * p.steps * PIECES * (PANEL_ROWS * 16) + (first % PANEL_ROWS + g) * 16 + t * 4;
  const float* scales = p.w_scales + (u64)(first / PANEL_ROWS) * p.scale_blocks * PANEL_ROWS + first % PANEL_ROWS + g;
  const u8* x = p.x + g * 32 + t * 8;
  float acc[SETS][2] = {};
  bool waited = false;
  for (u32 start = warp; start < p.steps || !waited; start += team * TURNS) {
    FloatStep<INT4, RUN> words[TURNS];
#pragma unroll
    for (int turn = 0; turn < TURNS; turn++) load_float_step<INT4, RUN>(p, w, scales, min(start + turn * team, p.steps - 1), words[turn]);
    if (!waited) wait_for_last(), waited = true;
#pragma unroll
    for (int turn = 0; turn < TURNS; turn++) {
      u32 step = start + turn * team;
      if (step >= p.steps) continue;
      const FloatStep<INT4, RUN>& s = words[turn];
      float c[SETS][4] = {};
#pragma unroll
      for (int chunk = 0; chunk < 8; chunk++) {
        u32 own, other, a[4];
        if (INT4) {
          own = s.w[chunk / 2 * 2] >> 4 * (chunk % 2), other = s.w[chunk / 2 * 2 + 1] >> 4 * (chunk % 2);
          a[0] = halves_of_nibbles(own), a[1] = halves_of_nibbles(other), a[2] = halves_of_nibbles(own >> 8), a[3] = halves_of_nibbles(other >> 8);
        } else {
          own = s.w[2 * chunk], other = s.w[2 * chunk + 1];
          a[0] = e4m3_pair(own), a[1] = e4m3_pair(other), a[2] = e4m3_pair(own >> 16), a[3] = e4m3_pair(other >> 16);
        }
#pragma unroll
        for (int set = 0; set < SETS; set++) {
          uint2 b = load<uint2>(x + ((set * p.steps + step) * 8 + chunk) * 256);
          mma_f16(c[set], a[0], a[1], a[2], a[3], b.x, b.y);
          if (chunk % RUN == RUN - 1) {
            acc[set][0] = fmaf(s.scales[chunk / RUN * 2], __fadd_rn(c[set][0], c[set][1]), acc[set][0]);
            acc[set][1] = fmaf(s.scales[chunk / RUN * 2 + 1], __fadd_rn(c[set][2], c[set][3]), acc[set][1]);
#pragma unroll
            for (int i = 0; i < 4; i++) c[set][i] = 0;
          }
        }
      }
    }
  }
#pragma unroll
  for (int set = 0; set < SETS; set++) sums[warp][g][set * 4 + t] = acc[set][0], sums[warp][g + 8][set * 4 + t] = acc[set][1];
  __syncthreads();
  u32 own = threadIdx.x % 16, m = threadIdx.x / 16, row = first + own;
  if (m >= p.count || row >= p.rows) return;
  float sum = 0;
  for (u32 i = 0; i < team; i++) sum = __fadd_rn(sum, sums[i][own][m]);
  float value = __fadd_rn(__fmul_rn(sum, p.x_scales[m]), p.bias ? p.bias[row] : 0);
  panel_finish(p, p.y + (u64)m * p.y_stride + row, value);
}
#define PANEL_GEMV_FLOAT(NAME, INT4, RUN)                                                                             \
  extern "C" __global__ void __launch_bounds__(512, 2) panel_gemv4_##NAME(PanelProduct p) { panel_gemv_float<INT4, RUN, 1>(p); } \
  extern "C" __global__ void __launch_bounds__(512, 2) panel_gemv8_##NAME(PanelProduct p) { panel_gemv_float<INT4, RUN, 2>(p); }
PANEL_GEMV_FLOAT(f8_e4m3_128, 0, 8)
PANEL_GEMV_FLOAT(f8_e4m3_16, 0, 1)
PANEL_GEMV_FLOAT(int4_128, 1, 8)
PANEL_GEMV_FLOAT(int4_32, 1, 2)
