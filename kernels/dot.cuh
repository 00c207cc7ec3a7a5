// Dot products of weight rows with up to eight rows of activations, on tensor cores: y[m][n] = sum over k of x[m][k] W[n][k].
//
// A warp multiplies 16 weight rows by a block of 32 columns at a time: the weights, exact, are the A operand of m16n8k16; four
// rows of x are the B operand, each in two halves: row m's high one is column 2 m, what it leaves is column 2 m + 1, so that x
// keeps 22 bits (16 beside bf16 weights). More rows than four are a second product. Grouped formats multiply their whole quants
// and scale each group's sum in f32. Lane 4 g + t holds columns 8t .. 8t + 7 of rows g and g + 8: one load each, whatever the
// order inside a block.
//
// The one order of every sum: a block of threads has TEAM warps, warp w takes the blocks w, w + TEAM, ... of 32 columns, in
// order and by turns to two sums, and the TEAM results are added as `sum_of_warps` does. It is the same for one row and for
// eight, in gemv.cu and in decode.cu: a row's numbers do not depend on its company.

// Warps that share the columns of a row.
#define TEAM 8

// F8_E4M3 with scales for blocks of columns, whole blocks of 32: at[1] is where a row's scales begin.
struct f8_blocks {
  enum { LEN = 8, PLANES = 2, RUN = 32, OFFSET = 0, MINIMUM = 0 };
};
template <> __device__ __forceinline__ Planes<f8_blocks> row_planes<f8_blocks>(const Matrix& w, u32 row) {
  Planes<f8_blocks> planes;
  planes.at[0] = w.weights + (u64)row * w.cols, planes.at[1] = (const u8*)(w.scales + (u64)row * w.scale_blocks);
  return planes;
}

// What the tensor cores multiply for a format: bf16 or f16, and how many terms make a weight.
template <class F> struct Operand { enum { BF16 = 0, TERMS = 1 }; };
template <> struct Operand<bf16> { enum { BF16 = 1, TERMS = 1 }; };
template <> struct Operand<f32> { enum { BF16 = 1, TERMS = 3 }; };
template <class T> struct Is { enum { F8 = 0, F32 = 0, BLOCKED = 0 }; };
template <> struct Is<f8_e4m3> { enum { F8 = 1, F32 = 0, BLOCKED = 0 }; };
template <> struct Is<f8_blocks> { enum { F8 = 1, F32 = 0, BLOCKED = 1 }; };
template <> struct Is<f32> { enum { F8 = 0, F32 = 1, BLOCKED = 0 }; };

// Eight columns of a half of a row of x, as pairs: lane 4 g + t has half g % 2 of row g / 2.
struct Input {
  u32 pairs[4];
};

template <int BF16> DEV void split_pair(float a, float b, u32& high, u32& low) {
  if constexpr (BF16) {
    high = bf16_pair(a, b);
    low = bf16_pair(a - __uint_as_float(high << 16), b - __uint_as_float(high & 0xffff0000));
  } else {
    high = f16_pair(a, b);
    low = f16_pair(a - f16_value(high & 0xffff), b - f16_value(high >> 16));
  }
}

// Powers of two that bring the largest of a warp's columns between 2^13 and 2^14, and back; `most` are the bits of |x|.
DEV u32 exponent_of(u32 most) { return max(most >> 23, 14u); }
DEV float scale_up(u32 exponent) { return __uint_as_float((267 - exponent) << 23); }
DEV float scale_back(u32 exponent) { return __uint_as_float((exponent - 13) << 23); }

// Sum of TEAM numbers, `stride` apart.
DEV float sum_of_warps(const float* parts, u32 stride) {
  float low = parts[0], high = parts[TEAM / 2 * stride];
#pragma unroll
  for (u32 w = 1; w < TEAM / 2; w++) low = __fadd_rn(low, parts[w * stride]), high = __fadd_rn(high, parts[(w + TEAM / 2) * stride]);
  return __fadd_rn(low, high);
}

