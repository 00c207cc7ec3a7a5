// gemv4_<format>: y[m] = end(W x[m]) for up to four rows of activations at a time, norm and end included; gemv8_<format>: the same
// for eight, which split8_<format> has split. The sums are those of dot.cuh.
//
//   W      up to three matrices [rows, cols] of one format (q, k and v; or gate and up, `gemv4_gated_<format>`)
//   x      f32 [M][x_stride], zeros behind `cols`; y f32 [M][stride]
//   norm   gamma f32 [cols] or null: x is multiplied by gamma, and sums by 1 / sqrt(mean of x^2 + eps)
//   grid   (units, M / 4), TEAM warps; a unit is two tiles of eight rows, each warp has an eighth of the columns
//   bytes  the matrices once for each 4 or 8 rows; x from the caches
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

// Two tiles: of which parts, and where in them. Where the second is not there, it is the first again.
struct Unit {
  u32 which[2], at[2];
  bool two;
  template <class F> __device__ Tile<F> tile_of(const Part& a, const Part& b, const Part& c, u32 g) const {
    Matrix own = choose(which[0], a, b, c).w, other = choose(which[1], a, b, c).w;
    Tile<F> tile;
    tile.own = row_planes<F>(own, min(at[0] * 8 + g, own.rows - 1)), tile.own_scale_cols = own.scale_cols;
    tile.other = row_planes<F>(other, min(at[1] * 8 + g, other.rows - 1)), tile.other_scale_cols = other.scale_cols;
    return tile;
  }
};
template <bool GATED> DEV Unit unit_of(const Part& a, const Part& b, const Part& c, u32 unit) {
  Unit u;
#pragma unroll
  for (u32 i = 0; i < 2; i++) {
    u32 tile = unit * 2 + i, behind_a = a.tiles, behind_b = a.tiles + b.tiles;
    u.which[i] = GATED ? i : tile < behind_a ? 0 : tile < behind_b ? 1 : 2;
    u.at[i] = GATED ? unit : tile < behind_a ? tile : tile < behind_b ? tile - behind_a : tile - behind_b;
  }
  u.two = GATED || u.which[1] < 2 || u.at[1] < c.tiles;
  if (!u.two) u.which[1] = u.which[0], u.at[1] = u.at[0];
  return u;
}

