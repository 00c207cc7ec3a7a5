// Weights into panels (panel.cuh), as they were stored: pack_<format>; and rows of inputs, rounded: round_<kind>_<element>.
//
//   stored   [rows][row_bytes], blocks as quant/*.rs has them
//   x        f32 or bf16 [rows][cols]

// Stored rows to panels. grid: (pieces, panels); a thread is a row of a piece. `stored` [rows][row_bytes].
extern "C" __global__ void __launch_bounds__(PANEL_ROWS) pack_bytes(const u8* stored, u64 row_bytes, u32 rows, u32 pieces, u8* out) {
  u32 row = blockIdx.y * PANEL_ROWS + threadIdx.x, piece = blockIdx.x;
  u32 words[4] = {0, 0, 0, 0};
  if (row < rows)
    for (u32 i = 0; i < 16; i++)
      if (piece * 16 + i < row_bytes) words[i / 4] |= (u32)stored[row * row_bytes + piece * 16 + i] << 8 * (i % 4);
  *(uint4*)(out + piece_at(row, piece, pieces)) = make_uint4(words[0], words[1], words[2], words[3]);
}
// INT8 2:4, blocks of eight weights in five bytes: 16 kept codes are four blocks.
extern "C" __global__ void __launch_bounds__(PANEL_ROWS) pack_int8_sparse24(const u8* stored, u64 row_bytes, u32 rows, u32 pieces, u8* out) {
  u32 row = blockIdx.y * PANEL_ROWS + threadIdx.x, piece = blockIdx.x;
  u32 words[4] = {0, 0, 0, 0};
  if (row < rows)
    for (u32 i = 0; i < 16; i++) {
      u64 at = (u64)(piece * 4 + i / 4) * 5 + i % 4;
      if (at < row_bytes) words[i / 4] |= (u32)stored[row * row_bytes + at] << 8 * (i % 4);
    }
  *(uint4*)(out + piece_at(row, piece, pieces)) = make_uint4(words[0], words[1], words[2], words[3]);
}
// INT4 2:4, blocks of eight weights in three bytes: 32 kept codes are eight blocks.
extern "C" __global__ void __launch_bounds__(PANEL_ROWS) pack_int4_sparse24(const u8* stored, u64 row_bytes, u32 rows, u32 pieces, u8* out) {
  u32 row = blockIdx.y * PANEL_ROWS + threadIdx.x, piece = blockIdx.x;
  u32 words[4] = {0, 0, 0, 0};
  if (row < rows)
    for (u32 i = 0; i < 32; i++) {
      u64 at = (u64)(piece * 8 + i / 4) * 3 + i % 4 / 2;
      u32 code = at < row_bytes ? stored[row * row_bytes + at] >> 4 * (i % 2) & 15 : 0;
      words[i % 16 / 4] |= code << (8 * (i % 4) + 4 * (i / 16));
    }
  *(uint4*)(out + piece_at(row, piece, pieces)) = make_uint4(words[0], words[1], words[2], words[3]);
}
// INT4, eight weights a word: 32 codes, as unsigned numbers 8 too large. Word t has columns 4 t .. 4 t + 3 of the first 16 in the low
// nibbles of bytes 0, 2, 1, 3, and those of the other 16 in the high ones.
extern "C" __global__ void __launch_bounds__(PANEL_ROWS) pack_int4(const u8* stored, u64 row_bytes, u32 rows, u32 pieces, u8* out) {
  u32 row = blockIdx.y * PANEL_ROWS + threadIdx.x, piece = blockIdx.x;
  u32 words[4] = {0, 0, 0, 0};
  for (u32 i = 0; i < 32; i++) {
    u64 at = (u64)piece * 16 + i / 2;
    u32 code = row < rows && at < row_bytes ? stored[row * row_bytes + at] >> 4 * (i % 2) & 15 : 0;
    words[i % 16 / 4] |= (code ^ 8) << (8 * (i % 2 * 2 + i % 4 / 2) + 4 * (i / 16));
  }
  *(uint4*)(out + piece_at(row, piece, pieces)) = make_uint4(words[0], words[1], words[2], words[3]);
}
// The places of either, the last of a block's `block_bytes`. grid: (columns / 128, panels), 512 threads.
extern "C" __global__ void __launch_bounds__(512) pack_places(const u8* stored, u64 row_bytes, u32 rows, u32 block_bytes, u32* out) {
  u32 step = threadIdx.x % 2, lane = threadIdx.x / 2 % 32, warp = threadIdx.x / 64, g = lane / 4, t = lane % 4;
  u32 row = blockIdx.y * PANEL_ROWS + warp * 16 + g + t % 2 * 8, block = blockIdx.x * 16 + step * 8 + t / 2 * 4, word = 0;
  for (u32 i = 0; i < 4; i++) {
    u64 at = (u64)(block + i) * block_bytes + block_bytes - 1;
    // Behind the end the first two of each four are kept.
    word |= (row < rows && at < row_bytes ? (u32)stored[row * row_bytes + at] : 0x44u) << 8 * i;
  }
  out[((u64)blockIdx.y * gridDim.x + blockIdx.x) * 512 + threadIdx.x] = word;
}
// The pieces of INT4 2:4 as those of INT8 2:4, times 16. One thread a piece.
extern "C" __global__ void __launch_bounds__(PANEL_ROWS) unpack_int4_sparse24(const u8* packed, u32 pieces, u8* out) {
  u32 row = blockIdx.y * PANEL_ROWS + threadIdx.x, piece = blockIdx.x;
  uint4 w = *(const uint4*)(packed + piece_at(row, piece, pieces));
  const u32 high = 0xf0f0f0f0;
  *(uint4*)(out + piece_at(row, 2 * piece, 2 * pieces)) = make_uint4(w.x << 4 & high, w.y << 4 & high, w.z << 4 & high, w.w << 4 & high);
  *(uint4*)(out + piece_at(row, 2 * piece + 1, 2 * pieces)) = make_uint4(w.x & high, w.y & high, w.z & high, w.w & high);
}

