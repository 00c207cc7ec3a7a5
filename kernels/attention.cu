// attend: softmax(q k^T) v over one span of SPAN positions for G query heads of one key-value head; combine: the spans.
//
//   query  f32 [N][q_stride]; cache see cache.cuh; mixed f32 [N][q_stride]
//   grid   decode: (KV * groups, N, spans), partial results [N][H][spans][HD + 2] for `combine`
//          prefill: (KV * groups, N, 1), a block walks its spans and merges them as `combine` does
//   block  SPAN threads: a warp has 32 positions; scores a position a lane, the weighted sum a dimension a lane
//
// Spans are fixed positions and merged in order, so a row's numbers depend on nothing but its sequence.

// Query heads of a block.
#ifndef HEADS
#define HEADS (GROUP <= 8 ? GROUP : GROUP % 8 == 0 ? 8 : GROUP % 4 == 0 ? 4 : GROUP % 2 == 0 ? 2 : 1)
#endif
#define GROUPS (GROUP / HEADS)
#define WARPS (SPAN / 32)
#define EACH ((HD_MOST + 31) / 32)

struct Span {
  float q[HEADS][HD_MOST];
  float weights[WARPS][HEADS][32];
  float most[WARPS][HEADS], sum[WARPS][HEADS];
  float out[WARPS][HEADS][HD_MOST];
};

// Keys of the cache, as many at a time as divide a head.
template <int N> DEV void kv_load(const KvT* at, float* out) {
#if KV_FLOAT
  if constexpr (N == 4) {
    float4 v = *(const float4*)at;
    out[0] = v.x, out[1] = v.y, out[2] = v.z, out[3] = v.w;
  } else
#else
  if constexpr (N == 8) {
    uint4 v = *(const uint4*)at;
    u32 words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) out[2 * i] = __uint_as_float(words[i] << 16), out[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000);
  } else
#endif
  {
#pragma unroll
    for (int i = 0; i < N; i++) out[i] = kv_value(at[i]);
  }
}
#ifndef KV_WIDTH
#define KV_WIDTH (KV_FLOAT ? HD % 4 == 0 ? 4 : 1 : HD % 8 == 0 ? 8 : 1)
#endif

// Leaves max, sum and the weighted values of positions [start, end) in s.most[0], s.sum[0], s.out[0].
DEV void attend_span(Span& s, const Row& row, u32 layer, u32 kv_head, u32 start, u32 end, float scale, float cap) {
  u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, base = start / SPAN * SPAN + warp * 32, position = base + lane;
  bool visible = position >= start && position < end;
  const KvT* keys = page_keys(row, layer, kv_head, visible ? position : end - 1);
  float scores[HEADS];
#pragma unroll
  for (int h = 0; h < HEADS; h++) scores[h] = 0;
#pragma unroll 4
  for (int d = 0; d < HD; d += KV_WIDTH) {
    float k[KV_WIDTH];
    kv_load<KV_WIDTH>(keys + d, k);
#pragma unroll
    for (int h = 0; h < HEADS; h++)
#pragma unroll
      for (int i = 0; i < KV_WIDTH; i++) scores[h] = fmaf(s.q[h][d + i], k[i], scores[h]);
  }
#pragma unroll
  for (int h = 0; h < HEADS; h++) {
    float score = scores[h] * scale;
    if (cap > 0) score = cap * tanhf(score / cap);
    scores[h] = visible ? score : NONE;
    float most = warp_max(scores[h]);
    if (lane == 0) s.most[warp][h] = most;
  }
  __syncthreads();
#pragma unroll
  for (int h = 0; h < HEADS; h++) {
    float most = NONE;
    for (int w = 0; w < WARPS; w++) most = fmaxf(most, s.most[w][h]);
    float weight = visible ? expf(scores[h] - most) : 0;
    s.weights[warp][h][lane] = weight;
    float sum = warp_sum(weight);
    if (lane == 0) s.sum[warp][h] = sum;
  }
  __syncwarp();
  float out[HEADS][EACH];
#pragma unroll
  for (int h = 0; h < HEADS; h++)
#pragma unroll
    for (int i = 0; i < EACH; i++) out[h][i] = 0;
  u32 from = max(base, start), to = min(base + 32, end);
  if (from < to) {
    const KvT* values = page_keys(row, layer, kv_head, from) + VALUES_OFFSET;
#pragma unroll 4
    for (u32 p = from; p < to; p++, values += HD) {
#pragma unroll
      for (int i = 0; i < EACH; i++) {
        u32 d = i * 32 + lane;
        float v = d < HD ? kv_value(values[d]) : 0;
#pragma unroll
        for (int h = 0; h < HEADS; h++) out[h][i] = fmaf(s.weights[warp][h][p - base], v, out[h][i]);
      }
    }
  }
#pragma unroll
  for (int h = 0; h < HEADS; h++)
#pragma unroll
    for (int i = 0; i < EACH; i++)
      if (i * 32 + lane < HD) s.out[warp][h][i * 32 + lane] = out[h][i];
  __syncthreads();
  for (u32 i = threadIdx.x; i < HEADS * HD; i += blockDim.x) {
    float total = 0;
    for (int w = 0; w < WARPS; w++) total += s.out[w][i / HD][i % HD];
    s.out[0][i / HD][i % HD] = total;
  }
  float sum = 0, most = NONE;
  if (threadIdx.x < HEADS)
    for (int w = 0; w < WARPS; w++) sum += s.sum[w][threadIdx.x], most = fmaxf(most, s.most[w][threadIdx.x]);
  __syncthreads();
  if (threadIdx.x < HEADS) s.sum[0][threadIdx.x] = sum, s.most[0][threadIdx.x] = most;
  __syncthreads();
}

