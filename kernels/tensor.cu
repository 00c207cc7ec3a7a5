// Tensors, element by element: arithmetic, conversions, copies of views.
//
// Everything is computed in float64 and rounded once to the element type, to nearest even, as the host does it
// (native/engine/src/tensor/elementwise.rs); so this is compiled without contraction. What is done with NaN is done on
// integers: a NaN that goes in comes out with its bits, made quiet; of two, the first; one that is new is TENSOR_NAN.
// Kernels of an element type end in its name. A thread handles four elements, a block's width apart.

#define TENSOR_SIGN 0x8000000000000000ull
#define TENSOR_INFINITY 0x7ff0000000000000ull
#define TENSOR_QUIET 0x0008000000000000ull
#define TENSOR_NAN 0x7ff8000000000000ull

// What is long is called, not copied to where it is used: the compiler takes its time for each copy.
#define CALLED static __device__ __noinline__

// Element types.
enum { F64 = 0, F32 = 1, F16 = 2, BF16 = 3 };

DEV double as_f64(u64 bits) { return __longlong_as_double((long long)bits); }
DEV u64 f64_bits(double x) { return (u64)__double_as_longlong(x); }
DEV bool is_nan(double x) { return x != x; }
DEV bool is_finite(double x) { return (f64_bits(x) & ~TENSOR_SIGN) < TENSOR_INFINITY; }
DEV double quiet(double x) { return x != x ? as_f64(f64_bits(x) | TENSOR_QUIET) : x; }
DEV double plain(double x) { return x != x ? as_f64(TENSOR_NAN) : x; }
// For operations that make a NaN of one.
DEV double with_nan(double a, double b, double result) {
  if (result == result) return result;
  if (is_nan(a)) return quiet(a);
  return is_nan(b) ? quiet(b) : as_f64(TENSOR_NAN);
}

// A NaN of E exponent and M fraction bits.
template <int E, int M> DEV double wide_nan(u32 bits) {
  return as_f64((u64)(bits >> (E + M)) << 63 | TENSOR_INFINITY | (u64)(bits & ((1u << M) - 1)) << (52 - M));
}
template <int E, int M> DEV u32 narrow_nan(u64 bits) {
  return (u32)((bits >> 63) << (E + M) | ((1ull << E) - 1) << M | (bits & 0xfffffffffffffull) >> (52 - M) | 1ull << (M - 1));
}
// A float32 that rounds to a type of fewer bits as the float64 itself does: cut, and odd where something was cut off
// (Boldo, Melquiond 2008).
DEV float cut(double x) {
  float low = __double2float_rz(x);
  return (double)low == x ? low : __uint_as_float(__float_as_uint(low) | 1);
}

template <int K> struct Stored { typedef u16 Bits; };
template <> struct Stored<F64> { typedef double Bits; };
template <> struct Stored<F32> { typedef float Bits; };

template <int K> DEV double load(const void* from, u64 i) {
  typename Stored<K>::Bits x = ((const typename Stored<K>::Bits*)from)[i];
  if constexpr (K == F64) return x;
  if constexpr (K == F32) {
    u32 bits = __float_as_uint(x);
    return (bits & 0x7fffffff) > 0x7f800000 ? wide_nan<8, 23>(bits) : (double)x;
  }
  if constexpr (K == F16) return (x & 0x7fff) > 0x7c00 ? wide_nan<5, 10>(x) : (double)f16_value(x);
  if constexpr (K == BF16) return (x & 0x7fff) > 0x7f80 ? wide_nan<8, 7>(x) : (double)bf16_value(x);
}
template <int K> DEV void store(void* to, u64 i, double x) {
  if constexpr (K == F64) ((double*)to)[i] = x;
  bool nan = x != x;
  if constexpr (K == F32) ((float*)to)[i] = nan ? __uint_as_float(narrow_nan<8, 23>(f64_bits(x))) : (float)x;
  if constexpr (K == F16) ((u16*)to)[i] = (u16)(nan ? narrow_nan<5, 10>(f64_bits(x)) : f16_pair(cut(x), 0));
  if constexpr (K == BF16) ((u16*)to)[i] = nan ? (u16)narrow_nan<8, 7>(f64_bits(x)) : bf16_bits(cut(x));
}
DEV double load_any(u32 type, const void* from, u64 i) {
  switch (type) {
    case F64: return load<F64>(from, i);
    case F32: return load<F32>(from, i);
    case F16: return load<F16>(from, i);
    default: return load<BF16>(from, i);
  }
}
DEV void store_any(u32 type, void* to, u64 i, double x) {
  switch (type) {
    case F64: return store<F64>(to, i, x);
    case F32: return store<F32>(to, i, x);
    case F16: return store<F16>(to, i, x);
    default: return store<BF16>(to, i, x);
  }
}

// Arithmetic.

DEV double add(double a, double b) { return with_nan(a, b, a + b); }
DEV double subtract(double a, double b) { return with_nan(a, b, a - b); }
DEV double multiply(double a, double b) { return with_nan(a, b, a * b); }
DEV double divide(double a, double b) { return with_nan(a, b, a / b); }
// Of a NaN in b nothing is seen in the comparison.
DEV double larger(double a, double b) { return b != b ? (a != a ? quiet(a) : quiet(b)) : with_nan(a, b, b > a ? b : a); }
DEV double smaller(double a, double b) { return b != b ? (a != a ? quiet(a) : quiet(b)) : with_nan(a, b, a > b ? b : a); }
DEV double negate(double x) { return quiet(as_f64(f64_bits(x) ^ TENSOR_SIGN)); }
DEV double exponential(double x) { return with_nan(x, 0, exp(x)); }
DEV double logarithm(double x) { return with_nan(x, 0, log(x)); }
DEV double square_root(double x) { return with_nan(x, 0, sqrt(x)); }
DEV double tangent(double x) { return with_nan(x, 0, tanh(x)); }