// Eight of a row's elements from column `k` on, 0 behind the end.
template <int BF16> DEV void eight_inputs(const void* x, u64 row, u32 k, u32 cols, float* out) {
  u64 at = row * cols + k;
  if (cols % 8 == 0 && k < cols) {
    if constexpr (BF16) {
      uint4 v = *(const uint4*)((const u16*)x + at);
      u32 words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int i = 0; i < 4; i++) out[2 * i] = __uint_as_float(words[i] << 16), out[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000);
    } else {
      float4 a = *(const float4*)((const float*)x + at), b = *(const float4*)((const float*)x + at + 4);
      out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w, out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; i++) out[i] = k + i >= cols ? 0 : BF16 ? bf16_value(((const u16*)x)[at + i]) : ((const float*)x)[at + i];
}
template <int BF16> DEV float row_most(const void* x, u64 row, u32 cols) {
  float most = 0, values[8];
  for (u32 k = threadIdx.x * 8; k < cols; k += blockDim.x * 8) {
    eight_inputs<BF16>(x, row, k, cols, values);
#pragma unroll
    for (int i = 0; i < 8; i++) most = fmaxf(most, fabsf(values[i]));
  }
  return block_max(most);
}

// As quant/int8.rs and quant/f8_e4m3.rs, bit for bit.
DEV float int8_scale(float most) { return most == 0 ? 1 : fmaxf(__fdiv_rn(most, 127), 8.077935669463161e-28f); }
DEV float e4m3_scale(float most) { return most == 0 ? 1 : fmaxf(__fdiv_rn(most, 448), 1.1754943508222875e-38f); }
DEV int int8_code(float x, float scale) {
  float q = rintf(__fdiv_rn(x, scale));
  q = q > 127 ? 127 : q < -127 ? -127 : q;
  return q == q ? (int)q : 0;
}
DEV u32 e4m3_code(float x, float scale) {
  float number = __fdiv_rn(x, scale), magnitude = fabsf(number), within = magnitude > 448 ? 448 : magnitude;
  u32 bits = __float_as_uint(within), normal = (bits + 0x7ffff + (bits >> 20 & 1) >> 20) - (120 << 3);
  u32 code = within < 0.015625f ? __float_as_uint(__fadd_rn(within, 16384.0f)) - __float_as_uint(16384.0f) : normal;
  if (magnitude != magnitude) code = 0x7f;
  return (code & 0x7f) | (__float_as_uint(number) >> 24 & 0x80);
}

