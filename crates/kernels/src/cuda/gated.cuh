// Gated activations a(g) u, forward and backward, whatever the activation `a` is (the twin of gated.rs).
//
// Layout: gate_up (T, 2F), a row's gates before its ups; out and its gradient (T, F). A thread takes
// one pack of a row. Launch: <<<(ceil(F / PACK / 128), T), 128>>>, T in steps of gridDim.y.
//
// A Gate has `value(x)`, a(x), and `value(x, slope)`, which also gives the derivative.

#pragma once

#include "device.cuh"

namespace {

__device__ __forceinline__ float sigmoid(float value) { return 1.0f / (1.0f + expf(-value)); }

template <typename Gate, typename T>
__device__ void gated_forward(T* out, const T* gate_up, u64 rows, u32 width) {
  const u32 f = (blockIdx.x * blockDim.x + threadIdx.x) * PACK<T>;
  if (f >= width) return;
  const bool aligned = in_packs<T>(width);
  for (u64 row = blockIdx.y; row < rows; row += gridDim.y) {
    float gates[PACK<T>], ups[PACK<T>];
    load_pack(gates, gate_up + row * 2 * width + f, width - f, aligned);
    load_pack(ups, gate_up + row * 2 * width + width + f, width - f, aligned);
#pragma unroll
    for (u32 i = 0; i < PACK<T>; ++i) ups[i] *= Gate::value(gates[i]);
    store_pack(out + row * width + f, ups, width - f, aligned);
  }
}

template <typename Gate, typename T>
__device__ void gated_backward(T* sum, const T* gradient, const T* gate_up, u64 rows, u32 width, u32 accumulate) {
  const u32 f = (blockIdx.x * blockDim.x + threadIdx.x) * PACK<T>;
  if (f >= width) return;
  const bool aligned = in_packs<T>(width);
  for (u64 row = blockIdx.y; row < rows; row += gridDim.y) {
    const u64 gate_at = row * 2 * width + f, up_at = gate_at + width;
    float gates[PACK<T>], ups[PACK<T>], gradients[PACK<T>], gate_sums[PACK<T>], up_sums[PACK<T>];
    load_pack(gates, gate_up + gate_at, width - f, aligned);
    load_pack(ups, gate_up + up_at, width - f, aligned);
    load_pack(gradients, gradient + row * width + f, width - f, aligned);
    if (accumulate) {
      load_pack(gate_sums, sum + gate_at, width - f, aligned);
      load_pack(up_sums, sum + up_at, width - f, aligned);
    }
#pragma unroll
    for (u32 i = 0; i < PACK<T>; ++i) {
      float slope;
      const float value = Gate::value(gates[i], slope);
      const float from_gate = gradients[i] * ups[i] * slope, from_up = gradients[i] * value;
      gate_sums[i] = accumulate ? gate_sums[i] + from_gate : from_gate;
      up_sums[i] = accumulate ? up_sums[i] + from_up : from_up;
    }
    store_pack(sum + gate_at, gate_sums, width - f, aligned);
    store_pack(sum + up_at, up_sums, width - f, aligned);
  }
}

}  // namespace

#define GATED_KERNELS(name, Gate, T, type)                                                           \
  extern "C" __global__ void __launch_bounds__(128) name##_forward_##type(                           \
      T* out, const T* gate_up, u64 rows, u32 width) {                                               \
    gated_forward<Gate>(out, gate_up, rows, width);                                                  \
  }                                                                                                  \
  KERNEL(name##_forward_##type);                                                                     \
  extern "C" __global__ void __launch_bounds__(128) name##_backward_##type(                          \
      T* sum, const T* gradient, const T* gate_up, u64 rows, u32 width, u32 accumulate) {            \
    gated_backward<Gate>(sum, gradient, gate_up, rows, width, accumulate);                           \
  }                                                                                                  \
  KERNEL(name##_backward_##type)
