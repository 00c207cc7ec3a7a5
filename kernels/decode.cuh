// What the parts of decode_token (decode.cu) have in common: the layout of shared memory, each block's share of the rows,
// packets, and the warp that copies weights into the ring.

#if defined(DECODE) && HEADS_ON_TENSOR_CORES && __CUDA_ARCH__ >= 900

// Columns of a row in a stage: 2 KB of quants.
template <class F> DEV constexpr u32 stage_cols() { return 2048 / F::bytes(0) * F::LEN; }
// From a row to the next in a plane of a stage: rows of a tile in different banks.
template <class F> DEV constexpr u32 stage_stride(int plane) {
  u32 row = stage_cols<F>() / F::LEN * F::bytes(plane), block = F::bytes(plane) * 32 / F::LEN;
  return row + (block < 16 ? 16 : block);
}
template <class F> DEV constexpr u32 stage_offset(int plane) {
  u32 offset = 0;
  for (int p = 0; p < plane; p++) offset += 16 * stage_stride<F>(p);
  return offset;
}
template <class F> DEV constexpr u32 stage_bytes() { return (stage_offset<F>(F::PLANES) + 127) / 128 * 128; }
DEV constexpr u32 larger(u32 a, u32 b) { return a > b ? a : b; }
#define STAGE larger(stage_bytes<LAYER_FORMAT>(), stage_bytes<HEAD_FORMAT>())

// Places for sums on their way from the warps that multiply to each that finishes.
#define FINISHERS 2
#define HANDOVERS 2
#define SUM_STRIDE (TEAM + 4)
#define EACH_WARP ((larger(larger(D, H * HD), FFN) / 32 + TEAM - 1) / TEAM)
#define QKV ((H + 2 * KV) * HD)
#define OWN_ROWS ((D / 8 + BLOCKS - 1) / BLOCKS * 8 + 8)

enum { QUERY, KEY, VALUE, OUTPUT, GATE, UP, DOWN, MATRICES };
struct DecodeLayer {
  const u8* weights[MATRICES];
  const float* scales[MATRICES];
  const float* bias[MATRICES];
  const float *attention_norm, *ffn_norm, *query_norm, *key_norm;
  const float2 *table, *long_table;
  u64 window;
};
struct Decode {
  const DecodeLayer* layers;
  Matrix embedding, head;
  const float* final_norm;
  Row* row;
  float* logits;
  // QKV, H HD, D, D, FFN, then partial results of heads
  u64* packets;
  u64* best;     // [BLOCKS][FINISHERS]
  u32* done;     // warps that are through, 0 between launches
  u32* epoch;    // of the last vector that was sent
  u32 *out, *step;
  float eps, embedding_scale, attention_scale, attention_cap, logit_cap;
  u32 rotary, feed;  // feed 1: the token of the largest logit goes to `row` and `out`
};

struct DecodeShared {
  u64 full[STAGES], empty[STAGES], handed[FINISHERS * HANDOVERS], taken[FINISHERS * HANDOVERS];
  float sums[FINISHERS * HANDOVERS][16][SUM_STRIDE];
  float squares[2][TEAM];
  float residual[OWN_ROWS];
  Heads heads;
  DecodeLayer layers[LAYERS];
};
// What follows the struct in shared memory: the input's halves, or the heads' sums; then the ring.
#define INPUT_BYTES (TEAM * EACH_WARP * 128)
#define HEAD_BYTES (TEAM * (int)sizeof(HeadSums))
#define SCRATCH_BYTES larger(INPUT_BYTES, HEAD_BYTES)
static_assert((sizeof(DecodeShared) + 127) / 128 * 128 + SCRATCH_BYTES + STAGES * STAGE <= SHARED_BYTES, "shared memory");

// Units of a phase that this block has: two tiles each, the last perhaps one; a gated unit is a tile of each matrix.
struct Share {
  u32 first, tiles;
};
DEV Share share_of(u32 tiles) {
  u32 first = (u64)blockIdx.x * tiles / BLOCKS, next = (u64)(blockIdx.x + 1) * tiles / BLOCKS;
  return {first, next - first};
}

struct Token {
  const Decode& a;
  DecodeShared& s;
  u8 *ring, *scratch;
  u32 stage;       // stages that this warp has been through
  u32 handed[2];   // sums that it has handed to, or taken as, each finisher
  u32 warp, lane;
  u32 finisher;    // which of the FINISHERS this warp is

  // Where the next sums for a finisher are put, once what lay there is `taken`.
  __device__ u32 next_place(u32 to, bool waits) {
    u32 count = to ? handed[1]++ : handed[0]++;
    u32 place = to * HANDOVERS + count % HANDOVERS, turn = count / HANDOVERS;
    if (waits && turn) counter_wait(&s.taken[place], (turn - 1) & 1);
    return place;
  }

  __device__ u64* packets(int which) const {
    u64* at = a.packets;
    return which == 0 ? at : which == 1 ? at + QKV : which == 2 ? at + QKV + H * HD : which == 3 ? at + QKV + H * HD + D : which == 4 ? at + QKV + H * HD + 2 * D : at + QKV + H * HD + 2 * D + FFN;
  }
};
enum { TO_HEADS, TO_OUTPUT, TO_FFN, TO_LAYER, TO_DOWN, OF_SPLITS };

