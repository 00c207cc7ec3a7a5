// gemm_<ROWS>, gemm_wide_<ROWS>: y[t] = W x[t] for the tokens t of a prompt's chunk, on tensor cores; what lies around it.
//
//   W      f16 [rows, cols], as stored or made by halve_<format> just before; row r is W[r] * scales[r]
//   x      f16 [tokens][x_stride], made by round_rows or norm_half; token t is x[t] * x_scales[t]
//   y      f32 [tokens][y_stride]; up to three matrices of one input in one launch, their rows one after the other
//   grid   (tokens / 128, tiles of ROWS rows); a tile is 128 tokens x ROWS rows, 64 columns a stage, three stages
//   work   2 tokens rows cols operations; W is read once from memory, the blocks that share it run side by side
//
// Both scales are powers of two that bring the largest element of a row to 2^13 (x) or 2^14 (W): no f16 overflows, what
// is within 2^-27 of the largest keeps all 11 bits, and the f32 sums lose nothing by it. A BF16 weight is exact, one that
// is computed (a quant times its scale) is rounded, within 2^-11 of itself, as the activations are.
// An element's sum runs over the columns in steps of 16, whatever the tile and whoever else is in the chunk.
// mma.sync runs everywhere; gemm_wide_ (WIDE) is wgmma, which only Hopper has. The surprise: both read the same shared memory,
// rows of 128 bytes whose 16-byte pieces are exchanged by the row's number, which is what wgmma calls a 128-byte swizzle.

#define TILE_TOKENS 128
#define TILE_BYTES 128
#define GEMM_STAGES 3
// Floats of a token's sums in shared memory: two rows of a lane and those of its neighbours lie in different banks.
#define KEPT(ROWS) ((ROWS) + 8)