DEV double gelu(double x) {
  double argument = multiply(x, 0.70710678118654752);
  return multiply(multiply(0.5, x), add(1, with_nan(argument, 0, erf(argument))));
}
DEV double gelu_tanh(double x) {
  double cube = multiply(multiply(x, x), x);
  double inner = multiply(0.7978845608028654, add(x, multiply(0.044715, cube)));
  return multiply(multiply(0.5, x), add(1, tangent(inner)));
}

CALLED double unary(u32 op, double p, double q, double x) {
  switch (op) {
    case 0: return multiply(x, p);
    case 1: return smaller(larger(x, p), q);
    case 2: return exponential(x);
    case 3: return logarithm(x);
    case 4: return square_root(x);
    case 5: return tangent(x);
    case 6: return negate(x);
    case 7: return quiet(as_f64(f64_bits(x) & ~TENSOR_SIGN));
    case 8: return divide(1, add(1, exponential(negate(x))));
    case 9: return larger(x, 0);
    case 10: return divide(x, add(1, exponential(negate(x))));
    case 11: return gelu(x);
    default: return gelu_tanh(x);
  }
}
CALLED double binary(u32 op, double a, double b) {
  switch (op) {
    case 0: return add(a, b);
    case 1: return subtract(a, b);
    case 2: return multiply(a, b);
    case 3: return divide(a, b);
    case 4: return larger(a, b);
    default: return smaller(a, b);
  }
}

// Views.

#define TENSOR_AXES 12
// Where the elements of a view are, in row-major order: strides count elements, the last axis is the last one.
struct View {
  u64 lengths[TENSOR_AXES], strides[TENSOR_AXES];
  u32 axes, pad;
};
template <class Index> DEV u64 view_place(const View& view, Index i) {
  u64 place = 0;
#pragma unroll 1
  for (int axis = (int)view.axes - 1; axis > 0; axis--) {
    Index length = (Index)view.lengths[axis], outer = i / length;
    place += (u64)(i - outer * length) * view.strides[axis];
    i = outer;
  }
  return place + (u64)i * view.strides[0];
}
CALLED u64 far_place(const View& view, u64 i) { return view_place<u64>(view, i); }
// Division of 32 bits is much the cheaper one.
DEV u64 place(const View& view, u64 i) {
  if (view.axes == 1) return i * view.strides[0];
  return i >> 32 ? far_place(view, i) : view_place<u32>(view, (u32)i);
}

// The four elements of a thread.
#define EACH_ELEMENT(i, count)                                                                                        \
  _Pragma("unroll") for (u64 i = (u64)blockIdx.x * 1024 + threadIdx.x, end = i + 1024; i < end; i += 256) if (i < count)

// out[i] = op(a[i])
#define UNARY(NAME, K)                                                                                                \
  extern "C" __global__ void __launch_bounds__(256) tensor_unary_##NAME(u32 op, double p, double q, const u8* a, u8* out, u64 count) { \
    EACH_ELEMENT(i, count) store<K>(out, i, unary(op, p, q, load<K>(a, i)));                                          \
  }
UNARY(f64, F64)
UNARY(f32, F32)
UNARY(f16, F16)
UNARY(bf16, BF16)

// out[i] = op(a[..], b[..])
#define BINARY(NAME, K)                                                                                               \
  extern "C" __global__ void __launch_bounds__(256) tensor_binary_##NAME(u32 op, const u8* a, const __grid_constant__ View a_view, const u8* b, const __grid_constant__ View b_view, u8* out, u64 count) { \
    EACH_ELEMENT(i, count) store<K>(out, i, binary(op, load<K>(a, place(a_view, i)), load<K>(b, place(b_view, i))));   \
  }
BINARY(f64, F64)
BINARY(f32, F32)
BINARY(f16, F16)
BINARY(bf16, BF16)

// The same elements as another type.
extern "C" __global__ void __launch_bounds__(256) tensor_cast(u32 from, u32 to, const u8* a, u8* out, u64 count) {
  EACH_ELEMENT(i, count) store_any(to, out, i, quiet(load_any(from, a, i)));
}

// Copies of pieces of 2, 4, 8 or 16 bytes.
// tensor_copy: out[i] = a[view i]
// tensor_gather: [outer][length][run] -> [outer][wanted][run]; tensor_join: [outer][run] into [outer][pitch] from `first` on
#define COPIES(BYTES, Piece)                                                                                          \
  extern "C" __global__ void __launch_bounds__(256) tensor_copy_##BYTES(const Piece* a, const __grid_constant__ View view, Piece* out, u64 count) { \
    EACH_ELEMENT(i, count) out[i] = a[place(view, i)];                                                                \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(256) tensor_gather_##BYTES(const Piece* a, const u64* indices, Piece* out, u64 length, u64 wanted, u64 run, u64 count) { \
    EACH_ELEMENT(i, count) {                                                                                          \
      u64 line = i / run;                                                                                             \
      out[i] = a[(line / wanted * length + indices[line % wanted]) * run + i % run];                                  \
    }                                                                                                                 \
  }                                                                                                                   \
  extern "C" __global__ void __launch_bounds__(256) tensor_join_##BYTES(const Piece* a, Piece* out, u64 run, u64 pitch, u64 first, u64 count) { \
    EACH_ELEMENT(i, count) out[i / run * pitch + first + i % run] = a[i];                                             \
  }
COPIES(2, u16)
COPIES(4, u32)
COPIES(8, u64)
COPIES(16, uint4)
