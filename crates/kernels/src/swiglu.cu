// silu(gate) * up, forward and backward (the twin of swiglu.rs; layout and launch: cuda/gated.cuh).

#include "cuda/gated.cuh"

namespace {

struct Silu {
  static __device__ __forceinline__ float value(float x) { return x * sigmoid(x); }
  static __device__ __forceinline__ float value(float x, float& slope) {
    const float s = sigmoid(x);
    slope = s * (1.0f + x * (1.0f - s));
    return x * s;
  }
};

}  // namespace

GATED_KERNELS(swiglu, Silu, float, f32);
GATED_KERNELS(swiglu, Silu, bf16, bf16);