// out[t] = x[t] as f16 with its scale; what lies between width and x's stride is 0. grid: tokens.
extern "C" __global__ void __launch_bounds__(256) round_rows(const float* x, u32 x_stride, u32 width, u16* out, u32 out_stride, float* scales) {
  const float* row = x + (u64)blockIdx.x * x_stride;
  float most = 0;
  for (u32 k = threadIdx.x * 4; k < width; k += blockDim.x * 4) {
    float4 v = *(const float4*)(row + k);
    most = fmaxf(fmaxf(most, fmaxf(fabsf(v.x), fabsf(v.y))), fmaxf(fabsf(v.z), fabsf(v.w)));
  }
  float inverse, power = power_for(block_max(most), 13, &inverse);
  if (threadIdx.x == 0) scales[blockIdx.x] = inverse;
  for (u32 k = threadIdx.x * 8; k < width; k += blockDim.x * 8) {
    float4 a = *(const float4*)(row + k), b = *(const float4*)(row + k + 4);
    float values[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
    store_f16(out + (u64)blockIdx.x * out_stride + k, values, power);
  }
}

// The same of norm(x[t]). grid: tokens.
extern "C" __global__ void __launch_bounds__(1024) norm_half(Norm norm, const float* x, u32 x_stride, u32 width, u16* out, u32 out_stride, float* scales) {
  const float* row = x + (u64)blockIdx.x * x_stride;
  float2 moment = moments(row, width, norm);
  float most = 0;
  for (u32 i = threadIdx.x; i < width; i += blockDim.x) most = fmaxf(most, fabsf(normed(row[i], moment, norm, i)));
  float inverse, power = power_for(block_max(most), 13, &inverse);
  if (threadIdx.x == 0) scales[blockIdx.x] = inverse;
  for (u32 k = threadIdx.x * 8; k < width; k += blockDim.x * 8) {
    float values[8];
#pragma unroll
    for (int i = 0; i < 8; i++) values[i] = k + i < width ? normed(row[k + i], moment, norm, k + i) : 0;
    store_f16(out + (u64)blockIdx.x * out_stride + k, values, power);
  }
}

// What a block works on: one tile of one matrix, or of two whose rows take turns by eights (gate and up).
struct GemmTile {
  const float *scales, *bias;
  float* y;
  u32 rows, y_stride, first_row, first_token;
};

// Where a thread's copies of a stage come from: its piece of 16 bytes in every STEPth row.
struct Source {
  const u16 *w, *x;
  u32 w_row, w_rows, w_step, x_row, x_rows, cols, x_stride, piece;
};

// The tokens' part of a stage.
template <int THREADS> DEV void load_tokens(const Source& from, u32 stage, u32 k) {
  u32 column = k + from.piece * 8, row = threadIdx.x / 8;
  // THREADS / 8 is a multiple of 8, so that all of a thread's rows exchange alike.
  u32 to = stage + row * TILE_BYTES + ((from.piece ^ (row & 7)) << 4);
#pragma unroll
  for (int i = 0; i < TILE_TOKENS * 8 / THREADS; i++) {
    u32 r = from.x_row + i * (THREADS / 8);
    bool wanted = column < from.cols && r < from.x_rows;
    copy_async(to + i * (THREADS / 8) * TILE_BYTES, from.x + (wanted ? (u64)r * from.x_stride + column : 0), wanted);
  }
}
template <int ROWS, int THREADS> DEV void load_stage(const Source& from, u32 stage, u32 k) {
  load_tokens<THREADS>(from, stage, k);
  u32 column = k + from.piece * 8, row = threadIdx.x / 8;
  u32 to = stage + (TILE_TOKENS + row) * TILE_BYTES + ((from.piece ^ (row & 7)) << 4);
#pragma unroll
  for (int i = 0; i < ROWS * 8 / THREADS; i++) {
    u32 r = from.w_row + i * from.w_step;
    bool wanted = column < from.cols && r < from.w_rows;
    copy_async(to + i * (THREADS / 8) * TILE_BYTES, from.w + (wanted ? (u64)r * from.cols + column : 0), wanted);
  }
}

// Sums of 16 tokens x 8 COLUMNS rows into shared memory. As mma lays them out, a lane has tokens g and g + 8, and two rows
// of each eight.
template <int ROWS, int COLUMNS> DEV void keep(float (*sums)[4], u32 token, u32 column) {
  u32 lane = threadIdx.x % 32;
  float* at = (float*)shared_memory() + (token + lane / 4) * KEPT(ROWS) + column + lane % 4 * 2;
#pragma unroll
  for (int c = 0; c < COLUMNS; c++) {
    *(float2*)(at + c * 8) = make_float2(sums[c][0], sums[c][1]);
    *(float2*)(at + c * 8 + 8 * KEPT(ROWS)) = make_float2(sums[c][2], sums[c][3]);
  }
}

DEV float scaled(float sum, float scale, const GemmTile& tile, u32 row) {
  float product = sum * scale;
  if (tile.scales) product *= tile.scales[row];
  return tile.bias ? product + tile.bias[row] : product;
}

// Four rows of a token at a time: scales, bias, and what becomes of the product. mode: as in gemv.cu; 2 makes
// act(gate) * up of a tile that has both, and has half as many rows to write.
template <int ROWS, int THREADS> DEV void finish_tile(const GemmTile& tile, const GemmTile& up, const float* x_scales, u32 count, u32 mode, u32 activation) {
  u32 fours = mode == 2 ? ROWS / 8 : ROWS / 4;
#pragma unroll 1
  for (u32 i = threadIdx.x; i < TILE_TOKENS * fours; i += THREADS) {
    u32 token = i / fours, own = i % fours * 4, t = tile.first_token + token, row = tile.first_row + own;
    if (t >= count || row >= tile.rows) continue;
    const float* sums = (const float*)shared_memory() + token * KEPT(ROWS) + (mode == 2 ? own / 8 * 16 + own % 8 : own);
    float4 own_sums = *(const float4*)sums;
    float out[4] = {own_sums.x, own_sums.y, own_sums.z, own_sums.w}, scale = x_scales[t];
    float* at = tile.y + (u64)t * tile.y_stride + row;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      u32 r = min(row + j, tile.rows - 1);
      out[j] = scaled(out[j], scale, tile, r);
      if (mode >= 2) out[j] = activate(activation, out[j]);
      if (mode == 2) out[j] *= scaled(sums[8 + j], scale, up, r);
    }
    if (row + 4 <= tile.rows) {
      float4 old = mode == 1 ? *(const float4*)at : make_float4(0, 0, 0, 0);
      *(float4*)at = make_float4(old.x + out[0], old.y + out[1], old.z + out[2], old.w + out[3]);
    } else {
#pragma unroll
      for (int j = 0; j < 3; j++)
        if (row + j < tile.rows) at[j] = mode == 1 ? at[j] + out[j] : out[j];
    }
  }
}

