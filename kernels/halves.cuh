// Rows as f16 with a power of two each, which gemm.cu multiplies: of weights here, of activations there.

// 2^(top - exponent of most), and its inverse in `inverse`; 1 for a row of zeros.
DEV float power_for(float most, int top, float* inverse) {
  int exponent = most > 0 ? max((int)(__float_as_uint(most) >> 23) - 127, -100) : top;
  *inverse = __uint_as_float((u32)(127 + exponent - top) << 23);
  return __uint_as_float((u32)(127 - exponent + top) << 23);
}
DEV float block_max(float value) {
  __shared__ float partial[32];
  value = warp_max(value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float most = partial[0];
  for (u32 i = 1; i < blockDim.x / 32; i++) most = fmaxf(most, partial[i]);
  return most;
}
DEV void store_f16(u16* at, const float* x, float power) {
  *(uint4*)at = make_uint4(f16_pair(x[0] * power, x[1] * power), f16_pair(x[2] * power, x[3] * power),
                           f16_pair(x[4] * power, x[5] * power), f16_pair(x[6] * power, x[7] * power));
}

// scale_<format>: scales[r] = 2^-p where 2^p brings row r's largest weight to 2^14. grid: rows.
template <class F> DEV void scale_row(const Matrix& w, float* scales) {
  float most = 0;
  for (u32 k = threadIdx.x * 8; k < w.cols; k += blockDim.x * 8) {
    float weights[8];
    weights_at<F>(w, blockIdx.x, k, weights);
#pragma unroll
    for (int i = 0; i < 8; i++) most = fmaxf(most, fabsf(weights[i]));
  }
  most = block_max(most);
  float inverse;
  power_for(most, 14, &inverse);
  if (threadIdx.x == 0) scales[blockIdx.x] = inverse;
}
// halve_<format>: out f16 [rows][cols] = W / scales. grid: rows.
template <class F> DEV void halve_row(const Matrix& w, const float* scales, u16* out) {
  float power = __uint_as_float((254u << 23) - __float_as_uint(scales[blockIdx.x]));
  for (u32 k = threadIdx.x * 8; k < w.cols; k += blockDim.x * 8) {
    float weights[8];
    weights_at<F>(w, blockIdx.x, k, weights);
    store_f16(out + (u64)blockIdx.x * w.cols + k, weights, power);
  }
}
#define HALVE(F)                                                                                                      \
  extern "C" __global__ void __launch_bounds__(256) scale_##F(Matrix w, float* scales) { scale_row<F>(w, scales); }   \
  extern "C" __global__ void __launch_bounds__(256) halve_##F(Matrix w, const float* scales, u16* out) {              \
    halve_row<F>(w, scales, out);                                                                                     \
  }
