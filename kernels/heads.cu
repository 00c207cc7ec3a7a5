// Attention of one new position over its sequence, on tensor cores: the query heads that share a key-value head together.
//
//   scores = q k^T: q is the A operand (head g's high halves in row g, low ones in row g + 8), 8 positions the B operand
//   out = p v: the same with the probabilities; the scores' layout is that of an A operand, so p stays in registers
//
// A warp takes 32 cached positions at a time; the new position joins when the warps' results are merged. Warp w of split s has
// the groups of 32 positions s * TEAM + w, + splits * TEAM, ...; how many splits there are depends on the number of positions
// alone, so a row's numbers do not depend on its company. Both decode.cu and `attend_heads` here are made of this.
//
// For caches in bf16 and heads of 64 or 128; attention.cu has what serves the others.

#define HEADS_ON_TENSOR_CORES (!KV_FLOAT && (HD == 64 || HD == 128) && GROUP <= 8)
#if HEADS_ON_TENSOR_CORES

struct HeadArguments {
  Norm query_norm, key_norm;
  // float2 (cos, sin) [T][rotary / 2], magnitude applied; of long sequences, or null
  const float2 *table, *long_table;
  u32 rotary, window;  // window 0: none
  float scale, cap;    // cap 0: none
};

struct __align__(16) Heads {
  // The query heads, the key, the value: as they come; then ready, the query scaled, key and value as the cache has them.
  float vectors[GROUP + 2][HD];
  u16 high[8][HD + 8], low[8][HD + 8];  // the query's halves; zeros behind the last head
  float2 angles[HD / 2];                // the new position's
  float current[8];                     // scores of the new position
  float most[TEAM][8], sum[TEAM][8];
  // Of each head: what its warps and the new position weigh, the largest score, the sum of all weights.
  float share[8][TEAM], own[8], top[8], total[8];
};
// What the warps add up to: f32 [TEAM][GROUP][HD]
typedef float HeadSums[GROUP][HD];

// First position that is seen, the groups of 32 cached ones, and the splits these are dealt to.
struct Reach {
  u32 start, groups, splits;
};
DEV Reach reach_of(u32 position, u32 window) {
  Reach reach;
  reach.start = window && position + 1 > window ? position + 1 - window : 0;
  reach.groups = reach.start < position ? (position + 31) / 32 - reach.start / 32 : 0;
  reach.splits = min(max((reach.groups + TEAM - 1) / TEAM, 1u), (u32)SPLITS);
  return reach;
}

// Warps that have positions in this split.
DEV u32 active_warps(const Reach& reach, u32 split) {
  u32 before = split * TEAM;
  return reach.groups > before ? min(reach.groups - before, (u32)TEAM) : 0;
}

// A warp makes vector v ready: norm and rotation of queries and key; `stores` says whether key and value go to the cache.
DEV void ready_vector(Heads& s, u32 v, const Row& row, u32 layer, u32 kv_head, const HeadArguments& a, bool stores) {
  constexpr int PER_LANE = HD / 32;
  u32 lane = threadIdx.x % 32;
  float* x = s.vectors[v];
  bool is_query = v < GROUP, is_value = v == GROUP + 1;
  float own[PER_LANE];
#pragma unroll
  for (int i = 0; i < PER_LANE; i++) own[i] = x[i * 32 + lane];
  const float* gamma = is_query ? a.query_norm.weight : a.key_norm.weight;
  if (!is_value && gamma) {
    float squares = 0;
#pragma unroll
    for (int i = 0; i < PER_LANE; i++) squares = fmaf(own[i], own[i], squares);
    float norm = norm_of(warp_sum(squares), HD, is_query ? a.query_norm.eps : a.key_norm.eps);
#pragma unroll
    for (int i = 0; i < PER_LANE; i++) own[i] = __fmul_rn(__fmul_rn(own[i], norm), gamma[i * 32 + lane]);
#pragma unroll
    for (int i = 0; i < PER_LANE; i++) x[i * 32 + lane] = own[i];
  }
  __syncwarp();
  if (!is_value) {
    u32 half = a.rotary / 2;
#pragma unroll
    for (int i = 0; i < PER_LANE; i++) {
      u32 at = i * 32 + lane;
      if (at >= a.rotary) continue;
      float2 angle = s.angles[at < half ? at : at - half];
      float other = at < half ? -x[at + half] : x[at - half];
      own[i] = fmaf(own[i], angle.x, __fmul_rn(other, angle.y));
    }
    __syncwarp();
  }
  KvT* cache = page_keys(row, layer, kv_head, row.position) + (is_value ? VALUES_OFFSET : 0);
#pragma unroll
  for (int i = 0; i < PER_LANE; i++) {
    u32 at = i * 32 + lane;
    if (is_query) {
      float q = __fmul_rn(own[i], a.scale);
      u16 high = bf16_bits(q);
      x[at] = q, s.high[v][at] = high, s.low[v][at] = bf16_bits(q - bf16_value(high));
    } else {
      u16 bits = bf16_bits(own[i]);
      x[at] = bf16_value(bits);
      if (stores) cache[at] = bits;
    }
  }
}

