// Tensors: products of matrices, float64 in float64, the other types in float32. A NaN in a result is always TENSOR_NAN.
//
// c[m][n] = sum over k of a[m][k] b[k][n], each operand with strides of its own, many products at once. A sum goes from k = 0
// on, one multiply-add after the other, whatever the size of the matrices and of the tiles.
//
// A block of 16 x 16 threads computes a tile of 16 EACH x 16 EACH; a thread EACH x EACH, in runs of 16 bytes. Sixteen k at a
// time go through shared memory, and the next sixteen are on their way in registers meanwhile.

// Strides in elements: from product to product, from row to row, from column to column.
struct Operand {
  const u8* at;
  u64 batch, row, column;
};

template <class T> struct __align__(16) Run {
  T x[16 / sizeof(T)];
};

template <int K, class T> DEV T element(const Operand& from, u64 place) {
  typename Stored<K>::Bits x = ((const typename Stored<K>::Bits*)from.at)[place];
  if constexpr (K == F16) return f16_value(x);
  else if constexpr (K == BF16) return bf16_value(x);
  else return x;
}

// A sum, rounded to the element type.
template <int K, class T> DEV void put_result(u8* out, u64 place, T sum) {
  bool nan = sum != sum;
  if constexpr (K == F64) ((double*)out)[place] = nan ? as_f64(TENSOR_NAN) : sum;
  if constexpr (K == F32) ((float*)out)[place] = nan ? __uint_as_float(0x7fc00000) : sum;
  if constexpr (K == F16) ((u16*)out)[place] = nan ? 0x7e00 : (u16)f16_pair(sum, 0);
  if constexpr (K == BF16) ((u16*)out)[place] = nan ? 0x7fc0 : bf16_bits(sum);
}

// Sixteen k of the TILE lines from `line` on, a thread's share of it. Neighbours read along the axis that lies together.
template <int K, class T, int EACH> struct Share {
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
      x[i] = at < lines && depth < ks ? element<K, T>(from, base + at * line_stride + depth * k_stride) : T(0);
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
  Share<K, T, EACH> a_share, b_share;
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
      // What lies behind the last k must not be added: -0 + 0 is 0.
      int deep = k - step < 16 ? (int)(k - step) : 16;
#pragma unroll 4
      for (int d = 0; d < deep; d++) {
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
PRODUCT(f64, F64, double, 4, 1)
PRODUCT(f32, F32, float, 4, 2)
PRODUCT(f16, F16, float, 4, 2)
PRODUCT(bf16, BF16, float, 4, 2)
PRODUCT(wide_f32, F32, float, 8, 1)
PRODUCT(wide_f16, F16, float, 8, 1)
PRODUCT(wide_bf16, BF16, float, 8, 1)
