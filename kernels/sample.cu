// The next token on the device, put where the next pass reads it: the largest logit, of equals the lowest id, or a draw as
// docs/sampling.md defines it.
//
// Three kernels draw. `sample_parts` finds the largest logit after the penalty; `sample_bins` sorts the vocabulary into bins
// of 1/64 by distance from it and adds up each bin; `sample_pick` walks the bins to where a sum is reached, sorts only what
// is in that bin and above, and ends on one token. Weights are whole numbers, so the order of the sums does not matter and
// the choice is the host's (sampler.rs), bit for bit.

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

// One block a row.
extern "C" __global__ void __launch_bounds__(256) argmax_feed(const u64* best, u32 parts, Row* rows, u32* out, u32* step) {
  u64 own = 0;
  for (u32 i = threadIdx.x; i < parts; i += blockDim.x) {
    u64 here = best[(u64)blockIdx.x * parts + i];
    own = here > own ? here : own;
  }
  own = block_best(own);
  if (threadIdx.x == 0) feed_token(own, rows + blockIdx.x, out, step + blockIdx.x, gridDim.x, blockIdx.x);
}

// How a row is sampled; `Cuts` of sampler.rs.
struct Choice {
  double inverse;  // 1 / temperature; 0 is argmax
  u64 top_p;       // in units of 2^-32
  u64 least;       // smallest weight that min-p leaves
  u32 top_k;
  float penalty;
};
#define BINS 2048
#define LISTED 2048
#define NO_BIN 0xffff

// The logit after the penalty; seen: a bit for each token of the sequence so far.
DEV float penalised(float logit, u32 id, const u32* seen, float penalty) {
  if (penalty == 1 || !(seen[id / 32] >> id % 32 & 1)) return logit;
  return logit > 0 ? __fdiv_rn(logit, penalty) : __fmul_rn(logit, penalty);
}
// The distance below the largest logit over the temperature, in units of 2^-40; ~0 from 32 on.
DEV u64 distance(float most, float logit, double inverse) {
  double far = __dmul_rn(__dadd_rn((double)most, -(double)logit), inverse);
  return far >= 32 ? ~0ull : (u64)__dmul_rn(far, 1099511627776.0);
}
// e^-distance in units of 2^-44, in the steps of sampler.rs: no fused multiply-add.
DEV u64 weight_at(u64 distance) {
  if (distance == ~0ull) return 0;
  const double series[13] = {1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 0.5, 1, 1};
  double far = __dmul_rn((double)distance, 1.0 / 1099511627776.0);
  u64 halvings = (u64)__dadd_rn(__dmul_rn(far, 1.4426950408889634), 0.5);
  double rest = __dadd_rn(__dadd_rn(__dmul_rn((double)halvings, 6.931471803691238e-1), -far), __dmul_rn((double)halvings, 1.9082149292705877e-10));
  double sum = 1.0 / 6227020800.0;
#pragma unroll
  for (int i = 0; i < 13; i++) sum = __dadd_rn(__dmul_rn(sum, rest), series[i]);
  double scale = __longlong_as_double((1023 + 44 - halvings) << 52);
  return (u64)__dadd_rn(__dmul_rn(sum, scale), 0.5);
}
DEV float key_logit(u32 key) { return __uint_as_float(key >> 31 ? key & 0x7fffffff : ~key); }

// Adds to one slot each of a histogram. The lanes of `active` come together; where all name one slot, one of them adds.
DEV void tally(u32 active, u32 slot, u64 weight, u32* counts, u64* weights) {
  int same;
  __match_all_sync(active, slot, &same);
  if (!same) {
    atomicAdd(counts + slot, 1u);
    atomicAdd(weights + slot, weight);
    return;
  }
  u64 low = __reduce_add_sync(active, (u32)weight & 0x3fffff), high = __reduce_add_sync(active, (u32)(weight >> 22));
  if (threadIdx.x % 32 != __ffs(active) - 1) return;
  atomicAdd(counts + slot, (u32)__popc(active));
  atomicAdd(weights + slot, low + (high << 22));
}

