// panel_gemv1_<format>_<columns>: y = end(W x) for a row of f32 or bf16; panel_gemv1_tall_: of many outputs; panel_gemv4_,
// panel_gemv8_: for up to so many rows that are halves already. f8_e4m3 and int4, of which so many columns share a scale.
//
//   W       panels of kernels/panel.cuh; y f32 [M][y_stride]
//   x       [inputs], or halves: f16 [M / 4][columns / 16][8][16], row m of four in 2 m, and what f16 leaves of it in 2 m + 1
//   grid    rows / 16, tall rows / 32; 8, 12 or 16 warps, each with its part of the columns of the block's rows
//   shared  HALVES of each warp, for one row
//   bytes   W once; x from the caches
//
// A warp takes 128 columns at a time. One row becomes halves in shared memory, times the power of two that brings the largest of
// the 128 to 2^13: 22 bits of each, and no kernel before this one. Sums are added in an order that depends on the shape of W alone.
// The surprise: a kernel begins while the one before it ends, and has its first weights on their way before it waits for x.

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
    u32 block = p.scale_blocks == 1 ? 0 : RUN == 8 && p.scale_cols == 128 ? step : (step * 128 + i * RUN * 16) / p.scale_cols;
    const float* at = scales + block * PANEL_ROWS;
    out.scales[2 * i] = at[0], out.scales[2 * i + 1] = at[8];
  }
}
// Two nibbles, 8 too large, in the lowest bits of both halves, and in the next ones: 1024 or 64 more, as f16.
DEV u32 halves_of_nibbles(u32 bits) { return f16_pair_subtract((bits & 0x000f000f) | 0x64006400, 0x64086408); }
DEV u32 halves_of_upper_nibbles(u32 bits) { return f16_pair_fma((bits & 0x00f000f0) | 0x64006400, 0x2c002c00, 0xd480d480); }
// What a tensor core takes of rows g and g + 8 for a chunk of 16 columns.
template <int INT4> DEV void float_operand(const u32* w, int chunk, u32* a) {
  u32 g0 = w[INT4 ? chunk / 2 * 2 : 2 * chunk], g8 = w[INT4 ? chunk / 2 * 2 + 1 : 2 * chunk + 1];
  if (!INT4) {
    a[0] = e4m3_pair(g0), a[1] = e4m3_pair(g8), a[2] = e4m3_pair(g0 >> 16), a[3] = e4m3_pair(g8 >> 16);
  } else if (chunk % 2 == 0) {
    a[0] = halves_of_nibbles(g0), a[1] = halves_of_nibbles(g8), a[2] = halves_of_nibbles(g0 >> 8), a[3] = halves_of_nibbles(g8 >> 8);
  } else {
    a[0] = halves_of_upper_nibbles(g0), a[1] = halves_of_upper_nibbles(g8);
    a[2] = halves_of_upper_nibbles(g0 >> 8), a[3] = halves_of_upper_nibbles(g8 >> 8);
  }
}

// Where a warp's rows come from: `begin`, then for each step `fetch`, `take` and its `columns`; sums want the factor `inverse`.

// Rows that were rounded before, with a scale for all their columns.
struct RoundedRows {
  static constexpr bool IS_PLAIN = false;
  struct Step {};
  const u8* at;
  u32 steps, step;
  float inverse;
};
DEV void begin(RoundedRows& rows, const PanelProduct& p) { rows.at = p.x + threadIdx.x % 32 * 8, rows.steps = p.steps; }
DEV void fetch(const PanelProduct&, u32, RoundedRows::Step&) {}
DEV void take(RoundedRows& rows, u32 step, const RoundedRows::Step&) { rows.step = step; }
DEV uint2 columns(const RoundedRows& rows, int four, int chunk) {
  return load<uint2>(rows.at + ((four * rows.steps + rows.step) * 8 + chunk) * 256);
}

// Of a warp's halves [8 chunks of 16 columns][8][16]: a chunk is 32 bytes longer, so that a warp's stores meet no bank twice.
enum { CHUNK_BYTES = 256 + 32, HALVES = 8 * CHUNK_BYTES };

