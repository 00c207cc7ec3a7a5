// decode_token: one token of one sequence in one launch, for Hopper and newer. Every block stays for the whole token.
//
//   weights   each block has its own rows of every matrix; a producer warp streams them through a ring in shared memory that
//             never drains: while a block waits for its input, the weights of the next phases are already coming
//   vectors   travel between blocks as packets (number, epoch) of 8 bytes: data and signal are one store, nothing is fenced
//   a layer   q k v | attention | output | gate up | down: each phase's products are spread over all blocks
//   warps     TEAM that multiply (see dot.cuh for the sums), FINISHERS that finish sums and send packets, one that copies
//
// grid BLOCKS, one block a multiprocessor, all resident (a cooperative launch); shared memory SHARED_BYTES.
// bytes: every weight once; the floor is those over the memory's speed.
//
// Why no packet is overwritten too early: a vector of layer l + 1 is sent by a block whose warps have read all of a later
// vector of layer l, which all blocks had to send for that, each after reading the earlier one. So every block must have rows
// in every phase: the host checks it. Epochs grow from token to token and are compared by their difference.

#if defined(DECODE) && HEADS_ON_TENSOR_CORES && __CUDA_ARCH__ >= 900

// ---- the warps that multiply

// This warp's columns of a vector: received, multiplied by gamma, put into halves in its part of the scratch memory. A lane has
// two columns of every other of the warp's blocks of 32.
template <class F, u32 K> DEV float take_input(Token& k, int from, u32 epoch, const float* gamma, float* squares) {
  constexpr u32 blocks = K / 32, pairs = ((blocks + TEAM - 1) / TEAM + 1) / 2, together = 8;
  const u32 upper = k.lane / 16, first = (k.warp + upper * TEAM) * 32 + k.lane % 16 * 2;
  // Whether this lane's block of the i-th two is there.
  auto there = [&](u32 i) { return (2 * i + 2) * TEAM <= blocks || k.warp + (2 * i + upper) * TEAM < blocks; };
  const u64* at = k.packets(from) + first;
  float2 values[pairs];
  u32 most = 0;
  float square = 0;
#pragma unroll
  for (u32 start = 0; start < pairs; start += together) {
    float2 factors[together];
    u64 left[together], right[together];
    bool missing[together], any;
#pragma unroll
    for (u32 j = 0; j < together; j++) {
      u32 i = start + j;
      left[j] = right[j] = packet_of(0, epoch), missing[j] = i < pairs && there(i);
      factors[j] = gamma && missing[j] ? *(const float2*)(gamma + first + i * TEAM * 64) : make_float2(1, 1);
    }
    do {
#pragma unroll
      for (u32 j = 0; j < together; j++)
        if (start + j < pairs) packets_load_if(at + (start + j) * TEAM * 64, left[j], right[j], missing[j]);
      any = false;
#pragma unroll
      for (u32 j = 0; j < together; j++)
        if (start + j < pairs) missing[j] = is_missing(left[j], epoch) || is_missing(right[j], epoch), any = any || missing[j];
      } while (any);
#pragma unroll
    for (u32 j = 0; j < together; j++) {
      if (start + j >= pairs) continue;
      float2 value = make_float2(value_of(left[j]), value_of(right[j]));
      square = fmaf(value.x, value.x, square), square = fmaf(value.y, value.y, square);
      if (gamma) value.x = __fmul_rn(value.x, factors[j].x), value.y = __fmul_rn(value.y, factors[j].y);
      most = max(most, max(__float_as_uint(value.x) & 0x7fffffff, __float_as_uint(value.y) & 0x7fffffff));
      values[start + j] = value;
    }
  }
  float up = 1, back = 1;
  if (!Operand<F>::BF16) {
    u32 exponent = exponent_of(__reduce_max_sync(~0u, most));
    up = scale_up(exponent), back = scale_back(exponent);
  }
  u32* halves = (u32*)(k.scratch + k.warp * EACH_WARP * 128) + upper * 32 + k.lane % 16;
#pragma unroll
  for (u32 i = 0; i < pairs; i++) {
    if (!there(i)) continue;
    u32 high, low;
    split_pair<Operand<F>::BF16>(values[i].x * up, values[i].y * up, high, low);
    halves[i * 64] = high, halves[i * 64 + 16] = low;
  }
  if (squares) {
    square = warp_sum(square);
    if (k.lane == 0) squares[k.warp] = square;
  }
  __syncwarp();
  return back;
}