// The angles of the new position; by all threads, before vectors are made ready.
DEV void load_angles(Heads& s, const Row& row, const HeadArguments& a, u32 thread, u32 threads) {
  const float2* angles = (row.is_long && a.long_table ? a.long_table : a.table) + (u64)row.position * (a.rotary / 2);
  for (u32 i = thread; i < a.rotary / 2; i += threads) s.angles[i] = angles[i];
}

// Zeros of the queries that are not there; by all threads, before the queries are read.
DEV void clear_missing(Heads& s, u32 thread, u32 threads) {
  for (u32 i = GROUP * (HD + 8) + thread; i < 8 * (HD + 8); i += threads) (&s.high[0][0])[i] = 0, (&s.low[0][0])[i] = 0;
}

DEV float capped(float score, float cap) { return cap > 0 ? cap * tanhf(score / cap) : score; }

// A warp's head against the new key: of the last GROUP warps, which have the fewest positions.
DEV void score_current(Heads& s, float cap) {
  u32 lane = threadIdx.x % 32, h = threadIdx.x / 32 - (TEAM - GROUP);
  if (h >= GROUP) return;
  float score = 0;
#pragma unroll
  for (int i = 0; i < HD / 32; i++) score = fmaf(s.vectors[h][i * 32 + lane], s.vectors[GROUP][i * 32 + lane], score);
  score = warp_sum(score);
  if (lane == 0) s.current[h] = capped(score, cap);
}

DEV uint4 load_eight(const KvT* at) { return *(const uint4*)at; }

// A group of 32 cached positions: where it begins, and its last that is there (what lies behind was perhaps never written).
struct Positions {
  const KvT *keys, *values;
  u32 base, last;
};
DEV Positions positions_of(const Row& row, u32 layer, u32 kv_head, const Reach& reach, u32 group) {
  Positions p;
  p.base = reach.start / 32 * 32 + group * 32;
  p.keys = page_keys(row, layer, kv_head, p.base), p.values = p.keys + VALUES_OFFSET;
  p.last = min(row.position - p.base, 32u) - 1;
  return p;
}

// Brings a warp's first group near; a lane has a position.
DEV void touch_first(const Row& row, u32 layer, u32 kv_head, const Reach& reach, u32 split) {
  u32 lane = threadIdx.x % 32, group = split * TEAM + threadIdx.x / 32;
  if (group >= reach.groups) return;
  Positions p = positions_of(row, layer, kv_head, reach, group);
#pragma unroll
  for (int d = 0; d < HD; d += 64) touch(p.keys + min(lane, p.last) * HD + d), touch(p.values + min(lane, p.last) * HD + d);
}

// The keys of a warp's first group, on their way before the query is there; only of narrow heads, for want of registers.
#define KEYS_AHEAD (HD == 64)
struct FirstKeys {
#if KEYS_AHEAD
  uint4 keys[4][HD / 32];
#endif
};
DEV void first_keys(FirstKeys& first, const Row& row, u32 layer, u32 kv_head, const Reach& reach, u32 split) {
#if KEYS_AHEAD
  u32 warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, group = split * TEAM + warp;
  if (group >= reach.groups) return;
  Positions p = positions_of(row, layer, kv_head, reach, group);
#pragma unroll
  for (int u = 0; u < 4; u++)
#pragma unroll
    for (int b = 0; b < HD / 32; b++) first.keys[u][b] = load_eight(p.keys + min(8 * u + g, p.last) * HD + 32 * b + 8 * t);
#endif
}

