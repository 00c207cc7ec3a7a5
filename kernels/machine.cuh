// The machine's own instructions, each behind a function: conversions, tensor-core products, copies that complete on a
// barrier in shared memory, packets, barriers. Nothing else in kernels/ is written in assembly.
//
// No CUDA header is included, so NVRTC alone compiles this.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char i8;
#define DEV static __device__ __forceinline__

DEV float f16_value(u16 bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}
DEV float bf16_value(u16 bits) { return __uint_as_float((u32)bits << 16); }
// Round to nearest even; NaN stays NaN.
DEV u16 bf16_bits(float value) {
  u16 bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
}
// Two numbers in a register, the first in the lower half; round to nearest even.
DEV u32 f16_pair(float low, float high) {
  u32 pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
DEV u32 bf16_pair(float low, float high) {
  u32 pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
DEV u32 f16_pair_subtract(u32 a, u32 b) {
  u32 pair;
  asm("sub.rn.f16x2 %0, %1, %2;" : "=r"(pair) : "r"(a), "r"(b));
  return pair;
}
DEV u32 f16_pair_fma(u32 a, u32 b, u32 c) {
  u32 pair;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(pair) : "r"(a), "r"(b), "r"(c));
  return pair;
}
// Two E4M3 codes as f16, exact.
DEV u32 e4m3_pair(u32 codes) {
#if __CUDA_ARCH__ >= 890
  u32 pair;
  asm("{ .reg .b16 low; cvt.u16.u32 low, %1; cvt.rn.f16x2.e4m3x2 %0, low; }" : "=r"(pair) : "r"(codes));
  return pair;
#else
  // The code's bits below an f16's sign are an f16 whose exponent is 8 too small, subnormals included.
  u32 wide = __byte_perm(codes, 0, 0x1404), pair, power = 0x5c005c00;  // bytes to the upper halves; 2^8 twice
  u32 small = (wide & 0x80008000) | (wide & 0x7f007f00) >> 1;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(pair) : "r"(small), "r"(power));
  return pair;
#endif
}

// c += A B on tensor cores, f32 sums. A [16][16], B [16][8], C [16][8]; lane 4 g + t holds of
//   A  a0 (g, 2t 2t+1), a1 (g + 8, same), a2 (g, 2t+8 2t+9), a3 (g + 8, same)
//   B  b0 (2t 2t+1, g), b1 (2t+8 2t+9, g);   C  c0 c1 (g, 2t 2t+1), c2 c3 (g + 8, same)
DEV void mma_f16(float* c, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
DEV void mma_bf16(float* c, u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// All dynamic shared memory of the block.
DEV u8* shared_memory() {
  extern __shared__ __align__(1024) u8 shared_bytes[];
  return shared_bytes;
}
DEV u32 shared_address(const void* at) { return (u32)__cvta_generic_to_shared(at); }

// 16 bytes into shared memory, later; zeros where not `wanted`.
DEV void copy_async(u32 to, const void* from, bool wanted) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(wanted ? 16 : 0) : "memory");
}
DEV void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until no more than N groups of this thread's copies are under way.
template <int N> DEV void copies_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
// Four 8 x 8 matrices of 16-bit elements from shared memory, as mma takes them; lane l names row l % 8 of matrix l / 8.
DEV void matrix_load(u32 at, u32* out) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(at)
               : "memory");
}
// The same, each matrix transposed.
DEV void matrix_load_across(u32 at, u32* out) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(at)
               : "memory");
}

// A barrier of `threads` threads of the block, by number (0 is __syncthreads).
DEV void barrier(u32 number, u32 threads) { asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory"); }

// Into the cache of the multiprocessor; the value is not looked at.
DEV void touch(const void* at) { asm volatile("{ .reg .u32 value; ld.global.ca.u32 value, [%0]; }" ::"l"(at)); }
DEV void prefetch(const void* at) { asm volatile("prefetch.global.L2 [%0];" ::"l"(at)); }

// The next kernel of the stream may begin, where its launch says that it follows so; until the kernel before this one is done.
DEV void let_next_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
DEV void wait_for_last() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// The first thing of a kernel that has nothing to do before it waits.
DEV void follow() { let_next_begin(), wait_for_last(); }

// A packet: a number in the lower half, its epoch in the upper; one store, so who sees the epoch sees the number.
DEV void packet_store(u64* at, u64 packet) { asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(at), "l"(packet) : "memory"); }
DEV u64 packet_load(const u64* at) {
  u64 packet;
  asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(packet) : "l"(at) : "memory");
  return packet;
}

// The packet where it is `wanted`; else what was there stays.
DEV void packet_load_if(const u64* at, u64& packet, bool wanted) {
  asm volatile("{ .reg .pred p; setp.ne.u32 p, %2, 0; @p ld.relaxed.gpu.global.u64 %0, [%1]; }" : "+l"(packet) : "l"(at), "r"((u32)wanted) : "memory");
}
// Two packets side by side, 16-byte aligned; each is whole.
DEV void packets_load_if(const u64* at, u64& first, u64& second, bool wanted) {
  asm volatile("{ .reg .pred p; setp.ne.u32 p, %3, 0; @p ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2]; }"
               : "+l"(first), "+l"(second)
               : "l"(at), "r"((u32)wanted)
               : "memory");
}