// This lane's columns of one of its warp's blocks, as `take_input` left them; x is the operand's first row, the others are 0.
template <class F> DEV Input own_input(const u8* halves, u32 g, u32 t) {
  Input x = {{0, 0, 0, 0}};
  if (g > 1) return x;
  if constexpr (F::RUN == 16) {
    uint2 a = load<uint2>(halves + 64 * g + 8 * t), b = load<uint2>(halves + 64 * g + 32 + 8 * t);
    x = {{a.x, a.y, b.x, b.y}};
  } else {
    uint4 a = load<uint4>(halves + 64 * g + 16 * t);
    x = {{a.x, a.y, a.z, a.w}};
  }
  return x;
}

// Where this lane's rows of a stage's two tiles begin.
template <class F> DEV Tile<F> staged_tile(const u8* stage, u32 g) {
  Tile<F> rows;
#pragma unroll
  for (int p = 0; p < F::PLANES; p++) {
    rows.own.at[p] = stage + stage_offset<F>(p) + g * stage_stride<F>(p);
    rows.other.at[p] = rows.own.at[p] + 8 * stage_stride<F>(p);
  }
  return rows;
}

// One of this warp's blocks times all units of a step. No branch lies between the products, so that their loads and their
// sums go side by side; units that are not there are multiplied too, and not looked at.
template <class F, u32 UNITS> DEV void multiply_block(float (*acc)[2][1][4], const Tile<F>* units, const u8* halves, u32 turn, u32 kb, u32 g, u32 t) {
  Input x = own_input<F>(halves, g, t);
  float sums[1][2];
  input_sums<F>(x, sums[0]);
#pragma unroll
  for (u32 r = 0; r < UNITS; r++) multiply<F, 1>(acc[r][turn], &x, sums, units[r], kb, kb, t);
}

// Products of this block's units with the input that `take_input` left. A step has two stages: of two units where a stage has
// whole rows, or else two pieces of one unit.
template <class F, u32 K> DEV void multiply_units(Token& k, u32 tiles, float back) {
  constexpr u32 cols = stage_cols<F>(), whole = K / cols, chunks = (K + cols - 1) / cols, per_stage = cols / (32 * TEAM);
  constexpr u32 units = chunks == 1 ? 2 : 1, parts = chunks == 1 ? 1 : 2;
  u32 g = k.lane / 4, t = k.lane % 4;
  const u8* halves = k.scratch + k.warp * EACH_WARP * 128;
  for (u32 i = 0; i < tiles; i += 2 * units) {
    float acc[units][2][1][4] = {};
#pragma unroll 1
    for (u32 chunk = 0; chunk < chunks; chunk += parts) {
      const u8* stages[2];
      bool second = units == 2 ? i + 2 < tiles : chunk + 1 < chunks;
#pragma unroll
      for (u32 n = 0; n < 2; n++) {
        u32 stage = k.stage + n;
        stages[n] = k.ring + stage % STAGES * STAGE;
        if (n == 0 || second) counter_wait(&k.s.full[stage % STAGES], stage / STAGES & 1);
      }
#pragma unroll
      for (u32 part = 0; part < parts; part++) {
        if (part && !second) continue;
        Tile<F> rows[units];
#pragma unroll
        for (u32 r = 0; r < units; r++) rows[r] = staged_tile<F>(stages[units == 2 ? r : part], g);
        const u8* input = halves + (chunk + part) * per_stage * 128;
        if (whole == chunks || (int)(chunk + part) < (int)whole) {
#pragma unroll
          for (u32 j = 0; j < per_stage; j++) multiply_block<F, units>(acc, rows, input + j * 128, (part * per_stage + j) % 2, k.warp + j * TEAM, g, t);
        } else {
          // The last piece: rounds that all warps have, and one that some have.
          constexpr u32 rest = K - whole * cols, rounds = rest / (32 * TEAM);
#pragma unroll
          for (int j = 0; j < (int)rounds; j++) multiply_block<F, units>(acc, rows, input + j * 128, (part * per_stage + j) % 2, k.warp + j * TEAM, g, t);
          if constexpr (rest % (32 * TEAM) != 0) {
            if ((k.warp + rounds * TEAM) * 32 < rest)
              multiply_block<F, units>(acc, rows, input + rounds * 128, (part * per_stage + rounds) % 2, k.warp + rounds * TEAM, g, t);
          }
        }
      }
      reads_end();
      __syncwarp();
      if (k.lane == 0) {
        counter_arrive(&k.s.empty[k.stage % STAGES]);
        if (second) counter_arrive(&k.s.empty[(k.stage + 1) % STAGES]);
      }
      k.stage += second ? 2 : 1;
    }
#pragma unroll
    for (u32 unit = 0; unit < units; unit++) {
      if (i + 2 * unit >= tiles) continue;
      u32 place = k.next_place(units == 2 ? unit : i / 2 % FINISHERS, true);
      float2 sum = sums_of<F>(acc[unit][0][0], acc[unit][1][0]);
      if (t == 0) k.s.sums[place][g][k.warp] = sum.x * back, k.s.sums[place][8 + g][k.warp] = sum.y * back;
      __syncwarp();
      if (k.lane == 0) counter_arrive(&k.s.handed[place]);
    }
  }
}

