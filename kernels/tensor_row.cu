// Tensors, row by row: many elements become one, or as many normalised ones; all in float64.
//
// The order of sums depends on the length of a row alone. A row of at most 64 is summed from left to right. A reduction cuts a
// longer one into segments of 4096: a warp each, a lane four sums of every 128th element, ((0 + 1) + (2 + 3)), then the lanes
// by exchanges; then a warp adds the segments' sums, every 32nd a lane. A sum of finite elements that does not come out
// finite is done again from left to right. A NaN in a result is always TENSOR_NAN.

#define SEGMENT 4096

enum { SUM = 0, SQUARES = 1, DEVIATIONS = 2, MAX = 3, MIN = 4, NON_FINITE = 5 };

// A number and where it is: ~0 is nowhere.
struct Found {
  double value;
  u64 index;
};

DEV double warp_sum_f64(double x) {
#pragma unroll
  for (int offset = 16; offset; offset >>= 1) x += __shfl_xor_sync(~0u, x, offset);
  return x;
}
// The first NaN, without one the first extreme.
DEV Found better(u32 op, Found a, Found b) {
  if (a.index == ~0ull) return b;
  if (b.index == ~0ull) return a;
  bool a_nan = is_nan(a.value), b_nan = is_nan(b.value), first = a.index < b.index;
  if (op == NON_FINITE || (a_nan && b_nan) || a.value == b.value) return first ? a : b;
  if (a_nan || b_nan) return a_nan ? a : b;
  return (op == MAX ? a.value > b.value : a.value < b.value) ? a : b;
}
DEV Found warp_better(u32 op, Found found) {
#pragma unroll
  for (int offset = 16; offset; offset >>= 1) {
    Found other;
    other.value = __shfl_xor_sync(~0u, found.value, offset);
    other.index = __shfl_xor_sync(~0u, found.index, offset);
    found = better(op, found, other);
  }
  return found;
}
DEV double term(u32 op, double x, double center) {
  if (op == SQUARES) return x * x;
  return op == DEVIATIONS ? (x - center) * (x - center) : x;
}

// A segment of `size` elements from `first` on, of a row that begins at `start`.
template <int K> DEV Found segment_sum(u32 op, const u8* a, u64 start, u64 first, u32 size, double center) {
  double sums[4] = {0, 0, 0, 0};
  for (u32 i = threadIdx.x % 32; i < size; i += 128) {
#pragma unroll
    for (int j = 0; j < 4; j++)
      if (i + 32 * j < size) sums[j] += term(op, load<K>(a, start + first + i + 32 * j), center);
  }
  Found found = {warp_sum_f64((sums[0] + sums[1]) + (sums[2] + sums[3])), 0};
  return found;
}
template <int K> DEV Found segment_best(u32 op, const u8* a, u64 start, u64 first, u32 size) {
  Found best = {0, ~0ull};
  for (u32 i = threadIdx.x % 32; i < size; i += 32) {
    Found found = {load<K>(a, start + first + i), first + i};
    if (op != NON_FINITE || !is_finite(found.value)) best = better(op, best, found);
  }
  return warp_better(op, best);
}

// a: [rows][length]; segments of a row, `tasks` in all, a warp each. centers: [rows], of DEVIATIONS.
#define REDUCE(NAME, K)                                                                                               \
  extern "C" __global__ void __launch_bounds__(256) tensor_reduce_##NAME(u32 op, const u8* a, u64 length, u64 segments, u64 tasks, const double* centers, Found* out) { \
    u64 task = (u64)blockIdx.x * 8 + threadIdx.x / 32;                                                                \
    if (task >= tasks) return;                                                                                        \
    u64 row = task / segments, first = task % segments * SEGMENT, left = length - first;                              \
    u32 size = left < SEGMENT ? (u32)left : SEGMENT;                                                                  \
    Found found = op <= DEVIATIONS ? segment_sum<K>(op, a, row * length, first, size, op == DEVIATIONS ? centers[row] : 0) \
                                   : segment_best<K>(op, a, row * length, first, size);                               \
    if (threadIdx.x % 32 == 0) out[task] = found;                                                                     \
  }
REDUCE(f64, F64)
REDUCE(f32, F32)
REDUCE(f16, F16)
REDUCE(bf16, BF16)

// What becomes of a row's total or best.
enum { VALUE = 0, OVER_LENGTH = 1, INDEX = 2 };

DEV void put_found(u32 what, Found total, u64 length, u32 to, u8* out, u64 row) {
  double x = what == INDEX ? (total.index == ~0ull ? -1 : (double)total.index) : total.value;
  store_any(to, out, row, plain(what == OVER_LENGTH ? x / (double)length : x));
}

// Short rows: a thread each, from left to right.
#define REDUCE_SHORT(NAME, K)                                                                                         \
  extern "C" __global__ void __launch_bounds__(256) tensor_reduce_short_##NAME(u32 op, u32 what, const u8* a, u32 length, const double* centers, u32 to, u8* out, u64 rows) { \
    u64 row = (u64)blockIdx.x * 256 + threadIdx.x;                                                                    \
    if (row >= rows) return;                                                                                          \
    double center = op == DEVIATIONS ? centers[row] : 0;                                                              \
    Found total = {0, ~0ull};                                                                                         \
    for (u32 i = 0; i < length; i++) {                                                                                \
      Found next = {load<K>(a, row * length + i), i};                                                                 \
      if (op <= DEVIATIONS) total.value += term(op, next.value, center);                                              \
      else if (op != NON_FINITE || !is_finite(next.value)) total = better(op, total, next);                           \
    }                                                                                                                 \
    put_found(what, total, length, to, out, row);                                                                     \
  }