// best[n][part] of penalised logits [n][V]; what the next kernel adds up is set to 0. grid (parts, rows)
extern "C" __global__ void __launch_bounds__(256) sample_parts(const float* logits, u32 stride, u32 vocab, const Choice* choices, const u32* seen, u32 seen_stride, u64* best, u32* counts, u64* weights, u64* above) {
  u32 n = blockIdx.y, first = blockIdx.x * blockDim.x + threadIdx.x;
  float penalty = choices[n].penalty;
  for (u32 i = first; i < BINS; i += gridDim.x * blockDim.x) {
    counts[n * BINS + i] = 0;
    weights[n * BINS + i] = 0;
  }
  if (first == 0) above[n] = 0;
  u64 own = 0;
  for (u32 i = first; i < vocab; i += gridDim.x * blockDim.x) {
    u64 here = candidate(penalised(logits[(u64)n * stride + i], i, seen + (u64)n * seen_stride, penalty), i);
    own = here > own ? here : own;
  }
  own = block_best(own);
  if (threadIdx.x == 0) best[(u64)n * gridDim.x + blockIdx.x] = own;
}

// bins: u16 [n][V, padded], the bin of each token, NO_BIN where it weighs nothing; counts, weights [n][BINS]; above[n]: the
// weight of what min-p leaves. grid (parts, rows)
extern "C" __global__ void __launch_bounds__(256) sample_bins(const float* logits, u32 stride, u32 vocab, const Choice* choices, const u32* seen, u32 seen_stride, const u64* best, u16* bins, u32 bin_stride, u32* counts, u64* weights, u64* above) {
  __shared__ u64 most;
  u32 n = blockIdx.y, lane = threadIdx.x % 32;
  const Choice choice = choices[n];
  if (choice.inverse == 0) return;
  u64 own = 0;
  for (u32 i = threadIdx.x; i < gridDim.x; i += blockDim.x) {
    u64 here = best[(u64)n * gridDim.x + i];
    own = here > own ? here : own;
  }
  own = block_best(own);
  if (threadIdx.x == 0) most = own;
  __syncthreads();
  u32 key = most >> 32;
  if (is_bad(key)) return;
  float largest = key_logit(key);
  u64 kept = 0;
  // Whole warps, so that their lanes come together.
  for (u32 start = blockIdx.x * blockDim.x + threadIdx.x - lane; start < vocab; start += gridDim.x * blockDim.x) {
    u32 i = start + lane;
    u64 far = ~0ull;
    if (i < vocab) far = distance(largest, penalised(logits[(u64)n * stride + i], i, seen + (u64)n * seen_stride, choice.penalty), choice.inverse);
    u64 weight = weight_at(far);
    u32 bin = weight ? (u32)(far >> 34) : NO_BIN;
    if (i < vocab) bins[(u64)n * bin_stride + i] = bin;
    if (weight >= choice.least) kept += weight;
    u32 active = __ballot_sync(~0u, weight != 0);
    if (weight) tally(active, bin, weight, counts + n * BINS, weights + n * BINS);
  }
  if (choice.least <= 1) return;
#pragma unroll
  for (int offset = 16; offset; offset >>= 1) kept += __shfl_xor_sync(~0u, kept, offset);
  if (lane == 0 && kept) atomicAdd(above + n, kept);
}

// What the block of `sample_pick` shares.
struct Picking {
  u64 list[LISTED];        // of the bins in hand: candidate(logit, id), the largest first
  u64 digit_weights[256];  // of a bin that is too large for the list
  u32 digit_counts[256];
  u64 warps[32];
  u32 warp_counts[32];
  u64 found, through;          // a token, and the weight up to and with it
  u64 weight_before;           // of the bins before
  u32 bin, in_bin, before;     // a bin, how many are in it, how many in those before
  u32 first_bin, last_bin, listed;  // what the list holds
};

// Sum of the values of the threads before this one; all threads call.
DEV u64 sum_before(u64 value, u64* warps) {
  u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  u64 sum = value;
#pragma unroll
  for (int offset = 1; offset < 32; offset <<= 1) {
    u64 left = __shfl_up_sync(~0u, sum, offset);
    if (lane >= offset) sum += left;
  }
  __syncthreads();
  if (lane == 31) warps[warp] = sum;
  __syncthreads();
  u64 before = 0;
  for (u32 i = 0; i < warp; i++) before += warps[i];
  return before + sum - value;
}

// One row's vocabulary in bins, and what thread t knows of it: its bins 2 t and 2 t + 1.
struct Binned {
  const float* logits;
  const u32* seen;
  const u16* bins;
  u32 vocab;
  Choice choice;
  float largest;
  const u32* counts;  // [BINS]
  const u64* weights;
  u32 count_before;
  u64 weight_before;
};
DEV u64 token_at(const Binned& row, u32 i) { return candidate(penalised(row.logits[i], i, row.seen, row.choice.penalty), i); }
DEV u64 token_weight(const Binned& row, u64 token) {
  return token ? weight_at(distance(row.largest, key_logit(token >> 32), row.choice.inverse)) : 0;
}