// Finds the block's tile. a, b, c: matrices of the same columns, b and c perhaps of no rows; in mode 2 a gates b.
template <int ROWS, int THREADS>
DEV void place(const Matrix& a, const Matrix& b, const Matrix& c, float* ya, float* yb, float* yc, u32 a_stride, u32 b_stride, u32 c_stride, u32 mode, u32 count,
               const u16* x, u32 x_stride, GemmTile* tile, GemmTile* up, Source* from) {
  u32 block = blockIdx.y, row = threadIdx.x / 8;
  tile->first_token = up->first_token = blockIdx.x * TILE_TOKENS;
  from->x = x, from->x_stride = x_stride, from->x_row = tile->first_token + row, from->x_rows = count;
  from->cols = a.cols, from->piece = threadIdx.x % 8;
  if (mode == 2) {
    tile->scales = a.scales, tile->bias = a.bias, tile->y = ya, tile->rows = a.rows, tile->y_stride = a_stride;
    tile->first_row = block * (ROWS / 2);
    up->scales = b.scales, up->bias = b.bias;
    from->w = (const u16*)(row / 8 % 2 ? b.weights : a.weights), from->w_rows = a.rows;
    from->w_row = tile->first_row + row / 16 * 8 + row % 8, from->w_step = THREADS / 16;
    return;
  }
  u32 a_tiles = (a.rows + ROWS - 1) / ROWS, b_tiles = (b.rows + ROWS - 1) / ROWS;
  bool is_a = block < a_tiles, is_b = !is_a && block < a_tiles + b_tiles;
  tile->scales = is_a ? a.scales : is_b ? b.scales : c.scales, tile->bias = is_a ? a.bias : is_b ? b.bias : c.bias;
  tile->y = is_a ? ya : is_b ? yb : yc, tile->y_stride = is_a ? a_stride : is_b ? b_stride : c_stride;
  tile->rows = from->w_rows = is_a ? a.rows : is_b ? b.rows : c.rows;
  tile->first_row = (block - (is_a ? 0 : is_b ? a_tiles : a_tiles + b_tiles)) * ROWS;
  from->w = (const u16*)(is_a ? a.weights : is_b ? b.weights : c.weights);
  from->w_row = tile->first_row + row, from->w_step = THREADS / 8;
  up->scales = up->bias = 0;
}

// The walk over the columns: while a stage is worked on, the next two are on their way.
template <int ROWS, int THREADS, class Work> DEV void walk(const Source& from, Work work) {
  constexpr u32 BYTES = (TILE_TOKENS + ROWS) * TILE_BYTES;
  u32 shared = shared_address(shared_memory()), steps = (from.cols + 63) / 64;
#pragma unroll
  for (int s = 0; s < GEMM_STAGES - 1; s++) {
    if (s < steps) load_stage<ROWS, THREADS>(from, shared + s * BYTES, s * 64);
    copies_commit();
  }
  u32 stage = 0, next = GEMM_STAGES - 1;
  for (u32 step = 0; step < steps; step++) {
    copies_wait<GEMM_STAGES - 2>();
    work.arrived();
    __syncthreads();
    // Whoever read the stage that is filled now has passed the barrier.
    if (step + GEMM_STAGES - 1 < steps) load_stage<ROWS, THREADS>(from, shared + next * BYTES, (step + GEMM_STAGES - 1) * 64);
    copies_commit();
    work.step(shared + stage * BYTES);
    stage = stage == GEMM_STAGES - 1 ? 0 : stage + 1, next = next == GEMM_STAGES - 1 ? 0 : next + 1;
  }
}

#define GEMM_ARGUMENTS                                                                                                \
  Matrix a, Matrix b, Matrix c, float *ya, float *yb, float *yc, u32 a_stride, u32 b_stride, u32 c_stride,            \
      const u16 *x, u32 x_stride, const float *x_scales, u32 count, u32 mode, u32 activation
#define GEMM_PLACE(ROWS, THREADS)                                                                                     \
  GemmTile tile, up;                                                                                                      \
  Source from;                                                                                                        \
  place<ROWS, THREADS>(a, b, c, ya, yb, yc, a_stride, b_stride, c_stride, mode, count, x, x_stride, &tile, &up, &from);

