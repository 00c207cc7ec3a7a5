// What the bits of each weight format mean, bit for bit as quant/*.rs says.
//
// The surprise: a matrix is not stored block by block but in planes, one for each field of a block (all quants, then all
// scales, ...), a plane an array [rows][blocks of a row], so that loads are aligned; the bits are the checkpoint's.
//
//   LEN      weights of a block
//   PLANES   fields of a block; bytes(p) is the size of one
//   RUN      columns that share a scale; 0: the bits are floats, and there is none
// Floats have eight(row, block, part): weights 8 part .. 8 part + 7 of a block. Others have quants(row, block, part), the same
// eight as unsigned bytes, OFFSET too large, and scale(row, block, part), (scale, minimum): scale * (quant - OFFSET) + minimum.
// `row` is where a row begins in each plane.

template <class T> DEV T load(const u8* at) { return *(const T*)at; }

// E4M3FN: the seven lower bits are an f32 whose exponent is 120 too small, subnormals included.
DEV float e4m3_value(u8 code) {
  u32 sign = (u32)(code & 0x80) << 24, rest = code & 0x7f;
  float value = rest == 0x7f ? __uint_as_float(0x7fc00000) : __uint_as_float(rest << 20) * 1.329227995784916e36f;
  return __uint_as_float(__float_as_uint(value) | sign);
}