DEV u64 packet_of(float value, u32 epoch) { return (u64)epoch << 32 | __float_as_uint(value); }
DEV bool is_missing(u64 packet, u32 epoch) { return (int)((u32)(packet >> 32) - epoch) < 0; }
DEV float value_of(u64 packet) { return __uint_as_float((u32)packet); }
// Waits for the first `count` of N packets, `stride` apart, that are all under way at once and asked for again where missing;
// the others are 0.
template <int N> DEV void receive(const u64* at, u32 stride, u32 epoch, float* out, u32 count) {
  u64 packets[N];
  bool missing[N], any;
#pragma unroll
  for (int i = 0; i < N; i++) missing[i] = i < count, packets[i] = packet_of(0, epoch);
  do {
#pragma unroll
    for (int i = 0; i < N; i++) packet_load_if(at + i * stride, packets[i], missing[i]);
    any = false;
#pragma unroll
    for (int i = 0; i < N; i++) missing[i] = is_missing(packets[i], epoch), any = any || missing[i];
  } while (any);
#pragma unroll
  for (int i = 0; i < N; i++) out[i] = value_of(packets[i]);
}

// ---- the warp that copies

// Rows of a unit, one a lane: `first` and `second` are the tiles' weights.
template <class F, u32 K> DEV void copy_unit(Token& k, const u8* first, u64 first_blocks, u32 first_tile, const u8* second, u64 second_blocks, u32 second_tile, u32 tiles, u64 policy) {
  for (u32 at = 0; at < K; at += stage_cols<F>()) {
    u32 cols = min(K - at, stage_cols<F>()), slot = k.stage % STAGES, turn = k.stage / STAGES;
    if (turn) counter_wait(&k.s.empty[slot], (turn - 1) & 1);
    // Packets wait behind copies in the memory's queues, so only so many stages are under way at once.
    if (k.stage >= UNDER_WAY) counter_wait(&k.s.full[(k.stage - UNDER_WAY) % STAGES], (k.stage - UNDER_WAY) / STAGES & 1);
    u32 bytes = 0;
#pragma unroll
    for (int p = 0; p < F::PLANES; p++) bytes += cols / F::LEN * F::bytes(p) * 8 * tiles;
    if (k.lane == 0) counter_expect(&k.s.full[slot], bytes);
    __syncwarp();
    if (k.lane < 8 * tiles) {
      bool upper = k.lane >= 8;
      const u8* plane = upper ? second : first;
      u64 blocks = upper ? second_blocks : first_blocks;
      u32 row = (upper ? second_tile : first_tile) * 8 + k.lane % 8;
      u8* to = k.ring + slot * STAGE;
#pragma unroll
      for (int p = 0; p < F::PLANES; p++) {
        copy_bulk(to + stage_offset<F>(p) + k.lane * stage_stride<F>(p), plane + ((u64)row * (K / F::LEN) + at / F::LEN) * F::bytes(p), cols / F::LEN * F::bytes(p),
                  &k.s.full[slot], policy);
        plane += blocks * F::bytes(p);
      }
    }
    k.stage++;
  }
}

// A tile of q, k or v: which matrix, and where in it.
DEV u32 part_of(u32 tile, u32& at) {
  constexpr u32 queries = H * HD / 8, keys = KV * HD / 8;
  u32 part = tile < queries ? QUERY : tile < queries + keys ? KEY : VALUE;
  at = tile - (part == QUERY ? 0 : part == KEY ? queries : queries + keys);
  return part;
}
DEV u64 part_blocks(u32 part) { return (u64)(part == QUERY ? H * HD : KV * HD) * (D / LAYER_FORMAT::LEN); }

template <class F, u32 K> DEV void copy_rows(Token& k, const u8* weights, u32 rows, u64 policy) {
  Share share = share_of(rows / 8);
  u64 blocks = (u64)rows * (K / F::LEN);
  for (u32 i = 0; i < share.tiles; i += 2) copy_unit<F, K>(k, weights, blocks, share.first + i, weights, blocks, share.first + i + 1, min(share.tiles - i, 2u), policy);
}

DEV void copy_all(Token& k) {
  typedef LAYER_FORMAT F;
  u64 policy = read_once();
  for (u32 l = 0; l < LAYERS; l++) {
    const DecodeLayer& layer = k.s.layers[l];
    Share share = share_of(QKV / 8);
    for (u32 i = 0; i < share.tiles; i += 2) {
      u32 tiles = min(share.tiles - i, 2u), first_at, second_at;
      u32 first = part_of(share.first + i, first_at), second = part_of(share.first + i + tiles - 1, second_at);
      copy_unit<F, D>(k, layer.weights[first], part_blocks(first), first_at, layer.weights[second], part_blocks(second), second_at, tiles, policy);
    }
    copy_rows<F, H * HD>(k, layer.weights[OUTPUT], D, policy);
    share = share_of(FFN / 8);
    u64 blocks = (u64)FFN * (D / F::LEN);
    for (u32 i = 0; i < share.tiles; i++) copy_unit<F, D>(k, layer.weights[GATE], blocks, share.first + i, layer.weights[UP], blocks, share.first + i, 2, policy);
    copy_rows<F, FFN>(k, layer.weights[DOWN], D, policy);
  }
  copy_rows<HEAD_FORMAT, D>(k, k.a.head.weights, VOCAB, policy);
}
#endif
