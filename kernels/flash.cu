// flash: softmax(q k^T) v for the rows of a prompt's chunk, on tensor cores; the cache is bf16.
//
//   query  f32 [N][stride]; cache see cache.cuh; mixed f32 [N][stride]
//   grid   (H, rows / 64), four warps of 16 rows each, the last rows first: they have the longest way
//   work   4 HD operations a row and position, twice: a query is two bf16 (value and rest), so are a softmax' weights
//
// A block walks the positions in tiles, which begin at multiples of TILE whatever the block's rows are, and a masked
// position adds exactly nothing: a row's numbers do not depend on its company. Rows of several sequences may share a
// block; their sequences are walked one after the other. Keys of the next tile come while this one's values are used.

#if !KV_FLOAT && HD % 16 == 0 && HD <= 256
#define FLASH_ROWS 64
#define FLASH_TILE (HD > 128 ? 32 : 64)
// Sixteen bytes more than a row: eight rows of ldmatrix lie in different banks.
#define FLASH_STRIDE ((HD + 8) * 2)

// a and b as bf16, and what is missing to them as bf16.
DEV void split(float a, float b, u32* value, u32* rest) {
  u32 x = bf16_bits(a), y = bf16_bits(b);
  *value = x | y << 16;
  *rest = bf16_bits(a - bf16_value(x)) | (u32)bf16_bits(b - bf16_value(y)) << 16;
}

// Keys or values of a tile; zeros from position `end` on.
DEV void load_tile(u32 to, const KvT* from, u32 first, u32 end) {
  constexpr u32 PIECES = HD / 8;
  for (u32 i = threadIdx.x; i < FLASH_TILE * PIECES; i += 128) {
    u32 p = i / PIECES, piece = i % PIECES;
    bool wanted = first + p < end;
    copy_async(to + p * FLASH_STRIDE + piece * 16, from + (wanted ? p * HD + piece * 8 : 0), wanted);
  }
}