// Registers of each thread of a warpgroup from here on; all its threads call it.
template <int N> DEV void registers_more() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
#endif
}
template <int N> DEV void registers_fewer() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
#endif
}

#if __CUDA_ARCH__ >= 900
// Barriers in shared memory that count arrivals and, of copies, bytes. A phase ends when both are complete.
DEV void counter_init(u64* counter, u32 arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(counter)), "r"(arrivals) : "memory");
}
DEV void counter_publish() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
DEV void counter_arrive(u64* counter) {
  asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(shared_address(counter)) : "memory");
}
DEV void counter_expect(u64* counter, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(counter)), "r"(bytes) : "memory");
}
// What this thread has read is read, before a copy overwrites it: a counter alone does not order loads before copies.
DEV void reads_end() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Waits for the end of the phase of this parity.
DEV void counter_wait(u64* counter, u32 parity) {
  u32 done;
  do {
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(done)
                 : "r"(shared_address(counter)), "r"(parity)
                 : "memory");
  } while (!done);
}
// Copies bytes (a multiple of 16) from device memory that is read once, counted by `counter`.
DEV void copy_bulk(void* to, const void* from, u32 bytes, u64* counter, u64 policy) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(counter)), "l"(policy)
      : "memory");
}
DEV u64 read_once() {
  u64 policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}
#endif

#if __CUDA_ARCH_FEAT_SM90_ALL
// Products of whole warpgroups, both operands in shared memory.
// Rows of 128 bytes, eight of them 1024 bytes, their 16-byte pieces exchanged by the row's number.
DEV u64 wgmma_operand(u32 at) { return (u64)(at >> 4 & 0x3fff) | 1ull << 16 | 64ull << 32 | 1ull << 62; }
DEV void wgmma_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEV void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until at most N of what was committed is under way.
template <int N> DEV void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }
DEV void wgmma_end() { wgmma_commit(), wgmma_wait<0>(); }
// Sums, or operands in registers, are what they are, and may be used otherwise, only from here on. Each keeps its type: a copy into
// a register of another one counts as a use before the end.
DEV void wgmma_settle(float& x) { asm volatile("" : "+f"(x)::"memory"); }
DEV void wgmma_settle(u32& x) { asm volatile("" : "+r"(x)::"memory"); }
DEV void wgmma_settle(int& x) { asm volatile("" : "+r"(x)::"memory"); }
template <class T, int N> DEV void wgmma_settle(T (&s)[N][4]) {
#pragma unroll
  for (int i = 0; i < N; i++)
#pragma unroll
    for (int j = 0; j < 4; j++) wgmma_settle(s[i][j]);
}
// What this thread's copies wrote is there for wgmma, too.
DEV void wgmma_sees() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
#define WGMMA_FOUR(s, i) "+f"(s[i][0]), "+f"(s[i][1]), "+f"(s[i][2]), "+f"(s[i][3])
#define WGMMA_SUMS(s, i) WGMMA_FOUR(s, i), WGMMA_FOUR(s, i + 1), WGMMA_FOUR(s, i + 2), WGMMA_FOUR(s, i + 3)
// The first 32 and 64 operands of an instruction.
#define WGMMA_32                                                                                                      \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define WGMMA_64                                                                                                      \
  WGMMA_32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define WGMMA_F16(COLUMNS, SUMS, MORE)                                                                                \
  "{.reg .pred p; setp.ne.b32 p, 1, 0;\nwgmma.mma_async.sync.aligned.m64n" COLUMNS "k16.f32.f16.f16 {" SUMS "}, " MORE ";}\n"
// s[64 tokens][rows] += x[64][16] w[rows][16]
DEV void wgmma(float (&s)[16][4], u64 x, u64 w) {
  asm volatile(WGMMA_F16("128", WGMMA_64, "%64, %65, p, 1, 1, 0, 0")
               : WGMMA_SUMS(s, 0), WGMMA_SUMS(s, 4), WGMMA_SUMS(s, 8), WGMMA_SUMS(s, 12)
               : "l"(x), "l"(w));
}
DEV void wgmma(float (&s)[8][4], u64 x, u64 w) {
  asm volatile(WGMMA_F16("64", WGMMA_32, "%32, %33, p, 1, 1, 0, 0") : WGMMA_SUMS(s, 0), WGMMA_SUMS(s, 4) : "l"(x), "l"(w));
}
// s[64 rows][tokens] += w[64][16] x[tokens][16]; w in registers, as operand A of `mma_f16` for 16 rows of each warp. They are read
// until `wgmma_wait`.
DEV void wgmma(float (&s)[16][4], const u32 (&w)[4], u64 x) {
  asm volatile(WGMMA_F16("128", WGMMA_64, "{%64,%65,%66,%67}, %68, p, 1, 1, 0")
               : WGMMA_SUMS(s, 0), WGMMA_SUMS(s, 4), WGMMA_SUMS(s, 8), WGMMA_SUMS(s, 12)
               : "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3]), "l"(x));
}
DEV void wgmma(float (&s)[8][4], const u32 (&w)[4], u64 x) {
  asm volatile(WGMMA_F16("64", WGMMA_32, "{%32,%33,%34,%35}, %36, p, 1, 1, 0")
               : WGMMA_SUMS(s, 0), WGMMA_SUMS(s, 4)
               : "r"(w[0]), "r"(w[1]), "r"(w[2]), "r"(w[3]), "l"(x));
}
#endif