// First span that a row sees, and the one after the last.
DEV u32 first_span(u32 position, u32 window) { return window && position + 1 > window ? (position + 1 - window) / SPAN : 0; }

DEV void load_query(Span& s, const float* query, u32 q_stride, u32 head) {
  for (u32 i = threadIdx.x; i < HEADS * HD; i += blockDim.x) s.q[i / HD][i % HD] = query[(u64)blockIdx.y * q_stride + head * HD + i];
  __syncthreads();
}

// (most, sum, out) of one more span joins what is there.
DEV void merge(float& most, float& sum, float& out, float more_most, float more_sum, float more_out) {
  float top = fmaxf(most, more_most), a = expf(most - top), b = expf(more_most - top);
  sum = sum * a + more_sum * b, out = out * a + more_out * b, most = top;
}

// window 0: none. partial: f32 [N][H][spans][HD + 2]
extern "C" __global__ void __launch_bounds__(SPAN, 1) attend(const Row* rows, u32 layer, const float* query, u32 q_stride, u32 window, float scale, float cap, float* partial, u32 spans) {
  __shared__ Span s;
  const Row row = rows[blockIdx.y];
  u32 kv_head = blockIdx.x / GROUPS, head = kv_head * GROUP + blockIdx.x % GROUPS * HEADS;
  u32 end = row.position + 1, seen = window && end > window ? end - window : 0;
  u32 start = max(blockIdx.z * SPAN, seen), stop = min((blockIdx.z + 1) * SPAN, end);
  if (start >= stop) return;
  load_query(s, query, q_stride, head);
  attend_span(s, row, layer, kv_head, start, stop, scale, cap);
  for (u32 i = threadIdx.x; i < HEADS * (HD + 2); i += blockDim.x) {
    u32 h = i / (HD + 2), d = i % (HD + 2);
    partial[(((u64)blockIdx.y * H + head + h) * spans + blockIdx.z) * (HD + 2) + d] = d < HD ? s.out[0][h][d] : d == HD ? s.most[0][h] : s.sum[0][h];
  }
}

// mixed = the merged spans; grid (H, N), HD threads rounded up to warps.
extern "C" __global__ void combine(const Row* rows, u32 window, const float* partial, u32 spans, float* mixed, u32 stride) {
  u32 position = rows[blockIdx.y].position, d = threadIdx.x;
  if (d >= HD) return;
  float most = NONE, sum = 0, out = 0;
  for (u32 i = first_span(position, window); i <= position / SPAN; i++) {
    const float* at = partial + (((u64)blockIdx.y * H + blockIdx.x) * spans + i) * (HD + 2);
    merge(most, sum, out, at[HD], at[HD + 1], at[d]);
  }
  mixed[(u64)blockIdx.y * stride + blockIdx.x * HD + d] = out / sum;
}

// The same for many rows, without partial results.
extern "C" __global__ void __launch_bounds__(SPAN, 1) attend_rows(const Row* rows, u32 layer, const float* query, u32 stride, u32 window, float scale, float cap, float* mixed) {
  __shared__ Span s;
  const Row row = rows[blockIdx.y];
  u32 kv_head = blockIdx.x / GROUPS, head = kv_head * GROUP + blockIdx.x % GROUPS * HEADS;
  u32 end = row.position + 1, seen = window && end > window ? end - window : 0;
  constexpr int OWN = (HEADS * HD_MOST + SPAN - 1) / SPAN;
  float most[OWN], sum[OWN], out[OWN];
#pragma unroll
  for (int o = 0; o < OWN; o++) most[o] = NONE, sum[o] = 0, out[o] = 0;
  load_query(s, query, stride, head);
  for (u32 i = first_span(row.position, window); i <= row.position / SPAN; i++) {
    attend_span(s, row, layer, kv_head, max(i * SPAN, seen), min((i + 1) * SPAN, end), scale, cap);
#pragma unroll
    for (int o = 0; o < OWN; o++) {
      u32 at = o * SPAN + threadIdx.x;
      if (at < HEADS * HD) merge(most[o], sum[o], out[o], s.most[0][at / HD], s.sum[0][at / HD], s.out[0][at / HD][at % HD]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int o = 0; o < OWN; o++) {
    u32 at = o * SPAN + threadIdx.x;
    if (at < HEADS * HD) mixed[(u64)blockIdx.y * stride + head * HD + at] = out[o] / sum[o];
  }
}