// This warp's groups of positions: most, sum and the weighted values of each head.
DEV void attend_groups(Heads& s, HeadSums* sums, FirstKeys& first, const Row& row, u32 layer, u32 kv_head, const Reach& reach, u32 split, float cap) {
  u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  float most = NONE, sum = 0, out[HD / 8][4];
#pragma unroll
  for (int i = 0; i < HD / 8; i++) out[i][0] = 0, out[i][1] = 0, out[i][2] = 0, out[i][3] = 0;
  u32 end = row.position;
  for (u32 group = split * TEAM + warp; group < reach.groups; group += reach.splits * TEAM) {
    Positions p = positions_of(row, layer, kv_head, reach, group);
    float score[4][2];
    float top = NONE;
    float c[4][4] = {};
#pragma unroll(KEYS_AHEAD ? HD / 32 : 1)
    for (int b = 0; b < HD / 32; b++) {
      uint4 high = *(const uint4*)&s.high[g][32 * b + 8 * t], low = *(const uint4*)&s.low[g][32 * b + 8 * t];
      uint4 k[4];
#pragma unroll
      for (int u = 0; u < 4; u++) {
#if KEYS_AHEAD
        k[u] = first.keys[u][b];
#else
        k[u] = load_eight(p.keys + min(8 * u + g, p.last) * HD + 32 * b + 8 * t);
#endif
      }
#pragma unroll
      for (int u = 0; u < 4; u++) mma_bf16(c[u], high.x, low.x, high.y, low.y, k[u].x, k[u].y);
#pragma unroll
      for (int u = 0; u < 4; u++) mma_bf16(c[u], high.z, low.z, high.w, low.w, k[u].z, k[u].w);
    }
#pragma unroll
    for (int u = 0; u < 4; u++) {
#pragma unroll
      for (int e = 0; e < 2; e++) {
        u32 at = p.base + 8 * u + 2 * t + e;
        score[u][e] = at >= reach.start && at < end ? capped(c[u][e] + c[u][2 + e], cap) : NONE;
        top = fmaxf(top, score[u][e]);
      }
    }
#if KEYS_AHEAD
    u32 next = group + reach.splits * TEAM;
    if (next < reach.groups) {
      Positions ahead = positions_of(row, layer, kv_head, reach, next);
#pragma unroll
      for (int u = 0; u < 4; u++)
#pragma unroll
        for (int b = 0; b < HD / 32; b++) first.keys[u][b] = load_eight(ahead.keys + min(8 * u + g, ahead.last) * HD + 32 * b + 8 * t);
    }
#endif
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 1));
    top = fmaxf(top, __shfl_xor_sync(~0u, top, 2));
    top = fmaxf(top, most);
    float shrink = __expf(most - top);
    most = top, sum *= shrink;
#pragma unroll
    for (int i = 0; i < HD / 8; i++) out[i][0] *= shrink, out[i][1] *= shrink, out[i][2] *= shrink, out[i][3] *= shrink;
#pragma unroll
    for (int u = 0; u < 4; u++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        float weight = score[u][e] > NONE ? __expf(score[u][e] - top) : 0;
        score[u][e] = weight, sum += weight;
      }
#pragma unroll
    for (int step = 0; step < 2; step++) {
      u32 high[2], low[2];
#pragma unroll
      for (int i = 0; i < 2; i++) split_pair<1>(score[2 * step + i][0], score[2 * step + i][1], high[i], low[i]);
      u32 at = 16 * step + 2 * t;
#pragma unroll
      for (int set = 0; set < HD / 64; set++) {
        // Lane g's columns of product u are dimension 8 g + u: a load brings all eight.
        uint4 a = load_eight(p.values + min(at, p.last) * HD + 64 * set + 8 * g), b = load_eight(p.values + min(at + 1, p.last) * HD + 64 * set + 8 * g);
        uint4 c = load_eight(p.values + min(at + 8, p.last) * HD + 64 * set + 8 * g), d = load_eight(p.values + min(at + 9, p.last) * HD + 64 * set + 8 * g);
        u32 va[4] = {a.x, a.y, a.z, a.w}, vb[4] = {b.x, b.y, b.z, b.w}, vc[4] = {c.x, c.y, c.z, c.w}, vd[4] = {d.x, d.y, d.z, d.w};
#pragma unroll
        for (int u = 0; u < 8; u++) {
          u32 pick = u % 2 ? 0x7632 : 0x5410;
          mma_bf16(out[set * 8 + u], high[0], low[0], high[1], low[1], __byte_perm(va[u / 2], vb[u / 2], pick), __byte_perm(vc[u / 2], vd[u / 2], pick));
        }
      }
    }
  }
  sum += __shfl_xor_sync(~0u, sum, 1);
  sum += __shfl_xor_sync(~0u, sum, 2);
  if (warp >= active_warps(reach, split)) return;
  if (t == 0) s.most[warp][g] = most, s.sum[warp][g] = sum;
  if (g >= GROUP) return;
#pragma unroll
  for (int i = 0; i < HD / 8; i++) {
    u32 d = i / 8 * 64 + i % 8;
    sums[warp][g][d + 16 * t] = out[i][0] + out[i][2], sums[warp][g][d + 16 * t + 8] = out[i][1] + out[i][3];
  }
}

// What each warp of this split weighs: warp h works it out for head h. The first split has the new position, too.
DEV void weigh_warps(Heads& s, u32 h, u32 split, u32 active) {
  if (h >= GROUP) return;
  u32 lane = threadIdx.x % 32;
  float most = lane < active ? s.most[lane][h] : NONE, sum = lane < active ? s.sum[lane][h] : 0, top = warp_max(most);
  if (split == 0) top = fmaxf(top, s.current[h]);
  float share = lane < active ? __expf(most - top) : 0, own = split == 0 ? __expf(s.current[h] - top) : 0, total = own;
#pragma unroll
  for (u32 w = 0; w < TEAM; w++) total = fmaf(__shfl_sync(~0u, share, w), __shfl_sync(~0u, sum, w), total);
  if (lane < TEAM) s.share[h][lane] = share;
  if (lane == 0) s.own[h] = own, s.top[h] = top, s.total[h] = total;
}