// round_int8_<in>, round_f8_e4m3_<in>: x's rows as codes in panels of `panel` rows, with a scale a row. grid: rows of all panels.
// round_f16_<in>: as f16 of x / scale, where scale is a power of two that brings the row's largest to 2^13.
// round_halves_<in>: as two f16, of which the second is what the first leaves, for panel_gemv.cu: [rows / 4][columns / 16][8][16], row m
// of four in 2 m and 2 m + 1. kind: 0 of x, 1 of its INT8 codes, 2 of its E4M3 codes, which leave nothing.
#define ROUND_ARGUMENTS const void *x, u32 rows, u32 cols, u32 pieces, u32 panel, u8 *out, float *scales
template <int E4M3> DEV u32 two_codes(float low, float high, float scale) {
#if __CUDA_ARCH__ >= 890
  if (E4M3) {
    // Rounds and saturates as `e4m3_code` does.
    u16 pair;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(__fdiv_rn(high, scale)), "f"(__fdiv_rn(low, scale)));
    return pair;
  }
#endif
  if (E4M3) return e4m3_code(low, scale) | e4m3_code(high, scale) << 8;
  return ((u32)int8_code(low, scale) & 255) | ((u32)int8_code(high, scale) & 255) << 8;
}
template <int BF16> DEV void sixteen_inputs(const void* x, u64 row, u32 piece, u32 cols, float* out) {
  eight_inputs<BF16>(x, row, piece * 16, cols, out), eight_inputs<BF16>(x, row, piece * 16 + 8, cols, out + 8);
}
// A thread keeps its first pieces between the search for the largest and the codes: as many as registers allow.
template <int BF16, int E4M3> DEV void round_codes(ROUND_ARGUMENTS) {
  constexpr int KEPT = E4M3 ? 2 : 1;
  follow();
  u32 row = blockIdx.x, kept_pieces = KEPT * blockDim.x;
  bool inside = row < rows;
  float most = 0, kept[KEPT][16], values[16];
#pragma unroll
  for (int i = 0; i < KEPT; i++) {
    u32 piece = threadIdx.x + i * blockDim.x;
    if (inside && piece < pieces) {
      sixteen_inputs<BF16>(x, row, piece, cols, kept[i]);
    } else {
#pragma unroll
      for (int j = 0; j < 16; j++) kept[i][j] = 0;
    }
  }
#pragma unroll
  for (int i = 0; i < KEPT; i++)
#pragma unroll
    for (int j = 0; j < 16; j++) most = fmaxf(most, fabsf(kept[i][j]));
  for (u32 piece = threadIdx.x + kept_pieces; inside && piece < pieces; piece += blockDim.x) {
    sixteen_inputs<BF16>(x, row, piece, cols, values);
#pragma unroll
    for (int j = 0; j < 16; j++) most = fmaxf(most, fabsf(values[j]));
  }
  most = block_max(most);
  float scale = E4M3 ? e4m3_scale(most) : int8_scale(most);
  if (threadIdx.x == 0) scales[row] = scale;
  auto store = [&](u32 piece, const float* v) {
    u32 words[4];
#pragma unroll
    for (int i = 0; i < 4; i++) words[i] = two_codes<E4M3>(v[4 * i], v[4 * i + 1], scale) | two_codes<E4M3>(v[4 * i + 2], v[4 * i + 3], scale) << 16;
    *(uint4*)(out + input_at(row, piece, pieces, panel)) = make_uint4(words[0], words[1], words[2], words[3]);
  };
#pragma unroll
  for (int i = 0; i < KEPT; i++) {
    u32 piece = threadIdx.x + i * blockDim.x;
    if (piece < pieces) store(piece, kept[i]);
  }
  for (u32 piece = threadIdx.x + kept_pieces; piece < pieces; piece += blockDim.x) {
#pragma unroll
    for (int j = 0; j < 16; j++) values[j] = 0;
    if (inside) sixteen_inputs<BF16>(x, row, piece, cols, values);
    store(piece, values);
  }
}
template <int BF16> DEV void round_f16(ROUND_ARGUMENTS, u32 kind) {
  follow();
  u32 row = blockIdx.x;
  bool inside = row < rows;
  float most = inside ? row_most<BF16>(x, row, cols) : 0, scale = 1, power;
  if (kind == 0) power = power_for(most, 13, &scale);
  else scale = kind == 1 ? int8_scale(most) : e4m3_scale(most);
  if (threadIdx.x == 0) scales[row] = scale;
  for (u32 piece = threadIdx.x; piece < pieces; piece += blockDim.x) {
    float values[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    if (inside) eight_inputs<BF16>(x, row, piece * 8, cols, values);
    if (kind == 1)
#pragma unroll
      for (int i = 0; i < 8; i++) values[i] = (float)int8_code(values[i], scale);
    if (kind == 2)
#pragma unroll
      for (int i = 0; i < 8; i++) values[i] = e4m3_value(e4m3_code(values[i], scale));
    store_f16((u16*)(out + input_at(row, piece, pieces, panel)), values, kind == 0 ? power : 1);
  }
}
template <int BF16> DEV void round_halves(ROUND_ARGUMENTS, u32 kind) {
  follow();
  u32 row = blockIdx.x, chunks = pieces / 2;
  bool inside = row < rows;
  float most = inside ? row_most<BF16>(x, row, cols) : 0, scale = 1, power = 1;
  if (kind == 0) power = power_for(most, 13, &scale);
  else scale = kind == 1 ? int8_scale(most) : e4m3_scale(most);
  if (threadIdx.x == 0) scales[row] = scale;
  // A piece is eight columns.
  for (u32 piece = threadIdx.x; piece < pieces; piece += blockDim.x) {
    float values[8] = {0, 0, 0, 0, 0, 0, 0, 0}, rest[8];
    if (inside) eight_inputs<BF16>(x, row, piece * 8, cols, values);
    u8* at = out + (((u64)(row / 4) * chunks + piece / 2) * 8 + row % 4 * 2) * 32 + piece % 2 * 16;
#pragma unroll
    for (int i = 0; i < 8; i++) {
      if (kind == 1) values[i] = (float)int8_code(values[i], scale);
      if (kind == 2) values[i] = e4m3_value(e4m3_code(values[i], scale));
      values[i] *= power;
      rest[i] = values[i] - f16_value((u16)f16_pair(values[i], 0));
    }
    store_f16((u16*)at, values, 1);
    store_f16((u16*)(at + 32), rest, 1);
  }
}
#define ROUND(IN, BF16)                                                                                               \
  extern "C" __global__ void __launch_bounds__(1024) round_int8_##IN(ROUND_ARGUMENTS) {                               \
    round_codes<BF16, 0>(x, rows, cols, pieces, panel, out, scales);                                                  \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(1024) round_f8_e4m3_##IN(ROUND_ARGUMENTS) {                            \
    round_codes<BF16, 1>(x, rows, cols, pieces, panel, out, scales);                                                  \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(1024) round_f16_##IN(ROUND_ARGUMENTS, u32 kind) {                      \
    round_f16<BF16>(x, rows, cols, pieces, panel, out, scales, kind);                                                 \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(1024) round_halves_##IN(ROUND_ARGUMENTS, u32 kind) {                   \
    round_halves<BF16>(x, rows, cols, pieces, panel, out, scales, kind);                                              \
  }
ROUND(f32, 0)
ROUND(bf16, 1)
