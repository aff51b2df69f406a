// AdamW with decoupled decay over all tensors in one launch (the twin of adamw.rs; Loshchilov and
// Hutter, 2019, algorithm 2).
//
// Layout: the master weights, moments and gradients of each tensor are f32, of the same length, found
// through a table. Block b works on CHUNK numbers of the tensor whose first block is the last one not
// after b. The rounded weight is written beside the master, so no separate conversion follows; without
// a master, the rounded weight is all there is, and rounding is by chance (in proportion to the
// distance), so that small updates are not lost on average.
//
// `scale[1]` is finish_norm's factor, on the device: 0 means a gradient that is not finite, and then
// nothing is changed. Launch: <<<blocks, 256>>>.

#include "cuda/device.cuh"

namespace {

constexpr u32 CHUNK = 8192;  // as in device/update.rs

struct Tensor {
  float* master;  // null: pure bf16
  bf16* weights;  // null: f32 compute, the master is the weight
  const float* gradient;
  float* first;
  float* second;
  u64 count;
  u32 first_block;
  float weight_decay;
};

// A random 32-bit number for number `index` of tensor `tensor` at this step: a hash, so that a resumed
// run draws the same ones. (The finaliser of MurmurHash3.)
__device__ __forceinline__ u32 chance(u32 seed, u32 tensor, u64 index) {
  u32 h = seed ^ (tensor * 0x9e3779b9u) ^ u32(index) ^ (u32(index >> 32) * 0x85ebca6bu);
  h = (h ^ (h >> 16)) * 0x85ebca6bu;
  h = (h ^ (h >> 13)) * 0xc2b2ae35u;
  return h ^ (h >> 16);
}

__device__ __forceinline__ bf16 round_by_chance(float value, u32 chance) {
  return from_float<bf16>(__uint_as_float((__float_as_uint(value) + (chance & 0xffffu)) & 0xffff0000u));
}

}  // namespace

extern "C" __global__ void __launch_bounds__(256) adamw(
    const Tensor* tensors, u32 tensor_count, const float* scale, float learning_rate, float first_rate,
    float second_kept, float second_rate, float second_correction, float epsilon, float step_size, u32 seed) {
  const float gradient_scale = scale[1];
  if (gradient_scale == 0.0f) return;
  u32 low = 0, high = tensor_count;  // the tensor is in low .. high
  while (high - low > 1) {
    const u32 middle = (low + high) / 2;
    if (tensors[middle].first_block <= blockIdx.x) low = middle; else high = middle;
  }
  const Tensor tensor = tensors[low];
  const u64 start = u64(blockIdx.x - tensor.first_block) * CHUNK;
  const u64 end = min(start + CHUNK, tensor.count);
  const float kept = 1.0f - learning_rate * tensor.weight_decay;
  for (u64 i = start + threadIdx.x; i < end; i += blockDim.x) {
    const float gradient = tensor.gradient[i] * gradient_scale;
    const float first = fmaf(first_rate, gradient - tensor.first[i], tensor.first[i]);
    const float second = tensor.second[i] * second_kept + second_rate * gradient * gradient;
    const float weight = tensor.master ? tensor.master[i] : to_float(tensor.weights[i]);
    const float moved = weight * kept - step_size * first / (sqrtf(second) / second_correction + epsilon);
    tensor.first[i] = first;
    tensor.second[i] = second;
    if (tensor.master) tensor.master[i] = moved;
    if (tensor.weights) {
      tensor.weights[i] = tensor.master ? from_float<bf16>(moved) : round_by_chance(moved, chance(seed, low, i));
    }
  }
}
KERNEL(adamw);
