// gemv_<format>_m<M>: y[m] = W x[m] for M rows of activations.
//
//   W      [rows, cols] in <format>; x f32 [M][x_stride]; y f32 [M][y_stride]
//   grid   (rows / 8, rows of the batch / M), 8 warps, a warp an output row; a lane takes eight columns of 256
//   bytes  the matrix once for each M rows, x from the caches; four or eight loads of a lane in flight
//
// One sum order whatever M is: a row's numbers do not depend on its company. Weights are dequantized exactly, sums f32.
// What happens to a product (mode): 0 y = p, 1 y += p, 2 y = act(gate) p, 3 y = act(p), 4 y = cap tanh(p / cap).

template <class F, int M>
DEV void gemv(const Matrix& w, const float* x, u32 x_stride, float* y, u32 y_stride, u32 count, u32 mode, u32 activation,
              const float* gate, float cap) {
  u32 row = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32, first = blockIdx.y * M;
  if (row >= w.rows) return;
  float sums[M];
#pragma unroll
  for (int m = 0; m < M; m++) sums[m] = 0;
  constexpr int STEPS = M == 1 && F::LEN < 256 ? 8 : 4;
  for (u32 start = lane * 8; start < w.cols; start += 256 * STEPS) {
    // No branch lies between these loads, so that all are under way before the first is waited for; beyond the end a
    // lane reads its last columns again and does not count them.
    float weights[STEPS][8];
#pragma unroll
    for (int s = 0; s < STEPS; s++) unscaled_at<F>(w, row, min(start + 256 * s, w.cols - 8), weights[s]);
#pragma unroll
    for (int s = 0; s < STEPS; s++) {
      u32 k = start + 256 * s;
      if (k >= w.cols) continue;
      apply_scales<F>(w, row, k, weights[s]);
#pragma unroll
      for (int m = 0; m < M; m++) {
        if (M > 1 && first + m >= count) continue;
        const float4* from = (const float4*)(x + (u64)(first + m) * x_stride + k);
        float4 a = from[0], b = from[1];
        sums[m] = fmaf(weights[s][0], a.x, sums[m]), sums[m] = fmaf(weights[s][1], a.y, sums[m]);
        sums[m] = fmaf(weights[s][2], a.z, sums[m]), sums[m] = fmaf(weights[s][3], a.w, sums[m]);
        sums[m] = fmaf(weights[s][4], b.x, sums[m]), sums[m] = fmaf(weights[s][5], b.y, sums[m]);
        sums[m] = fmaf(weights[s][6], b.z, sums[m]), sums[m] = fmaf(weights[s][7], b.w, sums[m]);
      }
    }
  }
#pragma unroll
  for (int m = 0; m < M; m++) {
    float product = warp_sum(sums[m]);
    if (lane != 0 || first + m >= count) continue;
    if (w.bias) product += w.bias[row];
    u64 at = (u64)(first + m) * y_stride + row;
    switch (mode) {
      case 0: y[at] = product; break;
      case 1: y[at] += product; break;
      case 2: y[at] = activate(activation, gate[at]) * product; break;
      case 3: y[at] = activate(activation, product); break;
      default: y[at] = cap * tanhf(product / cap);
    }
  }
}

#define GEMV_M(F, M)                                                                                                  \
  extern "C" __global__ void __launch_bounds__(256, M == 1 ? 2 : 1)                                                               \
      gemv_##F##_m##M(Matrix w, const float* x, u32 x_stride, float* y, u32 y_stride, u32 count, u32 mode,            \
                      u32 activation, const float* gate, float cap) {                                                 \
    gemv<F, M>(w, x, x_stride, y, y_stride, count, mode, activation, gate, cap);                                      \
  }
#define GEMV(F) GEMV_M(F, 1) GEMV_M(F, 2) GEMV_M(F, 4) GEMV_M(F, 8)

// embed_<format>: x[n] = scale * W[token of row n]; grid: rows of the batch.
template <class F> DEV void embed(const Matrix& w, const Row* rows, float* x, u32 x_stride, float scale) {
  u32 token = rows[blockIdx.x].token;
  for (u32 k = threadIdx.x * 8; k < w.cols; k += blockDim.x * 8) {
    float weights[8];
    weights_at<F>(w, token, k, weights);
#pragma unroll
    for (int i = 0; i < 8; i++)
      if (k + i < D) x[(u64)blockIdx.x * x_stride + k + i] = __fmul_rn(weights[i], scale);
  }
}
#define EMBED(F)                                                                                                      \
  extern "C" __global__ void embed_##F(Matrix w, const Row* rows, float* x, u32 x_stride, float scale) {              \
    embed<F>(w, rows, x, x_stride, scale);                                                                            \
  }

// dequantize_<format>: the whole matrix as f32 [rows][cols], for tests.
#define DEQUANTIZE(F)                                                                                                 \
  extern "C" __global__ void dequantize_##F(Matrix w, float* out) {                                                   \
    for (u32 k = threadIdx.x * 8; k < w.cols; k += blockDim.x * 8)                                                    \
      weights_at<F>(w, blockIdx.x, k, out + (u64)blockIdx.x * w.cols + k);                                            \
  }