// The bin in which the running count, or weight, reaches `limit`.
DEV void find_bin(const Binned& row, Picking& s, bool by_count, u64 limit) {
  u64 running = by_count ? row.count_before : row.weight_before, weight = row.weight_before;
  u32 count = row.count_before;
#pragma unroll
  for (int i = 0; i < 2; i++) {
    u32 bin = threadIdx.x * 2 + i, count_here = row.counts[bin];
    u64 weight_here = row.weights[bin], more = by_count ? count_here : weight_here;
    if (running < limit && limit <= running + more) {
      s.bin = bin;
      s.in_bin = count_here;
      s.before = count;
      s.weight_before = weight;
    }
    running += more;
    count += count_here;
    weight += weight_here;
  }
  __syncthreads();
}

// Lists the tokens of some bins whose upper bits are `prefix`, and sorts them.
DEV void list_bins(const Binned& row, Picking& s, u32 first, u32 last, u64 prefix, int shift) {
  __syncthreads();
  if (threadIdx.x == 0) {
    s.listed = 0;
    s.first_bin = first;
    // Of a part of a bin nothing else can be read off.
    s.last_bin = shift < 64 ? 0 : last;
    if (shift < 64) s.first_bin = 1;
  }
  __syncthreads();
  for (u32 start = threadIdx.x * 8; start < row.vocab; start += blockDim.x * 8) {
    uint4 eight = load<uint4>((const u8*)(row.bins + start));
    u32 words[4] = {eight.x, eight.y, eight.z, eight.w};
#pragma unroll
    for (int i = 0; i < 8; i++) {
      u32 bin = words[i / 2] >> i % 2 * 16 & 0xffff;
      if (bin < first || bin > last || start + i >= row.vocab) continue;
      u64 token = token_at(row, start + i);
      if (shift < 64 && token >> shift != prefix) continue;
      u32 place = atomicAdd(&s.listed, 1u);
      if (place < LISTED) s.list[place] = token;
    }
  }
  __syncthreads();
  u32 size = 2;
  while (size < min(s.listed, LISTED)) size *= 2;
  for (u32 i = s.listed + threadIdx.x; i < size; i += blockDim.x) s.list[i] = 0;
  __syncthreads();
  for (u32 run = 2; run <= size; run *= 2)
    for (u32 step = run / 2; step; step /= 2) {
      u32 i = threadIdx.x / step * step * 2 + threadIdx.x % step, j = i + step;
      if (j < size) {
        u64 a = s.list[i], b = s.list[j];
        // The largest first; every second run the other way round.
        if (i & run ? a > b : a < b) {
          s.list[i] = b;
          s.list[j] = a;
        }
      }
      __syncthreads();
    }
}

// The token at which the running count, or weight, reaches `limit`, goes to s.found, the weight up to and with it to
// s.through. 0 < limit, at most the sum of all.
DEV void find_token(const Binned& row, Picking& s, bool by_count, u64 limit) {
  find_bin(row, s, by_count, limit);
  u32 bin = s.bin, in_bin = s.in_bin;
  u64 count = s.before, weight = s.weight_before;
  if (count + in_bin <= LISTED) {
    // With all that is above, so that the next sum finds its tokens listed.
    if (s.first_bin != 0 || s.last_bin < bin) list_bins(row, s, 0, bin, 0, 64);
    count = weight = 0;
  } else if (in_bin <= LISTED) {
    if (s.first_bin != bin || s.last_bin != bin) list_bins(row, s, bin, bin, 0, 64);
  } else {
    // Digit by digit, from the top, until what shares the digits so far fits.
    u64 prefix = 0;
    int shift = 64;
    while (in_bin > LISTED) {
      shift -= 8;
      __syncthreads();
      if (threadIdx.x < 256) s.digit_counts[threadIdx.x] = s.digit_weights[threadIdx.x] = 0;
      __syncthreads();
      for (u32 start = threadIdx.x / 32 * 32; start < row.vocab; start += blockDim.x) {
        u32 i = start + threadIdx.x % 32;
        u64 token = i < row.vocab && row.bins[i] == bin ? token_at(row, i) : 0;
        if (token && shift < 56 && token >> (shift + 8) != prefix) token = 0;
        u32 active = __ballot_sync(~0u, token != 0);
        if (token) tally(active, token >> shift & 255, token_weight(row, token), s.digit_counts, s.digit_weights);
      }
      __syncthreads();
      if (threadIdx.x == 0) {
        u32 digit = 255;
        while (digit && (by_count ? count + s.digit_counts[digit] : weight + s.digit_weights[digit]) < limit) {
          count += s.digit_counts[digit];
          weight += s.digit_weights[digit];
          digit--;
        }
        s.found = prefix << 8 | digit;
        s.in_bin = s.digit_counts[digit];
        s.before = count;
        s.weight_before = weight;
      }
      __syncthreads();
      prefix = s.found;
      in_bin = s.in_bin;
      count = s.before;
      weight = s.weight_before;
    }
    list_bins(row, s, bin, bin, prefix, shift);
  }
  u32 place = threadIdx.x * 2;
  u64 tokens[2], weights[2];
#pragma unroll
  for (int i = 0; i < 2; i++) {
    tokens[i] = place + i < s.listed ? s.list[place + i] : 0;
    weights[i] = token_weight(row, tokens[i]);
  }
  u64 running = weight + sum_before(weights[0] + weights[1], s.warps);
#pragma unroll
  for (int i = 0; i < 2; i++) {
    u64 before = by_count ? count + place + i : running, more = by_count ? 1 : weights[i];
    running += weights[i];
    if (tokens[i] && before < limit && limit <= before + more) {
      s.found = tokens[i];
      s.through = running;
    }
  }
  __syncthreads();
}

