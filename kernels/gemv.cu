// gemv4_<format>, gemv8_<format>: y[m] = end(W x[m]) for up to 4 or 8 rows of activations, norm and end included; the sums are
// those of dot.cuh.
//
//   W      up to three matrices [rows, cols] of one format (q, k and v; or gate and up, `gemv4_gated_<format>`)
//   x      f32 [M][x_stride], zeros behind `cols`; y f32 [M][stride]
//   norm   gamma f32 [cols] or null: x is multiplied by gamma, and sums by 1 / sqrt(mean of x^2 + eps)
//   grid   (units, M / 4 or 8), TEAM warps; a unit is two tiles of eight rows, each warp has an eighth of the columns
//   bytes  the matrices once for each 8 rows; x from the caches
//
// End of a sum (mode): 0 y = p, 1 y += p, 3 y = act(p), 4 y = cap tanh(p / cap), 5 y *= p; gated: y = act(p of gate) * (p of up).

// A matrix and where its products go.
struct Part {
  Matrix w;
  float* y;
  u32 stride, tiles;
};
struct Ending {
  const float* gamma;
  float eps, cap;
  u32 mode, activation;
};

// One of three, field by field: an index into an array of arguments would put it into local memory.
DEV Part choose(u32 which, const Part& a, const Part& b, const Part& c) {
  Part part;
#define FIELD(name) part.name = which == 0 ? a.name : which == 1 ? b.name : c.name
  FIELD(w.weights), FIELD(w.scales), FIELD(w.bias), FIELD(w.rows), FIELD(w.cols), FIELD(w.scale_cols), FIELD(w.scale_blocks);
  FIELD(y), FIELD(stride), FIELD(tiles);
#undef FIELD
  return part;
}

template <class F, int SETS, bool GATED> DEV void gemv(const Part& a, const Part& b, const Part& c, const float* x, u32 x_stride, u32 count, const Ending& end) {
  __shared__ float sums[16][4 * SETS][TEAM + 1], squares[4 * SETS][TEAM + 1];
  u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  u32 base = blockIdx.y * 4 * SETS, rows = min(count - base, 4u * SETS), cols = a.w.cols, blocks = (cols + 31) / 32;
  x += (u64)base * x_stride;

  // What this warp's columns of each row come to: the largest, and the sum of squares.
  float up[SETS], back[SETS];
#pragma unroll
  for (int set = 0; set < SETS; set++) up[set] = 1, back[set] = 1;
#pragma unroll
  for (u32 m = 0; m < 4 * SETS; m++) {
    if (m >= rows) continue;
    u32 most = 0;
    float square = 0;
    // As decode.cu: a lane has two columns of every other of the warp's blocks.
#pragma unroll 2
    for (u32 kb = warp + lane / 16 * TEAM; kb < blocks; kb += 2 * TEAM) {
      u32 k = kb * 32 + lane % 16 * 2;
      float2 value = *(const float2*)(x + (u64)m * x_stride + k);
      square = fmaf(value.x, value.x, square), square = fmaf(value.y, value.y, square);
      if (end.gamma) {
        float2 gamma = k < cols ? *(const float2*)(end.gamma + k) : make_float2(0, 0);
        value.x = __fmul_rn(value.x, gamma.x), value.y = __fmul_rn(value.y, gamma.y);
      }
      most = max(most, max(__float_as_uint(value.x) & 0x7fffffff, __float_as_uint(value.y) & 0x7fffffff));
    }
    if (!Operand<F>::BF16) {
      u32 exponent = exponent_of(__reduce_max_sync(~0u, most));
      if (m % 4 == g / 2) up[m / 4] = scale_up(exponent);
      if (m % 4 == t) back[m / 4] = scale_back(exponent);
    }
    if (end.gamma) {
      square = warp_sum(square);
      if (lane == 0) squares[m][warp] = square;
    }
  }

  // The two tiles of this unit: of which part, and where in it.
  u32 which[2], at[2];
#pragma unroll
  for (u32 i = 0; i < 2; i++) {
    u32 tile = blockIdx.x * 2 + i, behind_a = a.tiles, behind_b = a.tiles + b.tiles;
    which[i] = GATED ? i : tile < behind_a ? 0 : tile < behind_b ? 1 : 2;
    at[i] = GATED ? blockIdx.x : tile < behind_a ? tile : tile < behind_b ? tile - behind_a : tile - behind_b;
  }
  bool two = GATED || which[1] < 2 || at[1] < c.tiles;
  if (!two) which[1] = which[0], at[1] = at[0];
  Matrix own = choose(which[0], a, b, c).w, other = choose(which[1], a, b, c).w;
  Tile<F> tile;
  tile.own = row_planes<F>(own, min(at[0] * 8 + g, own.rows - 1)), tile.own_scale_cols = own.scale_cols;
  tile.other = row_planes<F>(other, min(at[1] * 8 + g, other.rows - 1)), tile.other_scale_cols = other.scale_cols;
  float acc[2][SETS][4] = {};
  for (u32 start = warp; start < blocks; start += 4 * TEAM) {
#pragma unroll
    for (u32 turn = 0; turn < 4; turn++) {
      u32 kb = start + turn * TEAM;
      if (kb >= blocks) continue;
      Input input[SETS];
      float input_sum[SETS][2];
#pragma unroll
      for (int set = 0; set < SETS; set++) {
        float values[8];
        u32 m = g / 2 + 4 * set;
#pragma unroll
        for (int j = 0; j < 2; j++) {
          u32 k = kb * 32 + column_of<F>(t, j);
          float4 v = m < rows ? *(const float4*)(x + (u64)m * x_stride + k) : make_float4(0, 0, 0, 0);
          if (end.gamma) {
            float4 gamma = k < cols ? *(const float4*)(end.gamma + k) : make_float4(0, 0, 0, 0);
            v.x = __fmul_rn(v.x, gamma.x), v.y = __fmul_rn(v.y, gamma.y), v.z = __fmul_rn(v.z, gamma.z), v.w = __fmul_rn(v.w, gamma.w);
          }
          values[4 * j] = v.x * up[set], values[4 * j + 1] = v.y * up[set], values[4 * j + 2] = v.z * up[set], values[4 * j + 3] = v.w * up[set];
        }
        input_of<F>(values, g, input[set]);
        input_sums<F>(input[set], input_sum[set]);
      }
      u32 inside = F::LEN == 8 && kb * 32 + 8 * t >= cols ? 0 : kb;
      multiply<F, SETS>(acc[turn % 2], input, input_sum, tile, kb, inside, t);
    }
  }
#pragma unroll
  for (int set = 0; set < SETS; set++) {
    float2 sum = sums_of<F>(acc[0][set], acc[1][set]);
    sums[g][t + 4 * set][warp] = sum.x * back[set], sums[8 + g][t + 4 * set][warp] = sum.y * back[set];
  }
  __syncthreads();

  u32 row = threadIdx.x / (4 * SETS), m = threadIdx.x % (4 * SETS);
  if (row >= (GATED ? 8 : 16) || m >= rows) return;
  bool normed = end.gamma != 0;
  float norm = normed ? norm_of(sum_of_warps(squares[m], 1), cols, end.eps) : 0;
  bool lower = GATED || row < 8;
  Part part = choose(lower ? which[0] : which[1], a, b, c);
  u32 place = (lower ? at[0] : at[1]) * 8 + row % 8;
  if (place >= part.w.rows || (!lower && !two)) return;
  const float* scales = Is<F>::F8 && !Is<F>::BLOCKED ? part.w.scales : 0;
  float value = finish(sum_of_warps(sums[row][m], 1), normed, norm, scales, part.w.bias, place);
  float* y = part.y + (u64)(base + m) * part.stride + place;
  if (GATED) {
    const float* up_scales = Is<F>::F8 && !Is<F>::BLOCKED ? b.w.scales : 0;
    float other = finish(sum_of_warps(sums[8 + row][m], 1), normed, norm, up_scales, b.w.bias, place);
    *y = __fmul_rn(activate(end.activation, value), other);
    return;
  }
  switch (end.mode) {
    case 0: *y = value; break;
    case 1: *y = __fadd_rn(*y, value); break;
    case 3: *y = activate(end.activation, value); break;
    case 5: *y = __fmul_rn(*y, value); break;
    default: *y = end.cap * tanhf(value / end.cap);
  }
}