extern "C" __global__ void __launch_bounds__(128, 1) flash(const Row* rows, u32 layer, const float* query, u32 stride, u32 window, float scale, float cap, float* mixed, u32 count) {
  constexpr int TILE = FLASH_TILE, STRIDE = FLASH_STRIDE;
  constexpr float LOG2_E = 1.4426950408889634f;
  float tanh_scale = 2 * LOG2_E / cap;
  u32 head = blockIdx.x, first = (gridDim.y - 1 - blockIdx.y) * FLASH_ROWS, size = min(count - first, FLASH_ROWS);
  u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, kv_head = head / GROUP;
  u32 values_at = shared_address(shared_memory()), rests_at = values_at + FLASH_ROWS * STRIDE;
  u32 keys = rests_at + FLASH_ROWS * STRIDE, values = keys + TILE * STRIDE;
  for (u32 i = threadIdx.x; i < FLASH_ROWS * HD / 2; i += 128) {
    u32 r = i / (HD / 2), d = i % (HD / 2) * 2, at = r * STRIDE + d * 2;
    float2 q = make_float2(0, 0);
    if (r < size) q = *(const float2*)(query + (u64)(first + r) * stride + head * HD + d);
    split(q.x, q.y, (u32*)(shared_memory() + at), (u32*)(shared_memory() + FLASH_ROWS * STRIDE + at));
  }
  // Bit r: row r begins a sequence.
  u64 begins = 0;
#pragma unroll
  for (u32 r = 0; r < FLASH_ROWS; r += 32) {
    bool begin = true;
    if (r + lane > 0 && r + lane < size) {
      const Row *own = rows + first + r + lane, *before = own - 1;
      begin = own->pages != before->pages || own->position != before->position + 1;
    }
    begins |= (u64)__ballot_sync(~0u, begin) << r;
  }
  __syncthreads();
  u32 own = warp * 16 + lane / 4;
  u32 q_at = values_at + (warp * 16 + lane % 16) * STRIDE + lane / 16 * 16;
  u32 k_at = keys + (lane % 8 + lane / 16 * 8) * STRIDE + lane / 8 % 2 * 16;
  u32 v_at = values + lane % 16 * STRIDE + lane / 16 * 16;
  for (u32 start = 0; start < size;) {
    u64 later = start < 63 ? begins >> (start + 1) : 0;
    u32 stop = later ? min(start + (u32)__ffsll(later), size) : size;
    const Row row = rows[first + start];
    u32 last = row.position + (stop - 1 - start), end = last + 1;
    u32 seen = window && row.position + 1 > window ? row.position + 1 - window : 0;
    // The positions of this thread's two rows; one that is not in this sequence sees nothing.
    u32 from[2], to[2];
#pragma unroll
    for (int h = 0; h < 2; h++) {
      u32 r = own + h * 8;
      bool inside = r >= start && r < stop;
      to[h] = inside ? row.position + (r - start) + 1 : 0;
      from[h] = window && to[h] > window ? to[h] - window : 0;
    }
    // Where the warp's last row of this sequence is, for tiles that none of its rows sees.
    u32 bottom = min(warp * 16 + 16, stop), warp_end = bottom > max(start, warp * 16) ? row.position + (bottom - start) : 0;
    float most[2] = {NONE, NONE}, sum[2] = {0, 0}, out[HD / 8][4];
#pragma unroll
    for (int d = 0; d < HD / 8; d++)
#pragma unroll
      for (int e = 0; e < 4; e++) out[d][e] = 0;
    u32 tile = seen / TILE * TILE;
    load_tile(keys, page_keys(row, layer, kv_head, tile), tile, end);
    copies_commit();
    load_tile(values, page_keys(row, layer, kv_head, tile) + VALUES_OFFSET, tile, end);
    copies_commit();
    for (; tile < end; tile += TILE) {
      bool more = tile + TILE < end, works = tile < warp_end;
      const KvT* next = page_keys(row, layer, kv_head, more ? tile + TILE : tile);
      copies_wait<1>();
      __syncthreads();
      float scores[TILE / 8][4];
#pragma unroll
      for (int p = 0; p < TILE / 8; p++)
#pragma unroll
        for (int e = 0; e < 4; e++) scores[p][e] = 0;
      if (works) {
#pragma unroll
        for (int d = 0; d < HD / 16; d++) {
          u32 q[4], rest[4];
          matrix_load(q_at + d * 32, q);
          matrix_load(q_at + FLASH_ROWS * STRIDE + d * 32, rest);
#pragma unroll
          for (int p = 0; p < TILE / 16; p++) {
            u32 k[4];
            matrix_load(k_at + p * 16 * STRIDE + d * 32, k);
            mma_bf16(scores[2 * p], q[0], q[1], q[2], q[3], k[0], k[1]);
            mma_bf16(scores[2 * p + 1], q[0], q[1], q[2], q[3], k[2], k[3]);
            mma_bf16(scores[2 * p], rest[0], rest[1], rest[2], rest[3], k[0], k[1]);
            mma_bf16(scores[2 * p + 1], rest[0], rest[1], rest[2], rest[3], k[2], k[3]);
          }
        }
      }
      __syncthreads();
      if (more) load_tile(keys, next, tile + TILE, end);
      copies_commit();
      if (works) {
        float top[2] = {most[0], most[1]};
#pragma unroll
        for (int p = 0; p < TILE / 8; p++)
#pragma unroll
          for (int e = 0; e < 4; e++) {
            u32 position = tile + p * 8 + lane % 4 * 2 + e % 2;
            float score = scores[p][e] * scale;
            // cap tanh(score / cap); its error is a rounding of cap, of a score's size.
            if (cap > 0) score = cap - __fdividef(2 * cap, 1 + exp2f(score * tanh_scale));
            scores[p][e] = position >= from[e / 2] && position < to[e / 2] ? score : NONE;
            top[e / 2] = fmaxf(top[e / 2], scores[p][e]);
          }
#pragma unroll
        for (int h = 0; h < 2; h++) {
          top[h] = fmaxf(top[h], __shfl_xor_sync(~0u, top[h], 1));
          top[h] = fmaxf(top[h], __shfl_xor_sync(~0u, top[h], 2));
          float shrink = exp2f((most[h] - top[h]) * LOG2_E);
          most[h] = top[h], sum[h] *= shrink;
#pragma unroll
          for (int d = 0; d < HD / 8; d++) out[d][2 * h] *= shrink, out[d][2 * h + 1] *= shrink;
        }
#pragma unroll
        for (int p = 0; p < TILE / 8; p++)
#pragma unroll
          for (int e = 0; e < 4; e++) {
            // A row that has seen nothing yet would take every masked position for its largest.
            float weight = scores[p][e] == NONE ? 0 : exp2f((scores[p][e] - most[e / 2]) * LOG2_E);
            scores[p][e] = weight, sum[e / 2] += weight;
          }
      }
      copies_wait<1>();
      __syncthreads();
      if (works) {
#pragma unroll
        for (int p = 0; p < TILE / 16; p++) {
          u32 weights[4], rest[4];
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const float* pair = &scores[2 * p + i / 2][i % 2 * 2];
            split(pair[0], pair[1], &weights[i], &rest[i]);
          }
#pragma unroll
          for (int d = 0; d < HD / 16; d++) {
            u32 v[4];
            matrix_load_across(v_at + p * 16 * STRIDE + d * 32, v);
            mma_bf16(out[2 * d], weights[0], weights[1], weights[2], weights[3], v[0], v[1]);
            mma_bf16(out[2 * d + 1], weights[0], weights[1], weights[2], weights[3], v[2], v[3]);
            mma_bf16(out[2 * d], rest[0], rest[1], rest[2], rest[3], v[0], v[1]);
            mma_bf16(out[2 * d + 1], rest[0], rest[1], rest[2], rest[3], v[2], v[3]);
          }
        }
      }
      __syncthreads();
      if (more) load_tile(values, next + VALUES_OFFSET, tile + TILE, end);
      copies_commit();
    }
    // The last groups are empty; the next sequence counts from none.
    copies_wait<0>();
#pragma unroll
    for (int h = 0; h < 2; h++) {
      sum[h] += __shfl_xor_sync(~0u, sum[h], 1);
      sum[h] += __shfl_xor_sync(~0u, sum[h], 2);
      if (to[h] == 0) continue;
      float* at = mixed + (u64)(first + own + h * 8) * stride + head * HD + lane % 4 * 2;
#pragma unroll
      for (int d = 0; d < HD / 8; d++) *(float2*)(at + d * 8) = make_float2(out[d][2 * h] / sum[h], out[d][2 * h + 1] / sum[h]);
    }
    start = stop;
  }
}
#endif
