// What all kernels share: sums, matrices, rows of a batch.
//
// The model's dimensions come as macros: D, H, KV, HD (see STYLE), PAGE and SPAN (positions), KV_FLOAT (1: the cache is
// f32, 0: bf16). Code for any model has H, KV and perhaps HD at run time: see cache.cuh.

DEV float warp_sum(float value) {
#pragma unroll
  for (int offset = 16; offset; offset >>= 1) value += __shfl_xor_sync(~0u, value, offset);
  return value;
}
DEV float warp_max(float value) {
#pragma unroll
  for (int offset = 16; offset; offset >>= 1) value = fmaxf(value, __shfl_xor_sync(~0u, value, offset));
  return value;
}
// The largest of numbers that are not negative: their bits have their order.
DEV float warp_most(float value) {
#if __CUDA_ARCH__ >= 800
  return __uint_as_float(__reduce_max_sync(~0u, __float_as_uint(value)));
#else
  return warp_max(value);
#endif
}
// Sum over a block of up to 1024 threads, the same for all; one fixed order.
DEV float block_sum(float value) {
  __shared__ float partial[32];
  int warps = blockDim.x / 32;
  value = warp_sum(value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
  __syncthreads();
  float total = 0;
  for (int i = 0; i < warps; i++) total += partial[i];
  return total;
}

// y = W x + bias; W: [rows, cols] in some format, cols padded to whole blocks and to a multiple of 8.
struct Matrix {
  const u8* weights;
  // Of F8_E4M3: f32 [rows][scale_blocks], one for each scale_cols columns.
  const float* scales;
  // f32 [rows], or null.
  const float* bias;
  u32 rows, cols, scale_cols, scale_blocks;
};

// A row of a batch: where its keys and values are, and which token stands at which position.
struct Row {
  // Device addresses of the cache's pages.
  const u64* pages;
  u32 position, token;
  // 1: the frequencies of long sequences.
  u32 is_long, pad;
};

// kind: 0 SiLU, 1 GELU (erf), 2 GELU (tanh), 3 ReLU.
DEV float activate(int kind, float x) {
  switch (kind) {
    case 0: return x / (1 + expf(-x));
    case 1: return 0.5f * x * (1 + erff(x * 0.70710678118654752f));
    case 2: return x / (1 + expf(-2 * 0.7978845608028654f * fmaf(0.044715f, x * x * x, x)));
    default: return fmaxf(x, 0);
  }
}
