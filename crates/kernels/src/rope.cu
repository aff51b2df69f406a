// Rotary position embedding, in place on q and k inside the packed qkv (the twin of rope.rs).
//
// Layout: qkv (T, channels), of which the first `turning` heads of width 2 * half turn; v stays.
// A thread turns the pairs (i, i + half) of one head of one row. The sine's sign times `direction`
// turns forward (1) or back (-1). Launch: <<<(ceil(turning * half / 256), T), 256>>>, T in steps of
// gridDim.y.

#include "cuda/device.cuh"

namespace {

template <typename T>
__device__ void turn(T* qkv, const float* cosine, const float* sine, const u32* positions, u64 tokens,
                     u32 channels, u32 turning, u32 half, float direction) {
  const u32 pair = blockIdx.x * blockDim.x + threadIdx.x;
  if (pair >= turning * half) return;
  const u32 head = pair / half, i = pair % half;
  for (u64 token = blockIdx.y; token < tokens; token += gridDim.y) {
    const u64 angle = u64(positions[token]) * half + i;
    const float c = cosine[angle], s = direction * sine[angle];
    T* first = qkv + token * channels + head * 2 * half + i;
    const float x1 = to_float(first[0]), x2 = to_float(first[half]);
    first[0] = from_float<T>(x1 * c - x2 * s);
    first[half] = from_float<T>(x2 * c + x1 * s);
  }
}

}  // namespace

#define ROPE_KERNELS(T, type)                                                                                 \
  extern "C" __global__ void __launch_bounds__(256) rope_##type(                                              \
      T* qkv, const float* cosine, const float* sine, const u32* positions, u64 tokens, u32 channels,         \
      u32 turning, u32 half, float direction) {                                                               \
    turn(qkv, cosine, sine, positions, tokens, channels, turning, half, direction);                           \
  }                                                                                                           \
  KERNEL(rope_##type)

ROPE_KERNELS(float, f32);
ROPE_KERNELS(bf16, bf16);
