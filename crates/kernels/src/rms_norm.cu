// Root-mean-square normalisation, forward and backward (the twin of rms_norm.rs).
//
// Layout: x, out, gradients (T, C) row by row; weight (C,). `x`, the residual stream, and its gradient may be f32 (X)
// where all else is bf16 (T): the kernels called `wide`. A warp takes a row: it reads the row
// twice, the second time from the cache. The weight's gradient is a sum over rows: each block sums
// ROWS_A_BLOCK rows into its line of `partial` (blocks, C), and `sum_lines` adds the lines in order.
//
// Launch: forward and backward <<<ceil(T / 4), 128>>>;
// weight_gradient <<<(ceil(C / 32 packs), ceil(T / ROWS_A_BLOCK)), 256>>>.

#include "cuda/columns.cuh"

namespace {

template <typename T, typename X>
__device__ void forward(T* out, float* inverse_rms, const X* x, const T* weight, u64 rows, u32 channels,
                        float epsilon) {
  const u64 row = u64(blockIdx.x) * (blockDim.x / WARP) + threadIdx.x / WARP;
  if (row >= rows) return;
  const u32 lane = threadIdx.x % WARP;
  const bool aligned = in_packs<T>(channels);
  x += row * channels;
  out += row * channels;
  float squares = 0.0f;
  for (u32 c = lane * PACK<T>; c < channels; c += WARP * PACK<T>) {
    float values[PACK<T>];
    load_packs(values, x + c, channels - c, aligned);
#pragma unroll
    for (u32 i = 0; i < PACK<T>; ++i) squares += values[i] * values[i];
  }
  const float scale = rsqrtf(warp_sum(squares) / channels + epsilon);
  if (lane == 0) inverse_rms[row] = scale;
  for (u32 c = lane * PACK<T>; c < channels; c += WARP * PACK<T>) {
    float values[PACK<T>], weights[PACK<T>];
    load_packs(values, x + c, channels - c, aligned);
    load_pack(weights, weight + c, channels - c, aligned);
#pragma unroll
    for (u32 i = 0; i < PACK<T>; ++i) values[i] = weights[i] * (values[i] * scale);
    store_pack(out + c, values, channels - c, aligned);
  }
}

// With n = x / rms(x) and h = w dy: dx = (h - n mean(h n)) / rms(x), added to `sum` if `accumulate`:
// that is where the gradient of the residual stream joins.
template <typename T, typename X>
__device__ void backward(X* sum, const T* gradient, const X* x, const T* weight, const float* inverse_rms,
                         u64 rows, u32 channels, u32 accumulate) {
  const u64 row = u64(blockIdx.x) * (blockDim.x / WARP) + threadIdx.x / WARP;
  if (row >= rows) return;
  const u32 lane = threadIdx.x % WARP;
  const bool aligned = in_packs<T>(channels);
  const u64 start = row * channels;
  const float scale = inverse_rms[row];
  float dot = 0.0f;
  for (u32 c = lane * PACK<T>; c < channels; c += WARP * PACK<T>) {
    float values[PACK<T>], weights[PACK<T>], gradients[PACK<T>];
    load_packs(values, x + start + c, channels - c, aligned);
    load_pack(weights, weight + c, channels - c, aligned);
    load_pack(gradients, gradient + start + c, channels - c, aligned);
#pragma unroll
    for (u32 i = 0; i < PACK<T>; ++i) dot += weights[i] * gradients[i] * values[i];
  }
  const float mean = warp_sum(dot) * scale / channels * scale;
  for (u32 c = lane * PACK<T>; c < channels; c += WARP * PACK<T>) {
    float values[PACK<T>], weights[PACK<T>], gradients[PACK<T>], sums[PACK<T>];
    load_packs(values, x + start + c, channels - c, aligned);
    load_pack(weights, weight + c, channels - c, aligned);
    load_pack(gradients, gradient + start + c, channels - c, aligned);
    if (accumulate) load_packs(sums, sum + start + c, channels - c, aligned);
#pragma unroll
    for (u32 i = 0; i < PACK<T>; ++i) {
      const float term = scale * (weights[i] * gradients[i] - values[i] * mean);
      sums[i] = accumulate ? sums[i] + term : term;
    }
    store_packs(sum + start + c, sums, channels - c, aligned);
  }
}

// partial[block][c] = sum over the block's rows of dy n.
template <typename T, typename X>
__device__ void weight_gradient(float* partial, const T* gradient, const X* x, const float* inverse_rms, u64 rows,
                                u32 channels) {
  const bool aligned = in_packs<T>(channels);
  sum_columns<T>(partial, rows, channels, [&](float(&terms)[PACK<T>], u64 row, u64 c) {
    float values[PACK<T>];
    load_packs(values, x + row * channels + c, channels - c, aligned);
    load_pack(terms, gradient + row * channels + c, channels - c, aligned);
    const float scale = inverse_rms[row];
#pragma unroll
    for (u32 i = 0; i < PACK<T>; ++i) terms[i] *= values[i] * scale;
  });
}

}  // namespace

#define RMS_NORM_KERNELS(T, X, type)                                                                          \
  extern "C" __global__ void __launch_bounds__(128) rms_norm_forward_##type(                                  \
      T* out, float* inverse_rms, const X* x, const T* weight, u64 rows, u32 channels, float epsilon) {       \
    forward(out, inverse_rms, x, weight, rows, channels, epsilon);                                            \
  }                                                                                                           \
  KERNEL(rms_norm_forward_##type);                                                                            \
  extern "C" __global__ void __launch_bounds__(128) rms_norm_backward_##type(                                 \
      X* sum, const T* gradient, const X* x, const T* weight, const float* inverse_rms, u64 rows,             \
      u32 channels, u32 accumulate) {                                                                         \
    backward(sum, gradient, x, weight, inverse_rms, rows, channels, accumulate);                              \
  }                                                                                                           \
  KERNEL(rms_norm_backward_##type);                                                                           \
  extern "C" __global__ void __launch_bounds__(256) rms_norm_weight_gradient_##type(                          \
      float* partial, const T* gradient, const X* x, const float* inverse_rms, u64 rows, u32 channels) {      \
    weight_gradient(partial, gradient, x, inverse_rms, rows, channels);                                       \
  }                                                                                                           \
  KERNEL(rms_norm_weight_gradient_##type)

RMS_NORM_KERNELS(float, float, f32);
RMS_NORM_KERNELS(bf16, bf16, bf16);
RMS_NORM_KERNELS(bf16, float, wide_bf16);
