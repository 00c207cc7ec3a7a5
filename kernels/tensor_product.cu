// Tensors: products of matrices, float64 in float64, the other types in float32. A NaN in a result is always TENSOR_NAN.
//
// c[m][n] = sum over k of a[m][k] b[k][n], each operand with strides of its own, many products at once. The order of a sum
// depends on k alone, not on the sizes of matrices and tiles: of float64 and float32 it goes from k = 0 on, one multiply-add
// after the other.
//
// Of these a block of 16 x 16 threads computes a tile of 16 EACH x 16 EACH; a thread EACH x EACH, in runs of 16 bytes. Sixteen k at a
// time go through shared memory, and the next sixteen are on their way in registers meanwhile.

// Strides in elements: from product to product, from row to row, from column to column.
struct Operand {
  const u8* at;
  u64 batch, row, column;
};

template <class T> struct __align__(16) Run {
  T x[16 / sizeof(T)];
};

// A sum, rounded to the element type.
template <int K, class T> DEV void put_result(u8* out, u64 place, T sum) {
  bool nan = sum != sum;
  if constexpr (K == F64) ((double*)out)[place] = nan ? as_f64(TENSOR_NAN) : sum;
  if constexpr (K == F32) ((float*)out)[place] = nan ? __uint_as_float(0x7fc00000) : sum;
  if constexpr (K == F16) ((u16*)out)[place] = nan ? 0x7e00 : (u16)f16_pair(sum, 0);
  if constexpr (K == BF16) ((u16*)out)[place] = nan ? 0x7fc0 : bf16_bits(sum);
}

// Sixteen k of the TILE lines from `line` on, a thread's share of it. Neighbours read along the axis that lies together.
template <class T, int EACH> struct Share {
  T x[EACH];
  u32 line[2], k[2];
  u64 line_stride, k_stride;
  bool along_k;
  __device__ __forceinline__ void begin(u64 line_stride_, u64 k_stride_) {
    line_stride = line_stride_, k_stride = k_stride_, along_k = k_stride_ <= line_stride_;
    line[0] = along_k ? threadIdx.x / 16 : threadIdx.x % (16 * EACH), line[1] = along_k ? 16 : 0;
    k[0] = along_k ? threadIdx.x % 16 : threadIdx.x / (16 * EACH), k[1] = along_k ? 0 : 16 / EACH;
  }
  __device__ __forceinline__ void fetch(const Operand& from, u64 base, u64 first, u64 lines, u64 first_k, u64 ks) {
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      u64 at = first + line[0] + i * line[1], depth = first_k + k[0] + i * k[1];
      x[i] = at < lines && depth < ks ? ((const T*)from.at)[base + at * line_stride + depth * k_stride] : T(0);
    }
  }
  __device__ __forceinline__ void put(T* shared, u32 pitch) {
#pragma unroll
    for (int i = 0; i < EACH; i++) shared[(k[0] + i * k[1]) * pitch + line[0] + i * line[1]] = x[i];
  }
};