REDUCE_SHORT(f64, F64)
REDUCE_SHORT(f32, F32)
REDUCE_SHORT(f16, F16)
REDUCE_SHORT(bf16, BF16)

// The sum from left to right, where there is no element that is not finite; for all lanes the same.
DEV double sum_again(u32 type, const u8* a, u64 start, u64 length, double total) {
  double strange = 0;
  for (u64 i = threadIdx.x % 32; i < length; i += 32) strange += is_finite(load_any(type, a, start + i)) ? 0 : 1;
  if (warp_sum_f64(strange) > 0) return total;
  double sum = 0;
  for (u64 i = 0; i < length; i++) sum += load_any(type, a, start + i);
  return sum;
}

// The segments of each row together, a warp a row. to: the result's type; a result that is a center keeps its NaN.
extern "C" __global__ void __launch_bounds__(256) tensor_reduced(u32 op, u32 what, const Found* parts, u64 segments, u32 type, const u8* a, u64 length, u32 to, u8* out, u64 rows) {
  u64 row = (u64)blockIdx.x * 8 + threadIdx.x / 32;
  if (row >= rows) return;
  Found total = {0, ~0ull};
  if (op <= DEVIATIONS) {
    for (u64 i = threadIdx.x % 32; i < segments; i += 32) total.value += parts[row * segments + i].value;
    total.value = warp_sum_f64(total.value);
    if (op == SUM && !is_finite(total.value)) total.value = sum_again(type, a, row * length, length, total.value);
  } else {
    for (u64 i = threadIdx.x % 32; i < segments; i += 32) total = better(op, total, parts[row * segments + i]);
    total = warp_better(op, total);
  }
  if (threadIdx.x % 32 == 0) put_found(what, total, length, to, out, row);
}

// As many results as elements. G threads share a row, an element in G each: a warp, or a block of 256.

enum { SOFTMAX = 0, LOG_SOFTMAX = 1, LAYER_NORM = 2, RMS_NORM = 3 };

template <int G> DEV double group_sum(double x) {
  x = warp_sum_f64(x);
  if constexpr (G == 32) return x;
  __shared__ double parts[8];
  __syncthreads();
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
  __syncthreads();
  double total = 0;
  for (int i = 0; i < 8; i++) total += parts[i];
  return total;
}
template <int G> DEV double group_max(double x) {
#pragma unroll
  for (int offset = 16; offset; offset >>= 1) x = larger(x, __shfl_xor_sync(~0u, x, offset));
  if constexpr (G == 32) return x;
  __shared__ double parts[8];
  __syncthreads();
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
  __syncthreads();
  for (int i = 0; i < 8; i++) x = larger(x, parts[i]);
  return x;
}

template <int K, int G> DEV void normalise(u32 op, double epsilon, const u8* a, u8* out, u64 start, u32 length) {
  u32 lane = threadIdx.x % G;
  if (op <= LOG_SOFTMAX) {
    double largest = as_f64(TENSOR_INFINITY | TENSOR_SIGN), sum = 0;
    for (u32 i = lane; i < length; i += G) largest = larger(largest, load<K>(a, start + i));
    largest = group_max<G>(largest);
    for (u32 i = lane; i < length; i += G) sum += exp(load<K>(a, start + i) - largest);
    sum = group_sum<G>(sum);
    double total = op == LOG_SOFTMAX ? log(sum) : sum;
    for (u32 i = lane; i < length; i += G) {
      double x = load<K>(a, start + i) - largest;
      store<K>(out, start + i, plain(op == LOG_SOFTMAX ? x - total : exp(x) / total));
    }
    return;
  }
  double mean = 0, squares = 0;
  if (op == LAYER_NORM) {
    for (u32 i = lane; i < length; i += G) mean += load<K>(a, start + i);
    mean = group_sum<G>(mean);
    if (!is_finite(mean)) mean = sum_again(K, a, start, length, mean);
    mean = mean / (double)length;
  }
  for (u32 i = lane; i < length; i += G) {
    double x = load<K>(a, start + i) - mean;
    squares += x * x;
  }
  double deviation = sqrt(group_sum<G>(squares) / (double)length + epsilon);
  for (u32 i = lane; i < length; i += G) store<K>(out, start + i, plain((load<K>(a, start + i) - mean) / deviation));
}

#define NORMALISE(NAME, K)                                                                                            \
  extern "C" __global__ void __launch_bounds__(256) tensor_short_rows_##NAME(u32 op, double epsilon, const u8* a, u8* out, u32 length, u64 rows) { \
    u64 row = (u64)blockIdx.x * 8 + threadIdx.x / 32;                                                                 \
    if (row < rows) normalise<K, 32>(op, epsilon, a, out, row * length, length);                                      \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(256) tensor_long_rows_##NAME(u32 op, double epsilon, const u8* a, u8* out, u32 length, u64 rows) { \
    normalise<K, 256>(op, epsilon, a, out, (u64)blockIdx.x * length, length);                                         \
  }
NORMALISE(f64, F64)
NORMALISE(f32, F32)
NORMALISE(f16, F16)
NORMALISE(bf16, BF16)
