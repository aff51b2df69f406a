// A value times a constant (the twin of scale.rs; a thread takes one pack, as in relu.cu).

#include "cuda/points.cuh"

namespace {

template <typename T>
__device__ void scale(T* out, const T* x, u64 count, float factor) {
  const Reach at = reach<PACK<T>>(count);
  if (at.left == 0) return;
  float values[PACK<T>];
  load_pack(values, x + at.first, at.left, at.whole);
#pragma unroll
  for (u32 i = 0; i < PACK<T>; ++i) values[i] *= factor;
  store_pack(out + at.first, values, at.left, at.whole);
}

}  // namespace

#define SCALE_KERNELS(T, type)                                                                                       \
  extern "C" __global__ void __launch_bounds__(256) scale_##type(T* out, const T* x, u64 count, float factor) {      \
    scale(out, x, count, factor);                                                                                    \
  }                                                                                                                  \
  KERNEL(scale_##type)

SCALE_KERNELS(float, f32);
SCALE_KERNELS(bf16, bf16);