#if !WIDE
// Four warps, each 64 tokens x ROWS / 2 rows.
template <int ROWS> struct WarpTiles {
  float sums[4][ROWS / 16][4];
  u32 token, column;
  __device__ __forceinline__ void arrived() {}
  __device__ __forceinline__ void step(u32 stage) {
    u32 lane = threadIdx.x % 32, x = stage + (token + lane % 16) * TILE_BYTES;
    u32 w = stage + (TILE_TOKENS + column + lane % 8 + lane / 16 * 8) * TILE_BYTES;
#pragma unroll
    for (int k = 0; k < 4; k++) {
      u32 a[4][4], b[ROWS / 32][4];
#pragma unroll
      for (int i = 0; i < 4; i++) matrix_load(x + i * 16 * TILE_BYTES + ((k * 2 + lane / 16 ^ lane % 8) << 4), a[i]);
#pragma unroll
      for (int j = 0; j < ROWS / 32; j++) matrix_load(w + j * 16 * TILE_BYTES + ((k * 2 + lane / 8 % 2 ^ lane % 8) << 4), b[j]);
#pragma unroll
      for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < ROWS / 16; j++) mma_f16(sums[i][j], a[i][0], a[i][1], a[i][2], a[i][3], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    }
  }
};

#define GEMM(ROWS)                                                                                                    \
  extern "C" __global__ void __launch_bounds__(128, 2) gemm_##ROWS(GEMM_ARGUMENTS) {                                  \
    GEMM_PLACE(ROWS, 128)                                                                                             \
    WarpTiles<ROWS> work;                                                                                             \
    work.token = threadIdx.x / 64 * 64, work.column = threadIdx.x / 32 % 2 * (ROWS / 2);                              \
    _Pragma("unroll") for (int i = 0; i < 4; i++)                                                                     \
        _Pragma("unroll") for (int j = 0; j < ROWS / 16; j++)                                                         \
            _Pragma("unroll") for (int e = 0; e < 4; e++) work.sums[i][j][e] = 0;                                     \
    walk<ROWS, 128, WarpTiles<ROWS>&>(from, work);                                                                    \
    __syncthreads();                                                                                                  \
    _Pragma("unroll") for (int i = 0; i < 4; i++)                                                                     \
        keep<ROWS, ROWS / 16>(work.sums[i], work.token + i * 16, work.column);                                        \
    __syncthreads();                                                                                                  \
    finish_tile<ROWS, 128>(tile, up, x_scales, count, mode, activation);                                                   \
  }
GEMM(128)
GEMM(64)
#else
// Two groups of four warps, each 64 tokens x ROWS rows.
template <int ROWS> struct GroupTiles {
  float sums[ROWS / 8][4];
  u32 token;
  __device__ __forceinline__ void arrived() { wgmma_sees(); }
  __device__ __forceinline__ void step(u32 stage) {
    u64 x = wgmma_operand(stage + token * TILE_BYTES), w = wgmma_operand(stage + TILE_TOKENS * TILE_BYTES);
    wgmma_begin();
#pragma unroll
    for (int k = 0; k < 4; k++) wgmma(sums, x + k * 2, w + k * 2);
    wgmma_end();
  }
};
#define GEMM_WIDE(ROWS)                                                                                               \
  extern "C" __global__ void __launch_bounds__(256, 2) gemm_wide_##ROWS(GEMM_ARGUMENTS) {                             \
    GEMM_PLACE(ROWS, 256)                                                                                             \
    GroupTiles<ROWS> work;                                                                                            \
    work.token = threadIdx.x / 128 * 64;                                                                              \
    _Pragma("unroll") for (int j = 0; j < ROWS / 8; j++)                                                              \
        _Pragma("unroll") for (int e = 0; e < 4; e++) work.sums[j][e] = 0;                                            \
    walk<ROWS, 256, GroupTiles<ROWS>&>(from, work);                                                                   \
    __syncthreads();                                                                                                  \
    keep<ROWS, ROWS / 8>(work.sums, threadIdx.x / 32 * 16, 0);                                                        \
    __syncthreads();                                                                                                  \
    finish_tile<ROWS, 256>(tile, up, x_scales, count, mode, activation);                                                   \
  }
GEMM_WIDE(128)
GEMM_WIDE(64)
#endif