// uniforms[step][n]: 53 bits. One block of 1024 threads a row: 2 bins and 2 places of the list a thread.
extern "C" __global__ void __launch_bounds__(1024) sample_pick(const float* logits, u32 stride, u32 vocab, const Choice* choices, u32* seen, u32 seen_stride, const u64* best, u32 parts, const u16* bins, u32 bin_stride, const u32* counts, const u64* weights,
                                                               const u64* above, const u64* uniforms, Row* rows, u32* out, u32* step) {
  __shared__ Picking s;
  u32 n = blockIdx.x;
  Binned row;
  row.choice = choices[n];
  u64 own = 0;
  for (u32 i = threadIdx.x; i < parts; i += blockDim.x) {
    u64 here = best[(u64)n * parts + i];
    own = here > own ? here : own;
  }
  own = block_best(own);
  if (threadIdx.x == 0) {
    s.found = own;
    s.first_bin = 1;
    s.last_bin = 0;
  }
  __syncthreads();
  u64 token = s.found;
  if (row.choice.inverse != 0 && !is_bad(token >> 32)) {
    row.logits = logits + (u64)n * stride;
    row.seen = seen + (u64)n * seen_stride;
    row.bins = bins + (u64)n * bin_stride;
    row.vocab = vocab;
    row.largest = key_logit(token >> 32);
    row.counts = counts + n * BINS;
    row.weights = weights + n * BINS;
    u32 own_count = row.counts[threadIdx.x * 2] + row.counts[threadIdx.x * 2 + 1];
    u64 own_weight = row.weights[threadIdx.x * 2] + row.weights[threadIdx.x * 2 + 1];
    row.count_before = sum_before(own_count, s.warps);
    row.weight_before = sum_before(own_weight, s.warps);
    if (threadIdx.x == 1023) {
      s.before = row.count_before + own_count;
      s.through = row.weight_before + own_weight;
    }
    __syncthreads();
    u32 all = s.before;
    u64 sum = s.through;
    __syncthreads();
    // One after the other: top-k, top-p, and the draw from what they leave.
#pragma unroll 1
    for (int stage = 0; stage < 3; stage++) {
      u64 limit = row.choice.top_k;
      if (stage == 0 && limit >= all) continue;
      if (stage == 1) {
        // sum x top_p / 2^32, rounded up
        u64 low = sum * row.choice.top_p;
        limit = (__umul64hi(sum, row.choice.top_p) << 32 | low >> 32) + ((u32)low != 0);
        if (limit >= sum) continue;
      }
      if (stage == 2) {
        if (row.choice.least > 1) sum = min(sum, above[n]);
        // The first at which the running sum exceeds sum x uniform.
        u64 uniform = uniforms[(u64)step[n] * gridDim.x + n];
        limit = (__umul64hi(sum, uniform) << 11 | sum * uniform >> 53) + 1;
      }
      find_token(row, s, stage == 0, limit);
      sum = s.through;
    }
    token = s.found;
  }
  if (threadIdx.x) return;
  u32 id = ~(u32)token;
  if (!is_bad(token >> 32)) seen[(u64)n * seen_stride + id / 32] |= 1u << id % 32;
  feed_token(token, rows + n, out, step + n, gridDim.x, n);
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