template <int K, class T, int EACH> DEV void multiply_tile(const Operand& a, const Operand& b, u8* out, u64 m, u64 k, u64 n, u64 count) {
  constexpr int TILE = 16 * EACH, LONG = 16 / sizeof(T), PITCH = TILE + LONG;
  __shared__ __align__(16) T a_shared[16 * PITCH];
  __shared__ __align__(16) T b_shared[16 * PITCH];
  u64 across = (n + TILE - 1) / TILE, first_row = blockIdx.x / across * TILE, first_column = blockIdx.x % across * TILE;
  u32 ty = threadIdx.x / 16, tx = threadIdx.x % 16;
  Share<T, EACH> a_share, b_share;
  a_share.begin(a.row, a.column), b_share.begin(b.column, b.row);
  for (u64 product = blockIdx.y; product < count; product += gridDim.y) {
    T sums[EACH][EACH];
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
      for (int j = 0; j < EACH; j++) sums[i][j] = 0;
    a_share.fetch(a, product * a.batch, first_row, m, 0, k);
    b_share.fetch(b, product * b.batch, first_column, n, 0, k);
    for (u64 step = 0; step < k; step += 16) {
      a_share.put(a_shared, PITCH), b_share.put(b_shared, PITCH);
      __syncthreads();
      if (step + 16 < k) {
        a_share.fetch(a, product * a.batch, first_row, m, step + 16, k);
        b_share.fetch(b, product * b.batch, first_column, n, step + 16, k);
      }
      // What lies behind the last k is zeros, which change no sum: none of them is -0.
#pragma unroll 4
      for (int d = 0; d < 16; d++) {
        T left[EACH], right[EACH];
#pragma unroll
        for (int g = 0; g < EACH / LONG; g++) {
          Run<T> rows = *(const Run<T>*)(a_shared + d * PITCH + (g * 16 + ty) * LONG);
          Run<T> columns = *(const Run<T>*)(b_shared + d * PITCH + (g * 16 + tx) * LONG);
#pragma unroll
          for (int i = 0; i < LONG; i++) left[g * LONG + i] = rows.x[i], right[g * LONG + i] = columns.x[i];
        }
#pragma unroll
        for (int i = 0; i < EACH; i++)
#pragma unroll
          for (int j = 0; j < EACH; j++) sums[i][j] = fma(left[i], right[j], sums[i][j]);
      }
      __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
      for (int j = 0; j < EACH; j++) {
        u64 row = first_row + (i / LONG * 16 + ty) * LONG + i % LONG, column = first_column + (j / LONG * 16 + tx) * LONG + j % LONG;
        if (row < m && column < n) put_result<K>(out, (product * m + row) * n + column, sums[i][j]);
      }
  }
}

// grid: tiles, products. Small tiles for small products: more blocks.
#define PRODUCT(NAME, K, T, EACH, BLOCKS)                                                                             \
  extern "C" __global__ void __launch_bounds__(256, BLOCKS) tensor_product_##NAME(const __grid_constant__ Operand a, const __grid_constant__ Operand b, u8* out, u64 m, u64 k, u64 n, u64 count) { \
    multiply_tile<K, T, EACH>(a, b, out, m, k, n, count);                                                             \
  }
PRODUCT(f64, F64, double, 4, 2)
PRODUCT(f32, F32, float, 4, 2)
PRODUCT(wide_f32, F32, float, 8, 1)

// Products of halves on tensor cores: a block a tile of 128 x 128, eight warps, each 32 x 64; 32 k at a time, two stages in
// shared memory. Sums of 16 products each are added from k = 0 on; what lies behind the last k is zeros.

#define HALF_DEPTH 32
// Of a tile whose k lie together: a line's k, padded; of the other kind: a k's lines.
#define DEPTH_PITCH 40
#define LINES_PITCH 136
#define HALF_STAGE 5120

// Up to eight elements a step apart, zeros behind them.
CALLED uint4 some_halves(const u16* from, u64 step, u64 left) {
  u32 word[4] = {0, 0, 0, 0};
#pragma unroll
  for (int j = 0; j < 8; j++)
    if (j < left) word[j / 2] |= (u32)from[j * step] << j % 2 * 16;
  uint4 all = {word[0], word[1], word[2], word[3]};
  return all;
}

// The 128 lines from `first` on of an operand, a thread's share: two pieces of eight elements, along k or along the lines.
struct Halves {
  const u16* at;
  u64 first, lines, ks, line_stride, k_stride;
  uint4 x[2];
  bool along_k, whole;
  __device__ __forceinline__ void begin(const u8* at_, u64 base, u64 first_, u64 lines_, u64 ks_, u64 line_stride_, u64 k_stride_) {
    at = (const u16*)at_ + base, first = first_, lines = lines_, ks = ks_, line_stride = line_stride_, k_stride = k_stride_;
    along_k = k_stride <= line_stride;
    whole = (along_k ? k_stride : line_stride) == 1 && (along_k ? line_stride : k_stride) % 8 == 0 && (u64)at % 16 == 0;
  }
  __device__ __forceinline__ void fetch(u64 first_k) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      u32 piece = threadIdx.x + 256 * i;
      u64 line = first + (along_k ? piece / 4 : piece % 16 * 8), k = first_k + (along_k ? piece % 4 * 8 : piece / 16);
      u64 left = along_k ? (line < lines && k < ks ? ks - k : 0) : (line < lines && k < ks ? lines - line : 0);
      const u16* from = at + line * line_stride + k * k_stride;
      if (whole && left >= 8) x[i] = *(const uint4*)from;
      else x[i] = some_halves(from, along_k ? k_stride : line_stride, left);
    }
  }
  __device__ __forceinline__ void put(u16* shared) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
      u32 piece = threadIdx.x + 256 * i;
      u32 place = along_k ? piece / 4 * DEPTH_PITCH + piece % 4 * 8 : piece / 16 * LINES_PITCH + piece % 16 * 8;
      *(uint4*)(shared + place) = x[i];
    }
  }
  // Four 8 x 8 matrices of lines by k, (line + 8 a, k + 8 b), where `deep_first` says that b changes first.
  __device__ __forceinline__ void load(const u16* shared, u32 line, u32 k, bool deep_first, u32* out) {
    u32 lane = threadIdx.x % 32, a = deep_first ? lane / 16 : lane / 8 % 2, b = deep_first ? lane / 8 % 2 : lane / 16;
    if (along_k) matrix_load(shared_address(shared + (line + a * 8 + lane % 8) * DEPTH_PITCH + k + b * 8), out);
    else matrix_load_across(shared_address(shared + (k + b * 8 + lane % 8) * LINES_PITCH + line + a * 8), out);
  }
};

