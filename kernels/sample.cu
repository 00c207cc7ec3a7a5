// The next token on the device: the largest logit, of equals the lowest id, is put where the next pass reads it.

// Best of a part of the vocabulary: key = logit made comparable as an integer, then the complement of the id.
DEV u64 candidate(float logit, u32 id) {
  u32 bits = __float_as_uint(logit);
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

// best[n][part] of logits [n][V]; grid (parts, rows).
extern "C" __global__ void __launch_bounds__(256) argmax_parts(const float* logits, u32 stride, u32 vocab, u64* best) {
  u64 own = 0;
  for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < vocab; i += gridDim.x * blockDim.x) {
    u64 here = candidate(logits[(u64)blockIdx.y * stride + i], i);
    own = here > own ? here : own;
  }
  own = block_best(own);
  if (threadIdx.x == 0) best[(u64)blockIdx.y * gridDim.x + blockIdx.x] = own;
}

// The token goes to the row's next position, and to out[step][n]; a logit that is no finite number gives ~0.
DEV void feed_token(u64 best, Row* row, u32* out, u32* step, u32 rows, u32 n) {
  u32 key = best >> 32, token = ~(u32)best;
  // +infinity is 0xff800000 in these keys, -infinity 0x007fffff.
  if (key >= 0xff800000 || key <= 0x007fffff) token = ~0u;
  out[(u64)*step * rows + n] = token;
  *step += 1;
  row->token = token == ~0u ? 0 : token;
  row->position += 1;
}

// One block a row.
extern "C" __global__ void __launch_bounds__(256) argmax_feed(const u64* best, u32 parts, Row* rows, u32* out, u32* step) {
  u64 own = 0;
  for (u32 i = threadIdx.x; i < parts; i += blockDim.x) {
    u64 here = best[(u64)blockIdx.x * parts + i];
    own = here > own ? here : own;
  }
  own = block_best(own);
  if (threadIdx.x) return;
  feed_token(own, rows + blockIdx.x, out, step + blockIdx.x, gridDim.x, blockIdx.x);
}

// Reads `count` 16-byte words, four in flight a thread; the ceiling of decoding. Writes only what never is.
extern "C" __global__ void __launch_bounds__(1024) read_words(const uint4* words, u64 count, u32* out) {
  u32 sum = 0;
  u64 stride = (u64)gridDim.x * blockDim.x;
  for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i + 3 * stride < count; i += 4 * stride) {
    uint4 a = words[i], b = words[i + stride], c = words[i + 2 * stride], d = words[i + 3 * stride];
    sum += a.x ^ a.y ^ a.z ^ a.w ^ b.x ^ b.y ^ b.z ^ b.w ^ c.x ^ c.y ^ c.z ^ c.w ^ d.x ^ d.y ^ d.z ^ d.w;
  }
  if (sum == 0x12345679) out[0] = sum;
}