// A row as it is: lane l has columns 4 l .. 4 l + 3 of the step.
struct PlainRow {
  static constexpr bool IS_PLAIN = true;
  typedef float4 Step;
  u8* halves;
  float inverse;
};
DEV void begin(PlainRow& row, const PanelProduct&) {
  row.halves = shared_memory() + threadIdx.x / 32 * HALVES;
  for (u32 i = threadIdx.x % 32 * 16; i < HALVES; i += 512) *(uint4*)(row.halves + i) = make_uint4(0, 0, 0, 0);
}
DEV void fetch(const PanelProduct& p, u32 step, float4& x) {
  u32 k = step * 128 + threadIdx.x % 32 * 4;
  if (p.inputs % 4 == 0 && k < p.inputs) {
    if (!p.is_bf16) {
      x = load<float4>(p.x + k * 4);
    } else {
      uint2 v = load<uint2>(p.x + k * 2);
      x = make_float4(__uint_as_float(v.x << 16), __uint_as_float(v.x & 0xffff0000), __uint_as_float(v.y << 16), __uint_as_float(v.y & 0xffff0000));
    }
    return;
  }
  float each[4];
#pragma unroll
  for (u32 i = 0; i < 4; i++)
    each[i] = k + i >= p.inputs ? 0 : p.is_bf16 ? bf16_value(load<u16>(p.x + (k + i) * 2)) : load<float>(p.x + (k + i) * 4);
  x = make_float4(each[0], each[1], each[2], each[3]);
}
DEV void take(PlainRow& row, u32, float4 x) {
  u32 lane = threadIdx.x % 32;
  float power = power_for(warp_most(fmaxf(fmaxf(fabsf(x.x), fabsf(x.y)), fmaxf(fabsf(x.z), fabsf(x.w)))), 13, &row.inverse);
  x.x *= power, x.y *= power, x.z *= power, x.w *= power;
  u32 low = f16_pair(x.x, x.y), high = f16_pair(x.z, x.w);
  u8* at = row.halves + lane / 4 * CHUNK_BYTES + lane % 4 * 8;
  // All have read what was there.
  __syncwarp();
  *(uint2*)at = make_uint2(low, high);
  *(uint2*)(at + 32) = make_uint2(f16_pair(x.x - f16_value((u16)low), x.y - f16_value((u16)(low >> 16))),
                                  f16_pair(x.z - f16_value((u16)high), x.w - f16_value((u16)(high >> 16))));
  __syncwarp();
}
DEV uint2 columns(const PlainRow& row, int, int chunk) { return *(const uint2*)(row.halves + chunk * CHUNK_BYTES + threadIdx.x % 32 * 8); }