// Where the number `i` of a group's queries, key and value is sent to.
DEV u32 place_of(u32 kv_head, u32 i) {
  u32 v = i / HD, d = i % HD;
  return v < GROUP ? (kv_head * GROUP + v) * HD + d : (H + (v - GROUP) * KV + kv_head) * HD + d;
}

// Attention of one key-value head over one split of the positions, by the warps that multiply.
DEV void attend(Token& k, u32 l, const Row& row, u32 epoch) {
  const DecodeLayer& layer = k.s.layers[l];
  Reach reach = reach_of(row.position, (u32)layer.window);
  if (blockIdx.x >= KV * reach.splits) return;
  u32 kv_head = blockIdx.x % KV, split = blockIdx.x / KV, thread = k.warp * 32 + k.lane;
  Heads& s = k.s.heads;
  HeadSums* sums = (HeadSums*)k.scratch;
  HeadArguments a;
  a.query_norm.weight = layer.query_norm, a.key_norm.weight = layer.key_norm, a.query_norm.eps = k.a.eps, a.key_norm.eps = k.a.eps;
  a.table = layer.table, a.long_table = layer.long_table, a.rotary = k.a.rotary, a.scale = k.a.attention_scale, a.cap = k.a.attention_cap;
  clear_missing(s, thread, TEAM * 32);
  load_angles(s, row, a, thread, TEAM * 32);
  FirstKeys first;
  first_keys(first, row, l, kv_head, reach, split);
  touch_first(row, l, kv_head, reach, split);
  // Queries lie one behind the other; the key and the value are further on. A thread has one or two of all numbers.
  constexpr u32 numbers = (GROUP + 2) * HD, threads = TEAM * 32;
  for (u32 i = 0; i < numbers; i += 2 * threads) {
    float pair[2];
    u32 one = i + thread, other = one + threads;
    if (one >= numbers) continue;
    const u64 *from = k.packets(TO_HEADS) + place_of(kv_head, one), *second = k.packets(TO_HEADS) + place_of(kv_head, min(other, numbers - 1));
    receive<2>(from, second - from, epoch, pair, other < numbers ? 2 : 1);
    (&s.vectors[0][0])[one] = pair[0];
    if (other < numbers) (&s.vectors[0][0])[other] = pair[1];
  }
  barrier(1, TEAM * 32);
  for (u32 v = k.warp; v < GROUP + 2; v += TEAM) ready_vector(s, v, row, l, kv_head, a, split == 0);
  barrier(1, TEAM * 32);
  score_current(s, a.cap);
  attend_groups(s, sums, first, row, l, kv_head, reach, split, a.cap);
  barrier(1, TEAM * 32);
  u32 active = active_warps(reach, split);
  weigh_warps(s, k.warp, split, active);
  barrier(1, TEAM * 32);
  constexpr u32 partial = GROUP * (HD + 2);
  for (u32 i = thread; i < GROUP * HD; i += TEAM * 32) {
    u32 h = i / HD, d = i % HD;
    Merged m = merge_warps(s, sums, h, d, split, active);
    if (split) {
      u64* to = k.packets(OF_SPLITS) + ((u64)kv_head * SPLITS + split) * partial + h * (HD + 2);
      packet_store(to + d, packet_of(m.out, epoch));
      if (d == 0) packet_store(to + HD, packet_of(m.most, epoch)), packet_store(to + HD + 1, packet_of(m.sum, epoch));
      continue;
    }
    if constexpr (SPLITS > 1) {
      // The other splits' results, all under way at once: lane l has what split l + 1 weighs.
      const u64* from = k.packets(OF_SPLITS) + ((u64)kv_head * SPLITS + 1) * partial + h * (HD + 2);
      float most_sum[2], out[SPLITS - 1];
      receive<2>(from + (u64)k.lane * partial + HD, 1, epoch, most_sum, k.lane + 1 < reach.splits ? 2 : 0);
      receive<SPLITS - 1>(from + d, partial, epoch, out, reach.splits - 1);
#pragma unroll
      for (u32 other = 0; other < SPLITS - 1; other++) {
        if (other + 1 >= reach.splits) continue;
        merge_split(m, {__shfl_sync(~0u, most_sum[0], other), __shfl_sync(~0u, most_sum[1], other), out[other]});
      }
    }
    packet_store(k.packets(TO_OUTPUT) + (kv_head * GROUP + h) * HD + d, packet_of(m.out / m.sum, epoch));
  }
  barrier(1, TEAM * 32);
}