// Ends the sum of row `row` of a unit's sixteen with row m of x; gated, `up` is the sum of the row eight further on.
template <class F, bool GATED> DEV void end_row(const Unit& unit, const Part& a, const Part& b, const Part& c, u32 row, u32 m, float sum, float up, float norm, const Ending& end) {
  bool lower = row < 8, normed = end.gamma != 0;
  if (GATED ? !lower : !lower && !unit.two) return;
  Part part = choose(lower ? unit.which[0] : unit.which[1], a, b, c);
  u32 place = (lower ? unit.at[0] : unit.at[1]) * 8 + row % 8;
  if (place >= part.w.rows) return;
  const bool scaled = Is<F>::F8 && !Is<F>::BLOCKED;
  float value = finish(sum, normed, norm, scaled ? part.w.scales : 0, part.w.bias, place);
  float* y = part.y + (u64)m * part.stride + place;
  if (GATED) {
    *y = __fmul_rn(activate(end.activation, value), finish(up, normed, norm, scaled ? b.w.scales : 0, b.w.bias, place));
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

// What a warp's columns of a row of x come to, gamma included: the largest as bits of |x|, and their squares without gamma, by
// lane. As decode.cu: a lane has two columns of every other of the warp's blocks.
DEV u32 take_measure(const float* x, u32 cols, u32 warp, u32 lane, const float* gamma, float& square) {
  u32 most = 0, blocks = (cols + 31) / 32;
#pragma unroll 4
  for (u32 kb = warp + lane / 16 * TEAM; kb < blocks; kb += 2 * TEAM) {
    u32 k = kb * 32 + lane % 16 * 2;
    float2 value = *(const float2*)(x + k);
    square = fmaf(value.x, value.x, square), square = fmaf(value.y, value.y, square);
    if (gamma) {
      float2 factor = k < cols ? *(const float2*)(gamma + k) : make_float2(0, 0);
      value.x = __fmul_rn(value.x, factor.x), value.y = __fmul_rn(value.y, factor.y);
    }
    most = max(most, max(__float_as_uint(value.x) & 0x7fffffff, __float_as_uint(value.y) & 0x7fffffff));
  }
  return most;
}
// This lane's eight columns of a block of a row of x, times gamma and `up`; zeros where the row is not there.
template <class F> DEV void take_columns(float* values, const float* x, bool there, u32 kb, u32 t, u32 cols, const float* gamma, float up) {
#pragma unroll
  for (int j = 0; j < 2; j++) {
    u32 k = kb * 32 + column_of<F>(t, j);
    float4 v = there ? *(const float4*)(x + k) : make_float4(0, 0, 0, 0);
    if (gamma) {
      float4 f = k < cols ? *(const float4*)(gamma + k) : make_float4(0, 0, 0, 0);
      v.x = __fmul_rn(v.x, f.x), v.y = __fmul_rn(v.y, f.y), v.z = __fmul_rn(v.z, f.z), v.w = __fmul_rn(v.w, f.w);
    }
    values[4 * j] = v.x * up, values[4 * j + 1] = v.y * up, values[4 * j + 2] = v.z * up, values[4 * j + 3] = v.w * up;
  }
}

template <class F, bool GATED> DEV void gemv4(const Part& a, const Part& b, const Part& c, const float* x, u32 x_stride, u32 count, const Ending& end) {
  __shared__ float sums[16][4][TEAM + 1], squares[4][TEAM + 1];
  u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  u32 base = blockIdx.y * 4, rows = min(count - base, 4u), cols = a.w.cols, blocks = (cols + 31) / 32;
  x += (u64)base * x_stride;
  float up = 1, back = 1;
#pragma unroll
  for (u32 m = 0; m < 4; m++) {
    if (m >= rows) continue;
    float square = 0;
    u32 most = take_measure(x + (u64)m * x_stride, cols, warp, lane, end.gamma, square);
    if (!Operand<F>::BF16) {
      u32 exponent = exponent_of(__reduce_max_sync(~0u, most));
      if (m == g / 2) up = scale_up(exponent);
      if (m == t) back = scale_back(exponent);
    }
    if (end.gamma) {
      square = warp_sum(square);
      if (lane == 0) squares[m][warp] = square;
    }
  }
  Unit unit = unit_of<GATED>(a, b, c, blockIdx.x);
  Tile<F> tile = unit.tile_of<F>(a, b, c, g);
  float acc[2][1][4] = {};
  for (u32 start = warp; start < blocks; start += 4 * TEAM) {
#pragma unroll
    for (u32 turn = 0; turn < 4; turn++) {
      u32 kb = start + turn * TEAM;
      if (kb >= blocks) continue;
      float values[8], input_sum[1][2];
      take_columns<F>(values, x + (u64)(g / 2) * x_stride, g / 2 < rows, kb, t, cols, end.gamma, up);
      Input input;
      input_of<F>(values, g, input);
      input_sums<F>(input, input_sum[0]);
      u32 inside = F::LEN == 8 && kb * 32 + 8 * t >= cols ? 0 : kb;
      multiply<F, 1>(acc[turn % 2], &input, input_sum, tile, kb, inside, t);
    }
  }
  float2 sum = sums_of<F>(acc[0][0], acc[1][0]);
  sums[g][t][warp] = sum.x * back, sums[8 + g][t][warp] = sum.y * back;
  __syncthreads();
  u32 row = threadIdx.x / 4, m = threadIdx.x % 4;
  if (row >= 16 || m >= rows) return;
  float norm = end.gamma ? norm_of(sum_of_warps(squares[m], 1), cols, end.eps) : 0;
  end_row<F, GATED>(unit, a, b, c, row, base + m, sum_of_warps(sums[row][m], 1), GATED && row < 8 ? sum_of_warps(sums[row + 8][m], 1) : 0, norm, end);
}

// split8_<format>: up to eight rows of x as `gemv8_<format>` multiplies them, so that they are split once and not in every block.
//   pieces  [groups of 8 rows][blocks of 32 columns][2][32 lanes] uint4: the Input of each lane for rows 0 .. 3 and 4 .. 7
//   scales  f32 [groups][8][TEAM]: what a warp's sums are multiplied by; squares f32 [groups][8][TEAM]: its columns' sum of squares
//   grid    (TEAM, any number that share a warp's columns, groups), 8 warps
template <class F> DEV void split8(const float* x, u32 x_stride, u32 cols, u32 count, const float* gamma, uint4* pieces, float* scales, float* squares) {
  follow();
  __shared__ float ups[8];
  u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, slice = blockIdx.x;
  u32 base = blockIdx.z * 8, rows = min(count - base, 8u), blocks = (cols + 31) / 32;
  x += (u64)base * x_stride;
  float up = 1, back = 1, square = 0;
  if (warp < rows) {
    u32 most = take_measure(x + (u64)warp * x_stride, cols, slice, lane, gamma, square);
    if (!Operand<F>::BF16) {
      u32 exponent = exponent_of(__reduce_max_sync(~0u, most));
      up = scale_up(exponent), back = scale_back(exponent);
    }
    square = warp_sum(square);
  }
  if (lane == 0) {
    ups[warp] = up;
    u32 at = (blockIdx.z * 8 + warp) * TEAM + slice;
    if (blockIdx.y == 0) scales[at] = back, squares[at] = square;
  }
  __syncthreads();
  for (u32 task = blockIdx.y * 8 + warp;; task += gridDim.y * 8) {
    u32 kb = slice + task / 2 * TEAM, set = task % 2, m = g / 2 + 4 * set;
    if (kb >= blocks) break;
    float values[8];
    take_columns<F>(values, x + (u64)m * x_stride, m < rows, kb, t, cols, gamma, ups[m]);
    Input input;
    input_of<F>(values, g, input);
    pieces[((u64)blockIdx.z * blocks * 2 + kb * 2 + set) * 32 + lane] = make_uint4(input.pairs[0], input.pairs[1], input.pairs[2], input.pairs[3]);
  }
}

// Units of a block of gemv8; large blocks leave no registers for two.
template <class F> DEV constexpr u32 units_of_eight() { return F::LEN == 256 ? 1 : 2; }

// gemv8_<format>: as gemv4, of eight rows that `split8` has split. grid (units / units_of_eight, groups of 8 rows)
template <class F, bool GATED> DEV void gemv8(const Part& a, const Part& b, const Part& c, const uint4* pieces, const float* scales, const float* squares, u32 count, const Ending& end) {
  follow();
  constexpr u32 UNITS = units_of_eight<F>();
  __shared__ float sums[16 * UNITS][8][TEAM + 1];
  u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  u32 base = blockIdx.y * 8, rows = min(count - base, 8u), cols = a.w.cols, blocks = (cols + 31) / 32;
  // Where the last block has one unit, that is multiplied twice and ended once.
  const u32 units = GATED ? a.tiles : (a.tiles + b.tiles + c.tiles + 1) / 2, first = blockIdx.x * UNITS;
  pieces += (u64)blockIdx.y * blocks * 64, scales += base * TEAM, squares += base * TEAM;
  Tile<F> tiles[UNITS];
#pragma unroll
  for (u32 u = 0; u < UNITS; u++) tiles[u] = unit_of<GATED>(a, b, c, min(first + u, units - 1)).template tile_of<F>(a, b, c, g);
  float acc[UNITS][2][2][4] = {};
  auto step = [&](u32 kb, u32 turn) {
    Input input[2];
    float input_sum[2][2];
#pragma unroll
    for (u32 set = 0; set < 2; set++) {
      uint4 v = pieces[(kb * 2 + set) * 32 + lane];
      input[set] = {{v.x, v.y, v.z, v.w}};
      input_sums<F>(input[set], input_sum[set]);
    }
    u32 inside = F::LEN == 8 && kb * 32 + 8 * t >= cols ? 0 : kb;
#pragma unroll
    for (u32 u = 0; u < UNITS; u++) multiply<F, 2>(acc[u][turn], input, input_sum, tiles[u], kb, inside, t);
  };
  u32 kb = warp;
  // No branch between four steps, so that their loads are under way together.
  for (; kb + 3 * TEAM < blocks; kb += 4 * TEAM)
#pragma unroll
    for (u32 turn = 0; turn < 4; turn++) step(kb + turn * TEAM, turn % 2);
#pragma unroll
  for (u32 turn = 0; turn < 3; turn++)
    if (kb + turn * TEAM < blocks) step(kb + turn * TEAM, turn % 2);
#pragma unroll
  for (u32 set = 0; set < 2; set++) {
    float back = scales[(t + 4 * set) * TEAM + warp];
#pragma unroll
    for (u32 u = 0; u < UNITS; u++) {
      float2 sum = sums_of<F>(acc[u][0][set], acc[u][1][set]);
      sums[16 * u + g][t + 4 * set][warp] = sum.x * back, sums[16 * u + 8 + g][t + 4 * set][warp] = sum.y * back;
    }
  }
  __syncthreads();
  u32 m = threadIdx.x % 8, row = threadIdx.x / 8;
  if (m >= rows || row >= 16 * UNITS || first + row / 16 >= units) return;
  float norm = end.gamma ? norm_of(sum_of_warps(squares + m * TEAM, 1), cols, end.eps) : 0;
  Unit unit = unit_of<GATED>(a, b, c, first + row / 16);
  end_row<F, GATED>(unit, a, b, c, row % 16, base + m, sum_of_warps(sums[row][m], 1), GATED && row % 16 < 8 ? sum_of_warps(sums[row + 8][m], 1) : 0, norm, end);
}

#define GEMV_OF(F, NAME, GATED)                                                                                        \
  extern "C" __global__ void __launch_bounds__(TEAM * 32, F::LEN < 256 ? 4 : 2)                                        \
      gemv4##NAME##_##F(Part a, Part b, Part c, const float* x, u32 x_stride, u32 count, Ending end) {                 \
    gemv4<F, GATED>(a, b, c, x, x_stride, count, end);                                                                 \
  }                                                                                                                    \
  extern "C" __global__ void __launch_bounds__(TEAM * 32, 1)                                                           \
      gemv8##NAME##_##F(Part a, Part b, Part c, const uint4* pieces, const float* scales, const float* squares, u32 count, Ending end) { \
    gemv8<F, GATED>(a, b, c, pieces, scales, squares, count, end);                                                     \
  }
#define GEMV(F)                                                                                                        \
  GEMV_OF(F, , false) GEMV_OF(F, _gated, true)                                                                         \
  extern "C" __global__ void __launch_bounds__(256)                                                                    \
      split8_##F(const float* x, u32 x_stride, u32 cols, u32 count, const float* gamma, uint4* pieces, float* scales, float* squares) { \
    split8<F>(x, x_stride, cols, count, gamma, pieces, scales, squares);                                               \
  }

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
