// What all kernels share: types, conversions, reductions, and the meaning of each weight format.
//
// No CUDA header is included, so NVRTC alone compiles this. The model's dimensions come as macros:
// D, H, KV, HD (see STYLE), PAGE and SPAN (positions), KV_FLOAT (1: the cache is f32, 0: bf16).
// The surprise: a matrix is not stored block by block but field by field (all quants, then all scales, …), each field
// an array [rows][blocks of a row], so that loads are aligned; the bits are those of the checkpoint.


typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char i8;
#define DEV static __device__ __forceinline__

DEV float f16_value(u16 bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
DEV float bf16_value(u16 bits) { return __uint_as_float((u32)bits << 16); }
// Round to nearest even; NaN stays NaN.
DEV u16 bf16_bits(float value) {
  u16 bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
// E4M3FN: the seven lower bits are an f32 whose exponent is 120 too small, subnormals included.
DEV float e4m3_value(u8 code) {
  u32 sign = (u32)(code & 0x80) << 24, rest = code & 0x7f;
  float value = rest == 0x7f ? __uint_as_float(0x7fc00000) : __uint_as_float(rest << 20) * 1.329227995784916e36f;
  return __uint_as_float(__float_as_uint(value) | sign);
}

DEV float warp_sum(float value) {
#pragma unroll
  for (int offset = 16; offset; offset >>= 1) value += __shfl_xor_sync(~0u, value, offset);
  return value;
}
DEV float warp_max(float value) {
#pragma unroll
  for (int offset = 16; offset; offset >>= 1) value = fmaxf(value, __shfl_xor_sync(~0u, value, offset));
  return value;
}
// Sum over a block of up to 1024 threads, the same for all; one fixed order.
DEV float block_sum(float value) {
  __shared__ float partial[32];
  int warps = blockDim.x / 32;
  value = warp_sum(value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float total = 0;
  for (int i = 0; i < warps; i++) total += partial[i];
  return total;
}

// y = W x + bias; W: [rows, cols] in some format, cols padded to whole blocks and to a multiple of 8.
struct Matrix {
  const u8* weights;
  // Of F8_E4M3: f32 [rows][scale_blocks], one for each scale_cols columns.
  const float* scales;
  // f32 [rows], or null.
  const float* bias;
  u32 rows, cols, scale_cols, scale_blocks;
};

// A row of a batch: where its keys and values are, and which token stands at which position.
struct Row {
  // Device addresses of the cache's pages.
  const u64* pages;
  u32 position, token;
  // 1: the frequencies of long sequences.
  u32 is_long, pad;
};

// Each format: LEN weights a block, and the eight weights 8 part .. 8 part + 7 of a block. `count` is the number of
// blocks of the whole matrix. Every operation rounds where quant/*.rs rounds.
template <class T> DEV T load(const u8* at) { return *(const T*)at; }

struct f32 {
  enum { LEN = 8 };
  DEV void eight(const u8* w, u64, u64 block, int, float* out) {
    float4 a = load<float4>(w + block * 32), b = load<float4>(w + block * 32 + 16);
    out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w, out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
  }
};
struct f16 {
  enum { LEN = 8 };
  DEV void eight(const u8* w, u64, u64 block, int, float* out) {
    uint4 v = load<uint4>(w + block * 16);
    u32 words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) out[2 * i] = f16_value(words[i] & 0xffff), out[2 * i + 1] = f16_value(words[i] >> 16);
  }
};
struct bf16 {
  enum { LEN = 8 };
  DEV void eight(const u8* w, u64, u64 block, int, float* out) {
    uint4 v = load<uint4>(w + block * 16);
    u32 words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) out[2 * i] = __uint_as_float(words[i] << 16), out[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000);
  }
};
struct f8_e4m3 {
  enum { LEN = 8 };
  DEV void eight(const u8* w, u64, u64 block, int, float* out) {
    uint2 v = load<uint2>(w + block * 8);
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = e4m3_value((i < 4 ? v.x : v.y) >> 8 * (i % 4));
  }
};
struct q8_0 {
  enum { LEN = 32 };
  DEV void eight(const u8* w, u64 count, u64 block, int part, float* out) {
    uint2 v = load<uint2>(w + block * 32 + part * 8);
    float scale = f16_value(load<u16>(w + count * 32 + block * 2));
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = __fmul_rn((float)(i8)((i < 4 ? v.x : v.y) >> 8 * (i % 4)), scale);
  }
};
// Eight nibbles: weight i of a block of 32 is the low half of byte i, or the high half of byte i - 16.
DEV void nibbles(const u8* quants, int part, u32* out) {
  uint2 v = load<uint2>(quants + part % 2 * 8);
  int shift = part / 2 * 4;
#pragma unroll
  for (int i = 0; i < 8; i++) out[i] = (i < 4 ? v.x : v.y) >> (8 * (i % 4) + shift) & 15;
}
struct q4_0 {
  enum { LEN = 32 };
  DEV void eight(const u8* w, u64 count, u64 block, int part, float* out) {
    u32 quants[8];
    nibbles(w + block * 16, part, quants);
    float scale = f16_value(load<u16>(w + count * 16 + block * 2));
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = __fmul_rn(scale, (float)((int)quants[i] - 8));
  }
};
struct q4_1 {
  enum { LEN = 32 };
  DEV void eight(const u8* w, u64 count, u64 block, int part, float* out) {
    u32 quants[8], both = load<u32>(w + count * 16 + block * 4);
    nibbles(w + block * 16, part, quants);
    float scale = f16_value(both & 0xffff), minimum = f16_value(both >> 16);
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = __fadd_rn(__fmul_rn(scale, (float)quants[i]), minimum);
  }
};
struct q5_0 {
  enum { LEN = 32 };
  DEV void eight(const u8* w, u64 count, u64 block, int part, float* out) {
    u32 quants[8], fifth = load<u32>(w + count * 16 + block * 4) >> part * 8;
    nibbles(w + block * 16, part, quants);
    float scale = f16_value(load<u16>(w + count * 20 + block * 2));
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = __fmul_rn(scale, (float)((int)(quants[i] | (fifth >> i & 1) << 4) - 16));
  }
};
struct q5_1 {
  enum { LEN = 32 };
  DEV void eight(const u8* w, u64 count, u64 block, int part, float* out) {
    u32 quants[8], fifth = load<u32>(w + count * 20 + block * 4) >> part * 8, both = load<u32>(w + count * 16 + block * 4);
    nibbles(w + block * 16, part, quants);
    float scale = f16_value(both & 0xffff), minimum = f16_value(both >> 16);
#pragma unroll
    for (int i = 0; i < 8; i++)
      out[i] = __fadd_rn(__fmul_rn(scale, (float)(quants[i] | (fifth >> i & 1) << 4)), minimum);
  }
};
struct q2_k {
  enum { LEN = 256 };
  DEV void eight(const u8* w, u64 count, u64 block, int part, float* out) {
    // weights 128 h + 32 j + i: bits 2 j of byte 32 h + i
    int h = part / 16, j = part / 4 % 4, i0 = part % 4 * 8;
    uint2 v = load<uint2>(w + block * 64 + h * 32 + i0);
    u32 group = w[count * 64 + block * 16 + part / 2], both = load<u32>(w + count * 80 + block * 4);
    float scale = __fmul_rn(f16_value(both & 0xffff), (float)(group & 15));
    float minimum = __fmul_rn(f16_value(both >> 16), (float)(group >> 4));
#pragma unroll
    for (int i = 0; i < 8; i++)
      out[i] = __fsub_rn(__fmul_rn(scale, (float)((i < 4 ? v.x : v.y) >> (8 * (i % 4) + 2 * j) & 3)), minimum);
  }
};
struct q3_k {
  enum { LEN = 256 };
  DEV void eight(const u8* w, u64 count, u64 block, int part, float* out) {
    int h = part / 16, j = part / 4 % 4, i0 = part % 4 * 8, g = part / 2;
    uint2 v = load<uint2>(w + block * 64 + h * 32 + i0);
    uint2 third = load<uint2>(w + count * 64 + block * 32 + i0);
    const u8* scales = w + count * 96 + block * 12;
    u32 low = scales[g % 8] >> g / 8 * 4 & 15, high = scales[8 + g % 4] >> 2 * (g / 4) & 3;
    float scale = __fmul_rn(f16_value(load<u16>(w + count * 108 + block * 2)), (float)((int)(low | high << 4) - 32));
#pragma unroll
    for (int i = 0; i < 8; i++) {
      int quant = (i < 4 ? v.x : v.y) >> (8 * (i % 4) + 2 * j) & 3;
      int set = (i < 4 ? third.x : third.y) >> (8 * (i % 4) + 4 * h + j) & 1;
      out[i] = __fmul_rn(scale, (float)quant - (set ? 0.0f : 4.0f));
    }
  }
};
// Q4_K and Q5_K: the 16 bytes of scales; group g's scale and minimum.
DEV void k_scales(const u8* header, int g, float* scale, float* minimum) {
  uint4 v = load<uint4>(header);
  u32 scales = v.y >> 8 * (g % 4) & 255, minimums = v.z >> 8 * (g % 4) & 255, rest = v.w >> 8 * (g % 4) & 255;
  u32 s = g < 4 ? scales & 63 : (rest & 15) | scales >> 6 << 4, m = g < 4 ? minimums & 63 : rest >> 4 | minimums >> 6 << 4;
  *scale = __fmul_rn(f16_value(v.x & 0xffff), (float)s);
  *minimum = __fmul_rn(f16_value(v.x >> 16), (float)m);
}
struct q4_k {
  enum { LEN = 256 };
  DEV void eight(const u8* w, u64 count, u64 block, int part, float* out) {
    int g = part / 4, i0 = part % 4 * 8, shift = g % 2 * 4;
    uint2 v = load<uint2>(w + block * 128 + g / 2 * 32 + i0);
    float scale, minimum;
    k_scales(w + count * 128 + block * 16, g, &scale, &minimum);
#pragma unroll
    for (int i = 0; i < 8; i++)
      out[i] = __fsub_rn(__fmul_rn(scale, (float)((i < 4 ? v.x : v.y) >> (8 * (i % 4) + shift) & 15)), minimum);
  }
};
struct q5_k {
  enum { LEN = 256 };
  DEV void eight(const u8* w, u64 count, u64 block, int part, float* out) {
    int g = part / 4, i0 = part % 4 * 8, shift = g % 2 * 4;
    uint2 v = load<uint2>(w + block * 128 + g / 2 * 32 + i0), fifth = load<uint2>(w + count * 128 + block * 32 + i0);
    float scale, minimum;
    k_scales(w + count * 160 + block * 16, g, &scale, &minimum);
#pragma unroll
    for (int i = 0; i < 8; i++) {
      u32 low = (i < 4 ? v.x : v.y) >> (8 * (i % 4) + shift) & 15, high = (i < 4 ? fifth.x : fifth.y) >> (8 * (i % 4) + g) & 1;
      out[i] = __fsub_rn(__fmul_rn(scale, (float)(low | high << 4)), minimum);
    }
  }
};
struct q6_k {
  enum { LEN = 256 };
  DEV void eight(const u8* w, u64 count, u64 block, int part, float* out) {
    int h = part / 16, run = part / 4 % 4, i0 = part % 4 * 8;
    uint2 low = load<uint2>(w + block * 128 + h * 64 + run % 2 * 32 + i0);
    uint2 high = load<uint2>(w + count * 128 + block * 64 + h * 32 + i0);
    float group = (float)(i8)w[count * 192 + block * 16 + part / 2];
    float scale = __fmul_rn(f16_value(load<u16>(w + count * 208 + block * 2)), group);
#pragma unroll
    for (int i = 0; i < 8; i++) {
      u32 lower = (i < 4 ? low.x : low.y) >> (8 * (i % 4) + run / 2 * 4) & 15;
      u32 upper = (i < 4 ? high.x : high.y) >> (8 * (i % 4) + 2 * run) & 3;
      out[i] = __fmul_rn(scale, (float)((int)(lower | upper << 4) - 32));
    }
  }
};

// Only F8_E4M3 has scales beside its blocks.
template <class F> struct Scaled { enum { YES = 0 }; };
template <> struct Scaled<f8_e4m3> { enum { YES = 1 }; };

// The eight weights of `row` from column `k` on, without their scales.
template <class F> DEV void unscaled_at(const Matrix& w, u32 row, u32 k, float* out) {
  u32 blocks = w.cols / F::LEN;
  F::eight(w.weights, (u64)w.rows * blocks, (u64)row * blocks + k / F::LEN, k % F::LEN / 8, out);
}

template <class F> DEV void apply_scales(const Matrix& w, u32 row, u32 k, float* out) {
  if (!Scaled<F>::YES || !w.scales) return;
  const float* scales = w.scales + (u64)row * w.scale_blocks;
  if (w.scale_cols % 8 == 0) {
    float scale = scales[k / w.scale_cols];
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = __fmul_rn(out[i], scale);
  } else {
    // The padding belongs to the last block.
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = __fmul_rn(out[i], scales[min((k + i) / w.scale_cols, w.scale_blocks - 1)]);
  }
}

// The eight weights of `row` from column `k` on, scales applied.
template <class F> DEV void weights_at(const Matrix& w, u32 row, u32 k, float* out) {
  unscaled_at<F>(w, row, k, out);
  apply_scales<F>(w, row, k, out);
}

// kind: 0 SiLU, 1 GELU (erf), 2 GELU (tanh), 3 ReLU.
DEV float activate(int kind, float x) {
  switch (kind) {
    case 0: return x / (1 + expf(-x));
    case 1: return 0.5f * x * (1 + erff(x * 0.70710678118654752f));
    case 2: return x / (1 + expf(-2 * 0.7978845608028654f * fmaf(0.044715f, x * x * x, x)));
    default: return fmaxf(x, 0);
  }
}