// Brings the keys and values that this block will need near, while q is being computed.
DEV void fetch_positions(Token& k, u32 l, const Row& row) {
  Reach reach = reach_of(row.position, (u32)k.s.layers[l].window);
  if (blockIdx.x >= KV * reach.splits) return;
  u32 kv_head = blockIdx.x % KV, split = blockIdx.x / KV;
  for (u32 group = split * TEAM + k.warp; group < reach.groups; group += reach.splits * TEAM) {
    const KvT* keys = page_keys(row, l, kv_head, reach.start / 32 * 32 + group * 32);
    for (u32 i = k.lane * 64; i < 32 * HD; i += 32 * 64) prefetch(keys + i), prefetch(keys + VALUES_OFFSET + i);
  }
  if (k.warp == 0) {
    const float2* table = row.is_long && k.s.layers[l].long_table ? k.s.layers[l].long_table : k.s.layers[l].table;
    if (k.lane * 16 < k.a.rotary / 2) prefetch(table + (u64)row.position * (k.a.rotary / 2) + k.lane * 16);
  }
}

DEV void multiply_all(Token& k) {
  typedef LAYER_FORMAT F;
  const Row row = *k.a.row;
  u32 epoch = *k.a.epoch + 1;
  for (u32 l = 0; l < LAYERS; l++) {
    const DecodeLayer& layer = k.s.layers[l];
    epoch++;
    fetch_positions(k, l, row);
    float back = take_input<F, D>(k, TO_LAYER, epoch - 1, layer.attention_norm, k.s.squares[0]);
    multiply_units<F, D>(k, share_of(QKV / 8).tiles, back);
    attend(k, l, row, epoch);
    back = take_input<F, H * HD>(k, TO_OUTPUT, epoch, 0, 0);
    multiply_units<F, H * HD>(k, share_of(D / 8).tiles, back);
    back = take_input<F, D>(k, TO_FFN, epoch, layer.ffn_norm, k.s.squares[1]);
    multiply_units<F, D>(k, share_of(FFN / 8).tiles * 2, back);
    back = take_input<F, FFN>(k, TO_DOWN, epoch, 0, 0);
    multiply_units<F, FFN>(k, share_of(D / 8).tiles, back);
  }
  float back = take_input<HEAD_FORMAT, D>(k, TO_LAYER, epoch, k.a.final_norm, k.s.squares[0]);
  multiply_units<HEAD_FORMAT, D>(k, share_of(VOCAB / 8).tiles, back);
}

// ---- the warps that finish sums: every other unit of a phase each

