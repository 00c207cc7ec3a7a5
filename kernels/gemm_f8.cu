// gemm_f8_<ROWS>: gemm_wide_<ROWS> of kernels/gemm.cu for F8_E4M3 weights as they are stored, with one scale a row.
//
//   grid, threads, work   as there; W is read once, in half the bytes, and no f16 of it is ever in memory
//   shared                four stages: the tokens' as there, then ROWS rows of 64 codes and a gap of 16 bytes
//
// Rows of W are operand A here, which a lane turns to f16 in its registers, exactly; tokens are operand B. The surprise: a row's
// gap brings the codes that a warp loads at once into different banks.

#if WIDE
#define F8_ROW_BYTES 80
#define F8_STAGES 4

// Where a thread's copies of codes come from: its piece of 16 codes in every `step`th row.
struct Codes {
  const u8* w;
  u32 row, rows, step, cols, piece;
};

template <int ROWS> DEV void load_f8_stage(const Source& from, const Codes& codes, u32 stage, u32 k) {
  load_tokens<256>(from, stage, k);
  u32 column = k + codes.piece * 16, to = stage + TILE_TOKENS * TILE_BYTES + threadIdx.x / 4 * F8_ROW_BYTES + codes.piece * 16;
#pragma unroll
  for (int i = 0; i < ROWS / 64; i++) {
    u32 r = codes.row + i * codes.step;
    bool wanted = column < codes.cols && r < codes.rows;
    copy_async(to + i * 64 * F8_ROW_BYTES, codes.w + (wanted ? (u64)r * codes.cols + column : 0), wanted);
  }
}

// Sums of a warp's 16 rows of W from `row` on and 8 COLUMNS tokens from `token` on into shared memory, where gemm.cu has them.
template <int ROWS, int COLUMNS> DEV void keep_across(float (*sums)[4], u32 token, u32 row) {
  u32 lane = threadIdx.x % 32;
  float* at = (float*)shared_memory() + (token + lane % 4 * 2) * KEPT(ROWS) + row + lane / 4;
#pragma unroll
  for (int c = 0; c < COLUMNS; c++)
#pragma unroll
    for (int i = 0; i < 4; i++) at[(c * 8 + i % 2) * KEPT(ROWS) + i / 2 * 8] = sums[c][i];
}

template <int ROWS> DEV void gemm_f8(GEMM_ARGUMENTS) {
  constexpr u32 BYTES = TILE_TOKENS * TILE_BYTES + ROWS * F8_ROW_BYTES, TOKENS = ROWS == 128 ? 128 : 64;
  GEMM_PLACE(ROWS, 256)
  Codes codes = {(const u8*)from.w, tile.first_row + threadIdx.x / 4, from.w_rows, 64, from.cols, threadIdx.x % 4};
  if (mode == 2) {
    // Rows of gate and up take turns by eights.
    u32 row = threadIdx.x / 4;
    codes.w = row / 8 % 2 ? b.weights : a.weights, codes.row = tile.first_row + row / 16 * 8 + row % 8, codes.step = 32;
  }
  // Groups of four warps share the rows, or the tokens where there are 64 rows.
  u32 group = threadIdx.x / 128, warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  u32 row = (ROWS == 128 ? group * 64 : 0) + warp * 16, token = ROWS == 128 ? 0 : group * 64;
  u32 shared = shared_address(shared_memory()), steps = (from.cols + 63) / 64;
  const u8* own = shared_memory() + TILE_TOKENS * TILE_BYTES + (row + lane / 4) * F8_ROW_BYTES + lane % 4 * 2;
  float sums[TOKENS / 8][4] = {};
  u32 operand[4][4] = {};
#pragma unroll
  for (int s = 0; s < 2; s++) {
    if (s < steps) load_f8_stage<ROWS>(from, codes, shared + s * BYTES, s * 64);
    copies_commit();
  }
  for (u32 step = 0; step < steps; step++) {
    u32 stage = step % F8_STAGES, next = (step + 2) % F8_STAGES;
    copies_wait<1>();
    wgmma_sees();
    __syncthreads();
    // Two steps back everybody has multiplied.
    if (step + 2 < steps) load_f8_stage<ROWS>(from, codes, shared + next * BYTES, (step + 2) * 64);
    copies_commit();
    u32 pairs[4][4];
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
      for (int i = 0; i < 4; i++) pairs[k][i] = load<u16>(own + stage * BYTES + i % 2 * 8 * F8_ROW_BYTES + k * 16 + i / 2 * 8);
    wgmma_wait<0>(), wgmma_settle(sums), wgmma_settle(operand);
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
      for (int i = 0; i < 4; i++) operand[k][i] = e4m3_pair(pairs[k][i]);
    u64 x = wgmma_operand(shared + stage * BYTES + token * TILE_BYTES);
    wgmma_begin();
#pragma unroll
    for (int k = 0; k < 4; k++) wgmma(sums, operand[k], x + k * 2);
    wgmma_commit();
  }
  wgmma_wait<0>(), wgmma_settle(sums);
  __syncthreads();
  keep_across<ROWS, TOKENS / 8>(sums, token, row);
  __syncthreads();
  finish_tile<ROWS, 256>(tile, up, x_scales, count, mode, activation);
}
extern "C" __global__ void __launch_bounds__(256, 2) gemm_f8_128(GEMM_ARGUMENTS) {
  gemm_f8<128>(a, b, c, ya, yb, yc, a_stride, b_stride, c_stride, x, x_stride, x_scales, count, mode, activation);
}
extern "C" __global__ void __launch_bounds__(256, 2) gemm_f8_64(GEMM_ARGUMENTS) {
  gemm_f8<64>(a, b, c, ya, yb, yc, a_stride, b_stride, c_stride, x, x_stride, x_scales, count, mode, activation);
}
#endif