// Unsigned bytes, `OFFSET` too large, as four f16.
template <int OFFSET> DEV void halves_of_bytes(u32 bytes, u32* out) {
  constexpr u32 base = 0x6400 + OFFSET;  // 1024 + OFFSET
  out[0] = f16_pair_subtract(__byte_perm(bytes, 0x64646464, 0x4140), base << 16 | base);
  out[1] = f16_pair_subtract(__byte_perm(bytes, 0x64646464, 0x4342), base << 16 | base);
}

// Columns of block `kb` that lane (g, t) holds of its row: pairs 0, 1 for the first product, 2, 3 for the second.
template <class F> DEV void fragment(const Planes<F>& row, u32 kb, u32 t, u32 out[Operand<F>::TERMS][4]) {
  if constexpr (Is<F>::F8) {
    uint2 v = load<uint2>(row.at[0] + kb * 32 + t * 8);
    out[0][0] = e4m3_pair(v.x), out[0][1] = e4m3_pair(v.x >> 16), out[0][2] = e4m3_pair(v.y), out[0][3] = e4m3_pair(v.y >> 16);
  } else if constexpr (Is<F>::F32) {
    float4 a = load<float4>(row.at[0] + kb * 128 + t * 32), b = load<float4>(row.at[0] + kb * 128 + t * 32 + 16);
    float w[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
      float left = w[2 * i], right = w[2 * i + 1];
#pragma unroll
      for (int term = 0; term < 3; term++) {
        out[term][i] = bf16_pair(left, right);
        left -= __uint_as_float(out[term][i] << 16), right -= __uint_as_float(out[term][i] & 0xffff0000);
      }
    }
  } else if constexpr (F::RUN == 0) {
    uint4 v = load<uint4>(row.at[0] + kb * 64 + t * 16);
    out[0][0] = v.x, out[0][1] = v.y, out[0][2] = v.z, out[0][3] = v.w;
  } else {
    constexpr u32 each = F::LEN / 32;
    u32 block = kb / each, part = kb % each * 4, quants[2];
    if constexpr (F::RUN == 16) {
      // A product is a group of 16 columns: lane t has four of each.
#pragma unroll
      for (int j = 0; j < 2; j++) {
        F::quants(row.at, block, part + 2 * j + t / 2, quants);
        halves_of_bytes<F::OFFSET>(t % 2 ? quants[1] : quants[0], out[0] + 2 * j);
      }
    } else {
      F::quants(row.at, block, part + t, quants);
      halves_of_bytes<F::OFFSET>(quants[0], out[0]), halves_of_bytes<F::OFFSET>(quants[1], out[0] + 2);
    }
  }
}

template <class F> DEV float2 group_scale(const Planes<F>& row, u32 kb, u32 group, u32 scale_cols) {
  if constexpr (Is<F>::BLOCKED) {
    return make_float2(load<float>(row.at[1] + kb * 32 / scale_cols * 4), 0);
  } else {
    constexpr u32 each = F::LEN / 32;
    return F::scale(row.at, kb / each, kb % each * 4 + group * 2);
  }
}

// c += A B; of the j-th 16 columns.
template <class F> DEV void product(float* c, const u32* own, const u32* other, const Input& x, int j) {
  if constexpr (Operand<F>::BF16) mma_bf16(c, own[2 * j], other[2 * j], own[2 * j + 1], other[2 * j + 1], x.pairs[2 * j], x.pairs[2 * j + 1]);
  else mma_f16(c, own[2 * j], other[2 * j], own[2 * j + 1], other[2 * j + 1], x.pairs[2 * j], x.pairs[2 * j + 1]);
}

// Sums of row t of x over a block's groups, for formats with a minimum.
template <class F> DEV void input_sums(const Input& x, float* sums) {
  if constexpr (F::MINIMUM) {
    const u32 ones[4] = {0x3c003c00, 0x3c003c00, 0x3c003c00, 0x3c003c00};
    float c[4] = {0, 0, 0, 0};
    product<F>(c, ones, ones, x, 0);
    if constexpr (F::RUN == 16) {
      float d[4] = {0, 0, 0, 0};
      product<F>(d, ones, ones, x, 1);
      sums[1] = __fadd_rn(d[0], d[1]);
    } else {
      product<F>(c, ones, ones, x, 1);
    }
    sums[0] = __fadd_rn(c[0], c[1]);
  }
}

