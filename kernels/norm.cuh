// Norms of rows, a block each.

// kind: 0 RMS, 1 layer norm; weight (the offset added) and bias f32 [width], bias may be null.
struct Norm {
  const float *weight, *bias;
  u32 kind;
  float eps;
};

// Mean and 1 / deviation over a block's row.
DEV float2 moments(const float* x, u32 width, const Norm& norm) {
  float mean = 0;
  if (norm.kind == 1) {
    float sum = 0;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) sum += x[i];
    mean = block_sum(sum) / width;
  }
  float squares = 0;
  for (u32 i = threadIdx.x; i < width; i += blockDim.x) squares = fmaf(x[i] - mean, x[i] - mean, squares);
  return make_float2(mean, 1 / sqrtf(block_sum(squares) / width + norm.eps));
}
DEV float normed(float x, float2 moment, const Norm& norm, u32 i) {
  float y = (x - moment.x) * moment.y * norm.weight[i];
  return norm.bias ? y + norm.bias[i] : y;
}