// The sum of row lane / 2 of this warp's next unit, in both lanes.
DEV float take_sum(Token& k) {
  u32 turn = (k.finisher ? k.handed[1] : k.handed[0]) / HANDOVERS, place = k.next_place(k.finisher, false);
  counter_wait(&k.s.handed[place], turn & 1);
  const float* parts = k.s.sums[place][k.lane / 2] + k.lane % 2 * (TEAM / 2);
  float sum = parts[0];
#pragma unroll
  for (int w = 1; w < TEAM / 2; w++) sum = __fadd_rn(sum, parts[w]);
  sum = __fadd_rn(sum, __shfl_xor_sync(~0u, sum, 1));
  __syncwarp();
  if (k.lane == 0) counter_arrive(&k.s.taken[place]);
  return sum;
}
DEV float take_norm(const Token& k, int which) { return norm_of(sum_of_warps(k.s.squares[which], 1), D, k.a.eps); }

// The scale and the bias of a row, fetched while its sum is still being made.
struct RowEnd {
  float scale, bias;
  bool scaled, biased;
};
DEV RowEnd row_end(const float* scales, const float* bias, u32 row) {
  RowEnd end = {1, 0, scales != 0, bias != 0};
  if (scales) end.scale = scales[row];
  if (bias) end.bias = bias[row];
  return end;
}
DEV float end_sum(float sum, bool normed, float norm, const RowEnd& end) {
  if (normed) sum = __fmul_rn(sum, norm);
  if (end.scaled) sum = __fmul_rn(sum, end.scale);
  return end.biased ? __fadd_rn(sum, end.bias) : sum;
}

// One element of the embedding.
DEV float embedded(const Decode& a, u32 token, u32 at) {
  float weights[8];
  weights_at<EMBEDDING_FORMAT>(a.embedding, token, at / 8 * 8, weights);
  float value = weights[0];
#pragma unroll
  for (int i = 1; i < 8; i++) value = at % 8 == i ? weights[i] : value;
  return __fmul_rn(value, a.embedding_scale);
}

// x += W input, kept here and sent.
DEV void finish_residual(Token& k, const DecodeLayer& layer, int matrix, int to, u32 epoch) {
  Share share = share_of(D / 8);
  for (u32 i = 0; i < share.tiles; i += 2) {
    if (i / 2 % FINISHERS != k.finisher) continue;
    u32 row = (share.first + i) * 8 + k.lane / 2, own = i * 8 + k.lane / 2;
    bool there = i * 8 + k.lane / 2 < share.tiles * 8;
    RowEnd end = row_end(layer.scales[matrix], layer.bias[matrix], there ? row : 0);
    float value = end_sum(take_sum(k), false, 0, end);
    if (!there || k.lane % 2) continue;
    value = __fadd_rn(k.s.residual[own], value);
    k.s.residual[own] = value;
    packet_store(k.packets(to) + row, packet_of(value, epoch));
  }
  __syncwarp();
}