// Sixteen rows: where lane (g, t)'s rows g and g + 8 begin.
template <class F> struct Tile {
  Planes<F> own, other;
  u32 own_scale_cols, other_scale_cols;
};

// Products of SETS times four rows of x with a tile's block of 32 columns; `sums_of` says what is where in `acc`. A lane whose
// columns lie behind the last one reads those of another block, `from`, which its zeros of x do away with.
template <class F, int SETS> DEV void multiply(float (*acc)[4], const Input* x, const float (*sums)[2], const Tile<F>& tile, u32 kb, u32 from, u32 t) {
  u32 own[Operand<F>::TERMS][4], other[Operand<F>::TERMS][4];
  fragment<F>(tile.own, from, t, own);
  fragment<F>(tile.other, from, t, other);
  if constexpr (F::RUN == 0) {
#pragma unroll
    for (int set = 0; set < SETS; set++)
#pragma unroll
      for (int term = 0; term < Operand<F>::TERMS; term++)
        product<F>(acc[set], own[term], other[term], x[set], 0), product<F>(acc[set], own[term], other[term], x[set], 1);
  } else {
    constexpr int groups = 32 / F::RUN;
#pragma unroll
    for (int j = 0; j < groups; j++) {
      float2 a = group_scale<F>(tile.own, kb, j, tile.own_scale_cols), b = group_scale<F>(tile.other, kb, j, tile.other_scale_cols);
#pragma unroll
      for (int set = 0; set < SETS; set++) {
        float c[4] = {0, 0, 0, 0};
        product<F>(c, own[0], other[0], x[set], j);
        if (groups == 1) product<F>(c, own[0], other[0], x[set], 1);
        acc[set][0] = fmaf(a.x, __fadd_rn(c[0], c[1]), acc[set][0]), acc[set][1] = fmaf(b.x, __fadd_rn(c[2], c[3]), acc[set][1]);
        if (F::MINIMUM) acc[set][0] = fmaf(a.y, sums[set][j], acc[set][0]), acc[set][1] = fmaf(b.y, sums[set][j], acc[set][1]);
      }
    }
  }
}

// A warp's sums of weight rows g and g + 8 with row t of x, from the two that its blocks were added to by turns, so that one
// product need not wait for the other.
template <class F> DEV float2 sums_of(const float* even, const float* odd) {
  if constexpr (F::RUN != 0) return make_float2(__fadd_rn(even[0], odd[0]), __fadd_rn(even[1], odd[1]));
  return make_float2(__fadd_rn(__fadd_rn(even[0], even[1]), __fadd_rn(odd[0], odd[1])), __fadd_rn(__fadd_rn(even[2], even[3]), __fadd_rn(odd[2], odd[3])));
}

// Lane (g, t)'s eight columns of its row of x, as the half that it holds.
template <class F> DEV void input_of(const float* x, u32 g, Input& out) {
#pragma unroll
  for (int i = 0; i < 4; i++) {
    u32 high, low;
    split_pair<Operand<F>::BF16>(x[2 * i], x[2 * i + 1], high, low);
    out.pairs[i] = g % 2 ? low : high;
  }
}
// The first of the four columns of pairs 2 j, 2 j + 1 that lane t holds.
template <class F> DEV u32 column_of(u32 t, int j) { return F::RUN == 16 ? 16 * j + 4 * t : 8 * t + 4 * j; }

// The number that ends a sum: the row's norm, the weight row's scale, the bias; each operation rounds.
DEV float finish(float sum, bool normed, float norm, const float* scales, const float* bias, u32 row) {
  if (normed) sum = __fmul_rn(sum, norm);
  if (scales) sum = __fmul_rn(sum, scales[row]);
  return bias ? __fadd_rn(sum, bias[row]) : sum;
}
// 1 / sqrt(mean of squares + eps)
DEV float norm_of(float squares, u32 width, float eps) { return 1 / sqrtf(squares / width + eps); }