struct f32 {
  enum { LEN = 8, PLANES = 1, RUN = 0, MINIMUM = 0 };
  static constexpr int bytes(int) { return 32; }
  DEV void eight(const u8* const* row, u32 block, int, float* out) {
    float4 a = load<float4>(row[0] + block * 32), b = load<float4>(row[0] + block * 32 + 16);
    out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w, out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
  }
};
struct f16 {
  enum { LEN = 8, PLANES = 1, RUN = 0, MINIMUM = 0 };
  static constexpr int bytes(int) { return 16; }
  DEV void eight(const u8* const* row, u32 block, int, float* out) {
    uint4 v = load<uint4>(row[0] + block * 16);
    u32 words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) out[2 * i] = f16_value(words[i] & 0xffff), out[2 * i + 1] = f16_value(words[i] >> 16);
  }
};
struct bf16 {
  enum { LEN = 8, PLANES = 1, RUN = 0, MINIMUM = 0 };
  static constexpr int bytes(int) { return 16; }
  DEV void eight(const u8* const* row, u32 block, int, float* out) {
    uint4 v = load<uint4>(row[0] + block * 16);
    u32 words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) out[2 * i] = __uint_as_float(words[i] << 16), out[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000);
  }
};
struct f8_e4m3 {
  enum { LEN = 8, PLANES = 1, RUN = 0, MINIMUM = 0 };
  static constexpr int bytes(int) { return 8; }
  DEV void eight(const u8* const* row, u32 block, int, float* out) {
    uint2 v = load<uint2>(row[0] + block * 8);
#pragma unroll
    for (int i = 0; i < 8; i++) out[i] = e4m3_value((i < 4 ? v.x : v.y) >> 8 * (i % 4));
  }
};
struct q8_0 {
  enum { LEN = 32, PLANES = 2, RUN = 32, OFFSET = 128, MINIMUM = 0 };
  static constexpr int bytes(int plane) { return plane == 0 ? 32 : 2; }
  DEV void quants(const u8* const* row, u32 block, int part, u32* out) {
    uint2 v = load<uint2>(row[0] + block * 32 + part * 8);
    out[0] = v.x ^ 0x80808080, out[1] = v.y ^ 0x80808080;
  }
  DEV float2 scale(const u8* const* row, u32 block, int) { return make_float2(f16_value(load<u16>(row[1] + block * 2)), 0); }
};
// Eight nibbles: weight i of a block of 32 is the low half of byte i, or the high half of byte i - 16.
DEV void nibbles(const u8* quants, int part, u32* out) {
  uint2 v = load<uint2>(quants + part % 2 * 8);
  int shift = part / 2 * 4;
  out[0] = v.x >> shift & 0x0f0f0f0f, out[1] = v.y >> shift & 0x0f0f0f0f;
}
// The lower four bits become the lowest bits of four bytes.
DEV u32 spread(u32 bits) { return (bits & 15) * 0x00204081 & 0x01010101; }
struct q4_0 {
  enum { LEN = 32, PLANES = 2, RUN = 32, OFFSET = 8, MINIMUM = 0 };
  static constexpr int bytes(int plane) { return plane == 0 ? 16 : 2; }
  DEV void quants(const u8* const* row, u32 block, int part, u32* out) { nibbles(row[0] + block * 16, part, out); }
  DEV float2 scale(const u8* const* row, u32 block, int) { return make_float2(f16_value(load<u16>(row[1] + block * 2)), 0); }
};
// (scale, minimum), two f16.
DEV float2 two_halves(const u8* at) {
  u32 both = load<u32>(at);
  return make_float2(f16_value(both & 0xffff), f16_value(both >> 16));
}
struct q4_1 {
  enum { LEN = 32, PLANES = 2, RUN = 32, OFFSET = 0, MINIMUM = 1 };
  static constexpr int bytes(int plane) { return plane == 0 ? 16 : 4; }
  DEV void quants(const u8* const* row, u32 block, int part, u32* out) { nibbles(row[0] + block * 16, part, out); }
  DEV float2 scale(const u8* const* row, u32 block, int) { return two_halves(row[1] + block * 4); }
};
// The fifth bits of a block's eight weights join their nibbles.
DEV void add_fifth(const u8* fifths, int part, u32* out) {
  u32 bits = load<u32>(fifths) >> part * 8;
  out[0] |= spread(bits) << 4, out[1] |= spread(bits >> 4) << 4;
}
struct q5_0 {
  enum { LEN = 32, PLANES = 3, RUN = 32, OFFSET = 16, MINIMUM = 0 };
  static constexpr int bytes(int plane) { return plane == 0 ? 16 : plane == 1 ? 4 : 2; }
  DEV void quants(const u8* const* row, u32 block, int part, u32* out) {
    nibbles(row[0] + block * 16, part, out);
    add_fifth(row[1] + block * 4, part, out);
  }
  DEV float2 scale(const u8* const* row, u32 block, int) { return make_float2(f16_value(load<u16>(row[2] + block * 2)), 0); }
};
struct q5_1 {
  enum { LEN = 32, PLANES = 3, RUN = 32, OFFSET = 0, MINIMUM = 1 };
  static constexpr int bytes(int plane) { return plane == 0 ? 16 : 4; }
  DEV void quants(const u8* const* row, u32 block, int part, u32* out) {
    nibbles(row[0] + block * 16, part, out);
    add_fifth(row[2] + block * 4, part, out);
  }
  DEV float2 scale(const u8* const* row, u32 block, int) { return two_halves(row[1] + block * 4); }
};
struct q2_k {
  enum { LEN = 256, PLANES = 3, RUN = 16, OFFSET = 0, MINIMUM = 1 };
  static constexpr int bytes(int plane) { return plane == 0 ? 64 : plane == 1 ? 16 : 4; }
  // weights 128 h + 32 j + i: bits 2 j of byte 32 h + i
  DEV void quants(const u8* const* row, u32 block, int part, u32* out) {
    int h = part / 16, j = part / 4 % 4, i0 = part % 4 * 8;
    uint2 v = load<uint2>(row[0] + block * 64 + h * 32 + i0);
    out[0] = v.x >> 2 * j & 0x03030303, out[1] = v.y >> 2 * j & 0x03030303;
  }
  DEV float2 scale(const u8* const* row, u32 block, int part) {
    u32 group = row[1][block * 16 + part / 2];
    float2 both = two_halves(row[2] + block * 4);
    return make_float2(__fmul_rn(both.x, (float)(group & 15)), -__fmul_rn(both.y, (float)(group >> 4)));
  }
};
struct q3_k {
  enum { LEN = 256, PLANES = 4, RUN = 16, OFFSET = 4, MINIMUM = 0 };
  static constexpr int bytes(int plane) { return plane == 0 ? 64 : plane == 1 ? 32 : plane == 2 ? 12 : 2; }
  DEV void quants(const u8* const* row, u32 block, int part, u32* out) {
    int h = part / 16, j = part / 4 % 4, i0 = part % 4 * 8;
    uint2 v = load<uint2>(row[0] + block * 64 + h * 32 + i0), third = load<uint2>(row[1] + block * 32 + i0);
    out[0] = (v.x >> 2 * j & 0x03030303) | (third.x >> (4 * h + j) & 0x01010101) << 2;
    out[1] = (v.y >> 2 * j & 0x03030303) | (third.y >> (4 * h + j) & 0x01010101) << 2;
  }
  DEV float2 scale(const u8* const* row, u32 block, int part) {
    const u8* scales = row[2] + block * 12;
    int g = part / 2;
    u32 low = scales[g % 8] >> g / 8 * 4 & 15, high = scales[8 + g % 4] >> 2 * (g / 4) & 3;
    return make_float2(__fmul_rn(f16_value(load<u16>(row[3] + block * 2)), (float)((int)(low | high << 4) - 32)), 0);
  }
};
// Q4_K and Q5_K: the 16 bytes of scales; group g's scale and minimum.
DEV float2 k_scales(const u8* header, int g) {
  uint4 v = load<uint4>(header);
  u32 scales = v.y >> 8 * (g % 4) & 255, minimums = v.z >> 8 * (g % 4) & 255, rest = v.w >> 8 * (g % 4) & 255;
  u32 s = g < 4 ? scales & 63 : (rest & 15) | scales >> 6 << 4, m = g < 4 ? minimums & 63 : rest >> 4 | minimums >> 6 << 4;
  return make_float2(__fmul_rn(f16_value(v.x & 0xffff), (float)s), -__fmul_rn(f16_value(v.x >> 16), (float)m));
}
struct q4_k {
  enum { LEN = 256, PLANES = 2, RUN = 32, OFFSET = 0, MINIMUM = 1 };
  static constexpr int bytes(int plane) { return plane == 0 ? 128 : 16; }
  DEV void quants(const u8* const* row, u32 block, int part, u32* out) {
    int g = part / 4, i0 = part % 4 * 8, shift = g % 2 * 4;
    uint2 v = load<uint2>(row[0] + block * 128 + g / 2 * 32 + i0);
    out[0] = v.x >> shift & 0x0f0f0f0f, out[1] = v.y >> shift & 0x0f0f0f0f;
  }
  DEV float2 scale(const u8* const* row, u32 block, int part) { return k_scales(row[1] + block * 16, part / 4); }
};
struct q5_k {
  enum { LEN = 256, PLANES = 3, RUN = 32, OFFSET = 0, MINIMUM = 1 };
  static constexpr int bytes(int plane) { return plane == 0 ? 128 : plane == 1 ? 32 : 16; }
  DEV void quants(const u8* const* row, u32 block, int part, u32* out) {
    int g = part / 4, i0 = part % 4 * 8, shift = g % 2 * 4;
    uint2 v = load<uint2>(row[0] + block * 128 + g / 2 * 32 + i0), fifth = load<uint2>(row[1] + block * 32 + i0);
    out[0] = (v.x >> shift & 0x0f0f0f0f) | (fifth.x >> g & 0x01010101) << 4;
    out[1] = (v.y >> shift & 0x0f0f0f0f) | (fifth.y >> g & 0x01010101) << 4;
  }
  DEV float2 scale(const u8* const* row, u32 block, int part) { return k_scales(row[2] + block * 16, part / 4); }
};
struct q6_k {
  enum { LEN = 256, PLANES = 4, RUN = 16, OFFSET = 32, MINIMUM = 0 };
  static constexpr int bytes(int plane) { return plane == 0 ? 128 : plane == 1 ? 64 : plane == 2 ? 16 : 2; }
  DEV void quants(const u8* const* row, u32 block, int part, u32* out) {
    int h = part / 16, run = part / 4 % 4, i0 = part % 4 * 8;
    uint2 low = load<uint2>(row[0] + block * 128 + h * 64 + run % 2 * 32 + i0);
    uint2 high = load<uint2>(row[1] + block * 64 + h * 32 + i0);
    out[0] = (low.x >> run / 2 * 4 & 0x0f0f0f0f) | (high.x >> 2 * run & 0x03030303) << 4;
    out[1] = (low.y >> run / 2 * 4 & 0x0f0f0f0f) | (high.y >> 2 * run & 0x03030303) << 4;
  }
  DEV float2 scale(const u8* const* row, u32 block, int part) {
    float group = (float)(i8)row[2][block * 16 + part / 2];
    return make_float2(__fmul_rn(f16_value(load<u16>(row[3] + block * 2)), group), 0);
  }
};