DEV void finish_all(Token& k) {
  const Decode& a = k.a;
  u32 epoch = *a.epoch + 1, token = a.row->token;
  Share share = share_of(D / 8);
  for (u32 i = k.lane; i < share.tiles * 8; i += 32) {
    if (i / 16 % FINISHERS != k.finisher) continue;
    float value = embedded(a, token, share.first * 8 + i);
    k.s.residual[i] = value;
    packet_store(k.packets(TO_LAYER) + share.first * 8 + i, packet_of(value, epoch));
  }
  __syncwarp();
  for (u32 l = 0; l < LAYERS; l++) {
    const DecodeLayer& layer = k.s.layers[l];
    epoch++;
    share = share_of(QKV / 8);
    float norm = 0;
    for (u32 i = 0; i < share.tiles; i += 2) {
      if (i / 2 % FINISHERS != k.finisher) continue;
      u32 tile = share.first + i + (k.lane / 16 && i + 1 < share.tiles), at, part = part_of(tile, at);
      RowEnd end = row_end(layer.scales[part], layer.bias[part], at * 8 + k.lane / 2 % 8);
      float sum = take_sum(k);
      if (norm == 0) norm = take_norm(k, 0);
      if (k.lane % 2 == 0 && i * 8 + k.lane / 2 < share.tiles * 8) packet_store(k.packets(TO_HEADS) + (share.first + i) * 8 + k.lane / 2, packet_of(end_sum(sum, true, norm, end), epoch));
    }
    finish_residual(k, layer, OUTPUT, TO_FFN, epoch);
    share = share_of(FFN / 8);
    norm = 0;
    for (u32 i = 0; i < share.tiles; i++) {
      if (i % FINISHERS != k.finisher) continue;
      u32 row = (share.first + i) * 8 + k.lane / 2 % 8, part = k.lane < 16 ? GATE : UP;
      RowEnd end = row_end(layer.scales[part], layer.bias[part], row);
      float sum = take_sum(k);
      if (norm == 0) norm = take_norm(k, 1);
      float value = end_sum(sum, true, norm, end), up = __shfl_down_sync(~0u, value, 16);
      if (k.lane < 16 && k.lane % 2 == 0) packet_store(k.packets(TO_DOWN) + row, packet_of(__fmul_rn(activate(ACTIVATION, value), up), epoch));
    }
    finish_residual(k, layer, DOWN, TO_LAYER, epoch);
  }
  share = share_of(VOCAB / 8);
  u64 best = 0;
  float norm = 0;
  for (u32 i = 0; i < share.tiles; i += 2) {
    if (i / 2 % FINISHERS != k.finisher) continue;
    u32 row = (share.first + i) * 8 + k.lane / 2;
    bool there = i * 8 + k.lane / 2 < share.tiles * 8;
    RowEnd end = row_end(a.head.scales, a.head.bias, there ? row : 0);
    float sum = take_sum(k);
    if (norm == 0) norm = take_norm(k, 0);
    float value = end_sum(sum, true, norm, end);
    if (a.logit_cap > 0) value = a.logit_cap * tanhf(value / a.logit_cap);
    if (!there || k.lane % 2) continue;
    a.logits[row] = value;
    u64 here = candidate(value, row);
    best = here > best ? here : best;
  }
  __syncwarp();
  best = warp_best(best);
  // The last to come here ends the token.
  u32 last = 0;
  if (k.lane == 0) {
    a.best[blockIdx.x * FINISHERS + k.finisher] = best;
    __threadfence();
    last = atomicAdd(a.done, 1) == BLOCKS * FINISHERS - 1;
  }
  if (!__shfl_sync(~0u, last, 0)) return;
  __threadfence();
  best = 0;
  for (u32 i = k.lane; i < BLOCKS * FINISHERS; i += 32) {
    u64 here = packet_load(a.best + i);
    best = here > best ? here : best;
  }
  best = warp_best(best);
  if (k.lane) return;
  *a.done = 0;
  *a.epoch = epoch;
  if (a.feed) feed_token(best, a.row, a.out, a.step, 1, 0);
}

extern "C" __global__ void __launch_bounds__((TEAM + 4) * 32, 1) decode_token(Decode a) {
  u8* memory = shared_memory();
  DecodeShared& s = *(DecodeShared*)memory;
  u8* scratch = memory + (sizeof(DecodeShared) + 127) / 128 * 128;
  Token k = {a, s, scratch + SCRATCH_BYTES, scratch, 0, {0, 0}, threadIdx.x / 32, threadIdx.x % 32, threadIdx.x / 32 % FINISHERS};
  for (u32 i = threadIdx.x; i < sizeof(DecodeLayer) * LAYERS / 8; i += blockDim.x) ((u64*)s.layers)[i] = ((const u64*)a.layers)[i];
  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) counter_init(&s.full[i], 1), counter_init(&s.empty[i], TEAM);
    for (int i = 0; i < FINISHERS * HANDOVERS; i++) counter_init(&s.handed[i], TEAM), counter_init(&s.taken[i], 1);
    counter_publish();
  }
  __syncthreads();
  // Registers by warpgroup: 4 TEAM / 4 of them multiply, one has the other warps, and one that only fills it up.
  if (k.warp < TEAM) {
    registers_more<216>();
    multiply_all(k);
  } else {
    registers_fewer<72>();
    if (k.warp < TEAM + FINISHERS) finish_all(k);
    else if (k.warp == TEAM + FINISHERS) copy_all(k);
  }
}
#endif