template <int INT4, int RUN, int M, int TILES, int TURNS, class ROWS> DEV void panel_gemv_float(const PanelProduct& p) {
  constexpr int FOURS = (M + 3) / 4, PIECES = INT4 ? 4 : 8, COUNT = TILES * 16;
  __shared__ float sums[16][COUNT][M == 1 ? 1 : 4 * FOURS + 1];
  let_next_begin();
  u32 warp = threadIdx.x / 32, team = blockDim.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, first = blockIdx.x * COUNT;
  const u8* w = p.w + (u64)(first / PANEL_ROWS) * p.steps * PIECES * (PANEL_ROWS * 16) + (first % PANEL_ROWS + g) * 16 + t * 4;
  const float* scales = p.w_scales + (u64)(first / PANEL_ROWS) * p.scale_blocks * PANEL_ROWS + first % PANEL_ROWS + g;
  ROWS x;
  begin(x, p);
  float acc[TILES][FOURS][2] = {};
  FloatStep<INT4, RUN> words[TURNS][TILES];
#pragma unroll
  for (int turn = 0; turn < TURNS; turn++)
#pragma unroll
    for (int tile = 0; tile < TILES; tile++)
      load_float_step<INT4, RUN>(p, w + tile * 256, scales + tile * 16, min(warp + turn * team, p.steps - 1), words[turn][tile]);
  wait_for_last();
  // One step's inputs are fetched while the one before is multiplied, where that leaves registers.
  constexpr bool AHEAD = TILES == 2;
  typename ROWS::Step inputs[TURNS];
#pragma unroll
  for (int turn = 0; turn < TURNS; turn++)
    if (AHEAD) fetch(p, min(warp + turn * team, p.steps - 1), inputs[turn]);
  for (u32 start = warp; start < p.steps; start += team * TURNS) {
#pragma unroll
    for (int turn = 0; turn < TURNS; turn++) {
      u32 step = start + turn * team, next = step + team * TURNS;
      if (step >= p.steps) continue;
      if (!AHEAD) fetch(p, step, inputs[turn]);
      take(x, step, inputs[turn]);
      float c[TILES][FOURS][4] = {}, own[TILES][FOURS][2] = {};
#pragma unroll
      for (int chunk = 0; chunk < 8; chunk++) {
        uint2 b[FOURS];
#pragma unroll
        for (int four = 0; four < FOURS; four++) b[four] = columns(x, four, chunk);
#pragma unroll
        for (int tile = 0; tile < TILES; tile++) {
          const FloatStep<INT4, RUN>& s = words[turn][tile];
          u32 a[4];
          float_operand<INT4>(s.w, chunk, a);
#pragma unroll
          for (int four = 0; four < FOURS; four++) {
            float* sum = c[tile][four];
            mma_f16(sum, a[0], a[1], a[2], a[3], b[four].x, b[four].y);
            if (chunk % RUN == RUN - 1) {
              float* to = ROWS::IS_PLAIN ? own[tile][four] : acc[tile][four];
              to[0] = fmaf(s.scales[chunk / RUN * 2], __fadd_rn(sum[0], sum[1]), to[0]);
              to[1] = fmaf(s.scales[chunk / RUN * 2 + 1], __fadd_rn(sum[2], sum[3]), to[1]);
#pragma unroll
              for (int i = 0; i < 4; i++) sum[i] = 0;
            }
          }
        }
      }
#pragma unroll
      for (int tile = 0; tile < TILES; tile++) {
        if (ROWS::IS_PLAIN)
#pragma unroll
          for (int i = 0; i < 2; i++) acc[tile][0][i] = fmaf(x.inverse, own[tile][0][i], acc[tile][0][i]);
        if (next < p.steps) load_float_step<INT4, RUN>(p, w + tile * 256, scales + tile * 16, next, words[turn][tile]);
      }
      if (AHEAD && next < p.steps) fetch(p, next, inputs[turn]);
    }
  }
#pragma unroll
  for (int tile = 0; tile < TILES; tile++)
#pragma unroll
    for (int four = 0; four < FOURS; four++)
      if (four * 4 + t < M)
#pragma unroll
        for (int i = 0; i < 2; i++) sums[warp][tile * 16 + g + i * 8][four * 4 + t] = acc[tile][four][i];
  __syncthreads();
  for (u32 at = threadIdx.x; at < COUNT * M; at += blockDim.x) {
    u32 own = at % COUNT, m = at / COUNT, row = first + own;
    if (m >= p.count || row >= p.rows) continue;
    float sum = 0;
    for (u32 i = 0; i < team; i++) sum = __fadd_rn(sum, sums[i][own][m]);
    if (!ROWS::IS_PLAIN) sum = __fmul_rn(sum, p.x_scales[m]);
    panel_finish(p, p.y + (u64)m * p.y_stride + row, __fadd_rn(sum, p.bias ? p.bias[row] : 0));
  }
}
// Threads: those that the registers of two blocks a multiprocessor are enough for.
#define PANEL_GEMV(ROWS, KERNEL, NAME, INT4, RUN, M, TILES, TURNS, THREADS)                                           \
  extern "C" __global__ void __launch_bounds__(THREADS, 2) panel_gemv##KERNEL##_##NAME(PanelProduct p) {              \
    panel_gemv_float<INT4, RUN, M, TILES, TURNS, ROWS>(p);                                                            \
  }
#define PANEL_GEMV_FLOAT(NAME, INT4, RUN, TURNS)                                                                      \
  PANEL_GEMV(PlainRow, 1, NAME, INT4, RUN, 1, 1, TURNS, 512)                                                          \
  PANEL_GEMV(RoundedRows, 4, NAME, INT4, RUN, 4, 1, TURNS, 512)                                                       \
  PANEL_GEMV(RoundedRows, 8, NAME, INT4, RUN, 8, 1, 1, RUN == 8 ? 512 : RUN == 2 ? 384 : 256)
PANEL_GEMV_FLOAT(f8_e4m3_128, 0, 8, 2)
PANEL_GEMV_FLOAT(f8_e4m3_16, 0, 1, 1)
PANEL_GEMV_FLOAT(int4_128, 1, 8, 2)
PANEL_GEMV_FLOAT(int4_32, 1, 2, 2)
PANEL_GEMV(PlainRow, 1_tall, f8_e4m3_128, 0, 8, 1, 2, 1, 384)
PANEL_GEMV(PlainRow, 1_tall, int4_128, 1, 8, 1, 2, 1, 512)
PANEL_GEMV(PlainRow, 1_tall, int4_32, 1, 2, 1, 2, 1, 256)