#define GEMV_OF(F, NAME, SETS)                                                                                        \
  extern "C" __global__ void __launch_bounds__(TEAM * 32, SETS == 1 && F::LEN < 256 ? 4 : 2)                                \
      NAME##_##F(Part a, Part b, Part c, const float* x, u32 x_stride, u32 count, Ending end) {                       \
    gemv<F, SETS, false>(a, b, c, x, x_stride, count, end);                                                           \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(TEAM * 32, SETS == 1 && F::LEN < 256 ? 4 : 2)                                \
      NAME##_gated_##F(Part gate, Part up, Part none, const float* x, u32 x_stride, u32 count, Ending end) {          \
    gemv<F, SETS, true>(gate, up, none, x, x_stride, count, end);                                                     \
  }
#define GEMV(F) GEMV_OF(F, gemv4, 1) GEMV_OF(F, gemv8, 2)

// embed_<format>: x[n] = scale * W[token of row n], zeros in the padding of W; grid: rows of the batch.
template <class F> DEV void embed(const Matrix& w, const Row* rows, float* x, u32 x_stride, float scale) {
  u32 token = rows[blockIdx.x].token;
  for (u32 k = threadIdx.x * 8; k < w.cols; k += blockDim.x * 8) {
    float weights[8];
    weights_at<F>(w, token, k, weights);
#pragma unroll
    for (int i = 0; i < 8; i++) x[(u64)blockIdx.x * x_stride + k + i] = __fmul_rn(weights[i], scale);
  }
}

// dequantize_<format>: the whole matrix as f32 [rows][cols], for tests.
#define READ(F)                                                                                                       \
  extern "C" __global__ void embed_##F(Matrix w, const Row* rows, float* x, u32 x_stride, float scale) {              \
    embed<F>(w, rows, x, x_stride, scale);                                                                            \
  }                                                                                                                   \
  extern "C" __global__ void dequantize_##F(Matrix w, float* out) {                                                   \
    for (u32 k = threadIdx.x * 8; k < w.cols; k += blockDim.x * 8)                                                    \
      weights_at<F>(w, blockIdx.x, k, out + (u64)blockIdx.x * w.cols + k);                                            \
  }