template <int K> DEV void multiply_halves(const Operand& a, const Operand& b, u8* out, u64 m, u64 k, u64 n, u64 count) {
  __shared__ __align__(16) u16 a_shared[2 * HALF_STAGE];
  __shared__ __align__(16) u16 b_shared[2 * HALF_STAGE];
  u64 across = (n + 127) / 128, first_row = blockIdx.x / across * 128, first_column = blockIdx.x % across * 128;
  u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, own_row = warp / 2 * 32, own_column = warp % 2 * 64;
  for (u64 product = blockIdx.y; product < count; product += gridDim.y) {
    Halves left, right;
    left.begin(a.at, product * a.batch, first_row, m, k, a.row, a.column);
    right.begin(b.at, product * b.batch, first_column, n, k, b.column, b.row);
    float sums[2][8][4];
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int j = 0; j < 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) sums[i][j][e] = 0;
    left.fetch(0), right.fetch(0);
    left.put(a_shared), right.put(b_shared);
    __syncthreads();
    u32 stage = 0;
    for (u64 step = 0; step < k; step += HALF_DEPTH) {
      bool more = step + HALF_DEPTH < k;
      if (more) left.fetch(step + HALF_DEPTH), right.fetch(step + HALF_DEPTH);
#pragma unroll
      for (int d = 0; d < HALF_DEPTH; d += 16) {
        u32 rows[2][4], columns[4][4];
#pragma unroll
        for (int i = 0; i < 2; i++) left.load(a_shared + stage * HALF_STAGE, own_row + i * 16, d, false, rows[i]);
#pragma unroll
        for (int j = 0; j < 4; j++) right.load(b_shared + stage * HALF_STAGE, own_column + j * 16, d, true, columns[j]);
#pragma unroll
        for (int i = 0; i < 2; i++)
#pragma unroll
          for (int j = 0; j < 8; j++) {
            const u32 *x = rows[i], *y = columns[j / 2] + j % 2 * 2;
            if constexpr (K == F16) mma_f16(sums[i][j], x[0], x[1], x[2], x[3], y[0], y[1]);
            else mma_bf16(sums[i][j], x[0], x[1], x[2], x[3], y[0], y[1]);
          }
      }
      stage ^= 1;
      if (more) left.put(a_shared + stage * HALF_STAGE), right.put(b_shared + stage * HALF_STAGE);
      __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int j = 0; j < 8; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
          u64 row = first_row + own_row + i * 16 + lane / 4 + e / 2 * 8, column = first_column + own_column + j * 8 + lane % 4 * 2 + e % 2;
          if (row < m && column < n) put_result<K>(out, (product * m + row) * n + column, sums[i][j][e]);
        }
  }
}

#define PRODUCT_OF_HALVES(NAME, K)                                                                                    \
  extern "C" __global__ void __launch_bounds__(256) tensor_product_##NAME(const __grid_constant__ Operand a, const __grid_constant__ Operand b, u8* out, u64 m, u64 k, u64 n, u64 count) { \
    multiply_halves<K>(a, b, out, m, k, n, count);                                                                    \
  }
PRODUCT_OF_HALVES(f16, F16)
PRODUCT_OF_HALVES(bf16, BF16)
