// What happens between the products: norms, rotations, the write into the cache.

// out[n] = norm(x[from[n]]), or of x[n] where `from` is null; grid: rows, a block each.
extern "C" __global__ void __launch_bounds__(1024) norm_rows(Norm norm, const float* x, u32 x_stride, const u32* from, float* out, u32 out_stride, u32 width) {
  const float* row = x + (u64)(from ? from[blockIdx.x] : blockIdx.x) * x_stride;
  float2 moment = moments(row, width, norm);
  for (u32 i = threadIdx.x; i < width; i += blockDim.x)
    out[(u64)blockIdx.x * out_stride + i] = normed(row[i], moment, norm, i);
}

// x[n] += norm(delta[n])
extern "C" __global__ void __launch_bounds__(1024) add_norm(Norm norm, const float* delta, float* x, u32 stride, u32 width) {
  const float* row = delta + (u64)blockIdx.x * stride;
  float2 moment = moments(row, width, norm);
  for (u32 i = threadIdx.x; i < width; i += blockDim.x) x[(u64)blockIdx.x * stride + i] += normed(row[i], moment, norm, i);
}

// Norms of q and k, rotation, and the write of k and v into the cache.
// grid: (H + 2 KV, rows), a warp a head. table: float2 (cos, sin) [T][rotary / 2], magnitude applied.
extern "C" __global__ void __launch_bounds__(32) rotate(const Row* rows, u32 layer, float* query, const float* key, const float* value, u32 q_stride, u32 kv_stride,
                                                        Norm query_norm, Norm key_norm, const float2* table, const float2* long_table, u32 rotary) {
  const Row row = rows[blockIdx.y];
  u32 head = blockIdx.x, lane = threadIdx.x;
  bool is_query = head < H, is_value = head >= H + KV;
  float* own = query + (u64)blockIdx.y * q_stride + head * HD;
  const float* from = is_query ? own : is_value ? value + (u64)blockIdx.y * kv_stride + (head - H - KV) * HD : key + (u64)blockIdx.y * kv_stride + (head - H) * HD;
  constexpr int EACH = (HD_MOST + 31) / 32;
  __shared__ float x[HD_MOST];
  float own_x[EACH];
#pragma unroll
  for (int i = 0; i < EACH; i++) own_x[i] = i * 32 + lane < HD ? from[i * 32 + lane] : 0;
  // Field by field: a reference to one of two arguments would put both into local memory.
  Norm norm;
  norm.weight = is_query ? query_norm.weight : key_norm.weight;
  norm.bias = is_query ? query_norm.bias : key_norm.bias;
  norm.kind = is_query ? query_norm.kind : key_norm.kind;
  norm.eps = is_query ? query_norm.eps : key_norm.eps;
  if (!is_value && norm.weight) {
    float mean = 0, squares = 0;
    if (norm.kind == 1) {
#pragma unroll
      for (int i = 0; i < EACH; i++) mean += own_x[i];
      mean = warp_sum(mean) / HD;
    }
#pragma unroll
    for (int i = 0; i < EACH; i++)
      if (i * 32 + lane < HD) squares = fmaf(own_x[i] - mean, own_x[i] - mean, squares);
    float2 moment = make_float2(mean, 1 / sqrtf(warp_sum(squares) / HD + norm.eps));
#pragma unroll
    for (int i = 0; i < EACH; i++)
      if (i * 32 + lane < HD) own_x[i] = normed(own_x[i], moment, norm, i * 32 + lane);
  }
#pragma unroll
  for (int i = 0; i < EACH; i++)
    if (i * 32 + lane < HD) x[i * 32 + lane] = own_x[i];
  __syncwarp();
  const float2* angles = (row.is_long && long_table ? long_table : table) + (u64)row.position * (rotary / 2);
  KvT* store = is_query ? 0 : page_keys(row, layer, is_value ? head - H - KV : head - H, row.position) + (is_value ? VALUES_OFFSET : 0);
  u32 half = rotary / 2;
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    u32 at = i * 32 + lane;
    if (at >= HD) continue;
    float y = x[at];
    if (!is_value && at < rotary) {
      float2 angle = angles[at < half ? at : at - half];
      y = at < half ? x[at] * angle.x - x[at + half] * angle.y : x[at] * angle.x + x[at - half] * angle.y;
    }
    if (is_query) own[at] = y;
    else store[at] = kv_bits(y);
  }
}