// Where rows begin in each plane of a format.
template <class F> struct Planes {
  const u8* at[F::PLANES];
};
template <class F> DEV Planes<F> row_planes(const Matrix& w, u32 row) {
  u32 blocks = w.cols / F::LEN;
  u64 count = (u64)w.rows * blocks;
  const u8* plane = w.weights;
  Planes<F> planes;
#pragma unroll
  for (int p = 0; p < F::PLANES; p++) {
    planes.at[p] = plane + (u64)row * blocks * F::bytes(p);
    plane += count * F::bytes(p);
  }
  return planes;
}

// Eight weights of a block, as every format has them; each operation rounds.
template <class F> DEV void eight_of(const Planes<F>& row, u32 block, int part, float* out) {
  if constexpr (F::RUN == 0) {
    F::eight(row.at, block, part, out);
  } else {
    u32 quants[2];
    F::quants(row.at, block, part, quants);
    float2 scale = F::scale(row.at, block, part);
#pragma unroll
    for (int i = 0; i < 8; i++) {
      float weight = __fmul_rn(scale.x, (float)((int)(quants[i / 4] >> 8 * (i % 4) & 255) - F::OFFSET));
      out[i] = F::MINIMUM ? __fadd_rn(weight, scale.y) : weight;
    }
  }
}

// Only F8_E4M3 has scales beside its blocks.
template <class F> struct Scaled { enum { YES = 0 }; };
template <> struct Scaled<f8_e4m3> { enum { YES = 1 }; };

// The eight weights of `row` from column `k` on, without the scales beside them.
template <class F> DEV void unscaled_at(const Matrix& w, u32 row, u32 k, float* out) {
  eight_of<F>(row_planes<F>(w, row), k / F::LEN, k % F::LEN / 8, out);
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
