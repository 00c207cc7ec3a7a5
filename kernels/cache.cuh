// The cache of keys and values: pages of PAGE positions, f32 (KV_FLOAT) or bf16; and the shape of the heads that it serves.

// Code for any model is compiled without H and KV, and for any width of a head up to HD_MOST without HD: the host puts them
// here once it is loaded.
#if !defined(H) || !defined(HD)
struct Shape {
  u32 heads, kv_heads, head_dim;
};
extern "C" {
__constant__ Shape shape;
}
#endif
#ifndef H
#define H shape.heads
#define KV shape.kv_heads
#endif
#ifdef HD
#define HD_MOST HD
#else
#define HD shape.head_dim
#endif

// What a position that is not seen scores.
#define NONE (-1e30f)
// Query heads of a key-value head.
#define GROUP (H / KV)

#if KV_FLOAT
typedef float KvT;
DEV float kv_value(KvT v) { return v; }
DEV KvT kv_bits(float v) { return v; }
#else
typedef u16 KvT;
DEV float kv_value(KvT v) { return bf16_value(v); }
DEV KvT kv_bits(float v) { return bf16_bits(v); }
#endif

// One head's keys of a page; its values follow those of all heads. Page: [layers][2][KV][PAGE][HD]
DEV KvT* page_keys(const Row& row, u32 layer, u32 head, u32 position) {
  return (KvT*)row.pages[position / PAGE] + ((u64)(layer * 2 * KV + head) * PAGE + position % PAGE) * HD;
}
#define VALUES_OFFSET ((u64)KV * PAGE * HD)