// (most, sum, out) of head h and dimension d over this split's warps, once they are weighed.
struct Merged {
  float most, sum, out;
};
DEV Merged merge_warps(const Heads& s, const HeadSums* sums, u32 h, u32 d, u32 split, u32 active) {
  Merged m = {s.top[h], s.total[h], 0};
  if (split == 0) m.out = s.own[h] * s.vectors[GROUP + 1][d];
#pragma unroll
  for (u32 w = 0; w < TEAM; w++)
    if (w < active) m.out = fmaf(s.share[h][w], sums[w][h][d], m.out);
  return m;
}
DEV void merge_split(Merged& m, const Merged& more) {
  float top = fmaxf(m.most, more.most), a = __expf(m.most - top), b = __expf(more.most - top);
  m.sum = fmaf(b, more.sum, m.sum * a), m.out = fmaf(b, more.out, m.out * a), m.most = top;
}

// mixed [N][stride] = attention of query [N][q_stride] with key, value [N][kv_stride], which go to the cache.
// grid (KV, N, splits), TEAM warps; dynamic shared memory: Heads, HeadSums[TEAM]. Where there is more than one split, partial
// f32 [N][H][SPLITS][HD + 2] for `combine_splits`.
extern "C" __global__ void __launch_bounds__(TEAM * 32) attend_heads(const Row* rows, u32 layer, const float* query, const float* key, const float* value, u32 q_stride,
                                                                   u32 kv_stride, HeadArguments a, float* mixed, float* partial) {
  follow();
  Heads& s = *(Heads*)shared_memory();
  HeadSums* sums = (HeadSums*)(shared_memory() + sizeof(Heads));
  const Row row = rows[blockIdx.y];
  u32 kv_head = blockIdx.x, split = blockIdx.z, warp = threadIdx.x / 32;
  Reach reach = reach_of(row.position, a.window);
  if (split >= reach.splits) return;
  for (u32 i = threadIdx.x; i < (GROUP + 2) * HD; i += blockDim.x) {
    u32 v = i / HD, d = i % HD;
    const float* from = v < GROUP ? query + (u64)blockIdx.y * q_stride + (kv_head * GROUP + v) * HD : (v == GROUP ? key : value) + (u64)blockIdx.y * kv_stride + kv_head * HD;
    s.vectors[v][d] = from[d];
  }
  clear_missing(s, threadIdx.x, blockDim.x);
  load_angles(s, row, a, threadIdx.x, blockDim.x);
  FirstKeys first;
  first_keys(first, row, layer, kv_head, reach, split);
  __syncthreads();
  for (u32 v = warp; v < GROUP + 2; v += TEAM) ready_vector(s, v, row, layer, kv_head, a, split == 0);
  __syncthreads();
  score_current(s, a.cap);
  attend_groups(s, sums, first, row, layer, kv_head, reach, split, a.cap);
  __syncthreads();
  weigh_warps(s, warp, split, active_warps(reach, split));
  __syncthreads();
  for (u32 i = threadIdx.x; i < GROUP * HD; i += blockDim.x) {
    u32 h = i / HD, d = i % HD, head = kv_head * GROUP + h;
    Merged m = merge_warps(s, sums, h, d, split, active_warps(reach, split));
    if (reach.splits == 1) {
      mixed[(u64)blockIdx.y * q_stride + head * HD + d] = m.out / m.sum;
    } else {
      float* out = partial + (((u64)blockIdx.y * H + head) * SPLITS + split) * (HD + 2);
      out[d] = m.out;
      if (d == 0) out[HD] = m.most, out[HD + 1] = m.sum;
    }
  }
}

// grid (H, N), HD threads.
extern "C" __global__ void __launch_bounds__(HD) combine_splits(const Row* rows, u32 window, const float* partial, float* mixed, u32 stride) {
  follow();
  Reach reach = reach_of(rows[blockIdx.y].position, window);
  if (reach.splits == 1) return;
  const float* from = partial + ((u64)blockIdx.y * H + blockIdx.x) * SPLITS * (HD + 2);
  u32 d = threadIdx.x;
  Merged m = {from[HD], from[HD + 1], from[d]};
  for (u32 i = 1; i < reach.splits; i++) {
    from += HD + 2;
    Merged more = {from[HD], from[HD + 1], from[d]};
    merge_split(m, more);
  }
  mixed[(u64)blockIdx.y * stride + blockIdx.x * HD + d] = m.out / m.sum;
}
#endif
