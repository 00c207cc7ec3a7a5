// The largest of logits, of equals the lowest id, and its way to the next pass.

// Best of a part of the vocabulary: key = logit made comparable as an integer, then the complement of the id.
DEV u64 candidate(float logit, u32 id) {
  // Adding 0 makes -0 equal to 0.
  u32 bits = __float_as_uint(logit + 0.0f);
  u32 key = bits >> 31 ? ~bits : bits | 0x80000000;
  // NaN beats everything, so that it is seen.
  if (logit != logit) key = ~0u;
  return (u64)key << 32 | (u32)~id;
}
DEV u64 warp_best(u64 best) {
#pragma unroll
  for (int offset = 16; offset; offset >>= 1) {
    u64 other = __shfl_xor_sync(~0u, best, offset);
    best = other > best ? other : best;
  }
  return best;
}
DEV u64 block_best(u64 best) {
  __shared__ u64 partial[32];
  best = warp_best(best);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = best;
  __syncthreads();
  best = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0;
  return warp_best(best);
}

// Whether a key is of a logit that is no finite number: +infinity is 0xff800000 in these keys, -infinity 0x007fffff.
DEV bool is_bad(u32 key) { return key >= 0xff800000 || key <= 0x007fffff; }

// The token goes to the row's next position, and to out[step][n]; a logit that is no finite number gives ~0.
DEV void feed_token(u64 best, Row* row, u32* out, u32* step, u32 rows, u32 n) {
  u32 token = is_bad(best >> 32) ? ~0u : ~(u32)best;
  out[(u64)*step * rows + n] = token;
  *step += 1;
  row->token = token == ~0u ? 0 : token;
  row->position += 1;
}
