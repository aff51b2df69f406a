// gelu(gate) * up with T5's approximation of gelu by tanh, forward and backward (the twin of geglu.rs; layout and
// launch: cuda/gated.cuh).

#include "cuda/gated.cuh"

namespace {

// (1 + tanh z) / 2 is the sigmoid of 2z.
struct Gelu {
  static constexpr float FACTOR = 1.5957692f;  // 2 sqrt(2 / pi)
  static constexpr float CUBE = 0.044715f;

  static __device__ __forceinline__ float value(float x) { return x * sigmoid(FACTOR * (x + CUBE * (x * x * x))); }
  static __device__ __forceinline__ float value(float x, float& slope) {
    const float s = sigmoid(FACTOR * (x + CUBE * (x * x * x)));
    const float inner = FACTOR * (1.0f + 3.0f * CUBE * (x * x));
    // Far from zero `inner` may be infinite, and what it is times is 0.
    const float flank = s * (1.0f - s);
    slope = s + (flank == 0.0f ? 0.0f : x * flank * inner);
    return x * s;
  }
};

}  // namespace

GATED_KERNELS(geglu, Gelu, float, f32);
GATED_KERNELS(geglu, Gelu, bf16, bf16);
