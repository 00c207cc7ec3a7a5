// Instructions that only the products of panels use: integer, 8-bit float and two-of-four products, on one warp and, on Hopper,
// on four warps with both operands in shared memory.

#define FOUR(kind, s, i) kind(s[i][0]), kind(s[i][1]), kind(s[i][2]), kind(s[i][3])

// c += A B. A [16][32 bytes], B [8][32 bytes], both by rows; lane 4 g + t holds of A a0 (g, bytes 4t ..), a1 (g + 8, same), a2
// (g, 16 + 4t ..), a3 (g + 8, same), of B b0 (g, 4t ..), b1 (g, 16 + 4t ..), of C c0 c1 (g, 2t 2t+1), c2 c3 (g + 8, same).
DEV void mma_s8(int* c, const u32* a, u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#if __CUDA_ARCH__ >= 890
DEV void mma_e4m3(float* c, const u32* a, u32 b0, u32 b1) {
  asm volatile("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
#endif
// The same of 64 columns, of which A keeps two of each four: B's bytes 16 i + 4t .. are b[i]. places: of lane 4 g + t those of
// row g (t even) or g + 8 (t odd), columns 0 .. 31 (t < 2) or 32 .. 63: four bits a four, the lower place first.
DEV void mma_s8_sparse(int* c, const u32* a, const u32* b, u32 places) {
#if __CUDACC_VER_MAJOR__ * 10 + __CUDACC_VER_MINOR__ >= 125
#define MMA_SPARSE "mma.sp::ordered_metadata"
#else
#define MMA_SPARSE "mma.sp"
#endif
  asm volatile(MMA_SPARSE ".sync.aligned.m16n8k64.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9,%10,%11}, {%0,%1,%2,%3}, %12, 0x0;"
               : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(places));
}

#if __CUDA_ARCH_FEAT_SM90_ALL
// Copies bytes (a multiple of 16) from device memory that others read, too, counted by `counter`.
DEV void copy_shared(void* to, const void* from, u32 bytes, u64* counter) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared_address(to)), "l"(from),
               "r"(bytes), "r"(shared_address(counter))
               : "memory");
}
// Rows of 16 bytes, eight of them 128 bytes; `piece_bytes` on the way to a row's next 16 bytes.
DEV u64 wgmma_pieces(u32 at, u32 piece_bytes) { return (u64)(at >> 4 & 0x3fff) | (u64)(piece_bytes >> 4) << 16 | 8ull << 32; }
#define SIXTEEN(kind, s, i) FOUR(kind, s, i), FOUR(kind, s, i + 1), FOUR(kind, s, i + 2), FOUR(kind, s, i + 3)
#define ALL_SUMS(kind, s)                                                                                             \
  SIXTEEN(kind, s, 0), SIXTEEN(kind, s, 4), SIXTEEN(kind, s, 8), SIXTEEN(kind, s, 12), SIXTEEN(kind, s, 16), SIXTEEN(kind, s, 20), \
      SIXTEEN(kind, s, 24), SIXTEEN(kind, s, 28)
#define SUM_NAMES                                                                                                     \
  "{" WGMMA_64 ","                                                                                                    \
  "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,"      \
  "%91,%92,%93,%94,%95,%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111,%112,%113,"        \
  "%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127}"
#define INTEGER(x) "+r"(x)
#define FLOATING(x) "+f"(x)
// s[64][256] = w[64] x[256] over 32 bytes of columns, added to s where `more`.
DEV void wgmma_s8(int (&s)[32][4], u64 w, u64 x, u32 more) {
  asm volatile("{.reg .pred p; setp.ne.b32 p, %130, 0;\nwgmma.mma_async.sync.aligned.m64n256k32.s32.s8.s8 " SUM_NAMES ", %128, %129, p;}\n"
               : ALL_SUMS(INTEGER, s)
               : "l"(w), "l"(x), "r"(more));
}
DEV void wgmma_e4m3(float (&s)[32][4], u64 w, u64 x, u32 more) {
  asm volatile("{.reg .pred p; setp.ne.b32 p, %130, 0;\nwgmma.mma_async.sync.aligned.m64n256k32.f32.e4m3.e4m3 " SUM_NAMES ", %128, %129, p, 1, 1;}\n"
               : ALL_SUMS(FLOATING, s)
               : "l"(w), "l"(x), "r"(more));
}
DEV void wgmma_f16(float (&s)[32][4], u64 w, u64 x, u32 more) {
  asm volatile("{.reg .pred p; setp.ne.b32 p, %130, 0;\nwgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16 " SUM_NAMES ", %128, %129, p, 1, 1, 0, 0;}\n"
               : ALL_SUMS(FLOATING, s)
               : "l"(w), "l"(x), "r"(more));
}
// The same over 64 columns, of which w keeps two of each four; places as in `mma_s8_sparse`.
DEV void wgmma_s8_sparse(int (&s)[32][4], u64 w, u64 x, u32 places, u32 more) {
  asm volatile("{.reg .pred p; setp.ne.b32 p, %131, 0;\nwgmma.mma_async.sp.sync.aligned.m64n256k64.s32.s8.s8 " SUM_NAMES ", %128, %129, %130, 0, p;}\n"
               : ALL_SUMS(INTEGER, s)
               : "l"(w), "l"(x), "r"(places), "r"(more));
}
#endif
