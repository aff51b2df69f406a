// max(x, 0), forward and backward (the twin of relu.rs).
//
// A thread takes one pack; launch <<<ceil(n / PACK / 256), 256>>>. The buffers begin at multiples of
// 16 bytes; the last pack may be cut.

#include "cuda/points.cuh"

namespace {

template <typename T>
__device__ void forward(T* out, const T* x, u64 count) {
  const Reach at = reach<PACK<T>>(count);
  if (at.left == 0) return;
  float values[PACK<T>];
  load_pack(values, x + at.first, at.left, at.whole);
#pragma unroll
  for (u32 i = 0; i < PACK<T>; ++i) values[i] = values[i] <= 0.0f ? 0.0f : values[i];  // not fmaxf: it hides a NaN
  store_pack(out + at.first, values, at.left, at.whole);
}

template <typename T>
__device__ void backward(T* sum, const T* gradient, const T* x, u64 count, u32 accumulate) {
  const Reach at = reach<PACK<T>>(count);
  if (at.left == 0) return;
  float values[PACK<T>], gradients[PACK<T>], sums[PACK<T>];
  load_pack(values, x + at.first, at.left, at.whole);
  load_pack(gradients, gradient + at.first, at.left, at.whole);
  if (accumulate) load_pack(sums, sum + at.first, at.left, at.whole);
#pragma unroll
  for (u32 i = 0; i < PACK<T>; ++i) {
    const float term = values[i] <= 0.0f ? 0.0f : gradients[i];
    sums[i] = accumulate ? sums[i] + term : term;
  }
  store_pack(sum + at.first, sums, at.left, at.whole);
}

}  // namespace

#define RELU_KERNELS(T, type)                                                                                      \
  extern "C" __global__ void __launch_bounds__(256) relu_forward_##type(T* out, const T* x, u64 count) {           \
    forward(out, x, count);                                                                                        \
  }                                                                                                                \
  KERNEL(relu_forward_##type);                                                                                     \
  extern "C" __global__ void __launch_bounds__(256) relu_backward_##type(                                          \
      T* sum, const T* gradient, const T* x, u64 count, u32 accumulate) {                                          \
    backward(sum, gradient, x, count, accumulate);                                                                 \
  }                                                                                                                \
  KERNEL(relu_backward_##type)

RELU_KERNELS(float, f32);
RELU_KERNELS(bf16, bf16);
