// AdamW with decoupled decay over all tensors in one launch (the twin of adamw.rs and adamw_int8.rs;
// Loshchilov and Hutter, 2019, algorithm 2).
//
// Layout: the master weights and gradients of each tensor are f32, of the same length, found through a
// table. The moments are f32 too, or codes of 8 bits with a scale for BLOCK of them (dynamic_map.rs); they
// may lie in memory of the host that the GPU reaches over the bus, so that a warp reads and writes 128
// bytes at a time of them. Block b works on CHUNK numbers of the tensor whose first block is the last one
// not after b. The rounded weight is written beside the master, so no separate conversion follows;
// without a master, the rounded weight is all there is (weights.cuh).
//
// `scale[1]` is finish_norm's factor, on the device: 0 means a gradient that is not finite, and then
// nothing is changed. Launch: <<<blocks, 256>>>.

#include "cuda/weights.cuh"

namespace {

constexpr u32 CHUNK = 8192;                     // as in device/update.rs
constexpr u32 BLOCK = 256;                      // as in dynamic_map.rs
constexpr u32 HALVES = BLOCK / (LANE * WARP);  // times that a warp takes them for a block of codes

struct Tensor {
  Weights weights;
  const float* gradient;
  void* first;   // f32, or codes if there are scales
  void* second;
  float* first_scales;  // of codes
  float* second_scales;
  u64 count;
  u32 first_block;
  float weight_decay;
  u32 number;  // among all tensors
  u32 unused;
};

// What codes stand for, and the midpoints between them (`DynamicMap` of dynamic_map.rs).
struct Map {
  float shares[256];
  float midpoints[256];
};

struct Maps {
  Map first, second;
};

struct Rule {
  float gradient_scale, kept, first_rate, second_kept, second_rate, second_correction, epsilon, step_size;
};

__device__ __forceinline__ float moved(const Rule& rule, float weight, float gradient, float& first, float& second) {
  gradient *= rule.gradient_scale;
  first = fmaf(rule.first_rate, gradient - first, first);
  second = second * rule.second_kept + rule.second_rate * gradient * gradient;
  return weight * rule.kept - rule.step_size * first / (sqrtf(second) / rule.second_correction + rule.epsilon);
}

// As many midpoints lie below a number as shares.
__device__ __forceinline__ u32 code_of(const Map& map, float number) {
  u32 code = 0;
#pragma unroll
  for (u32 step = 128; step > 0; step /= 2) {
    if (map.midpoints[code + step - 1] < number) code += step;
  }
  return code;
}

// Writes the codes of a moment, no lower than `least` where it is above 0; the warp has met to find the
// block's largest magnitude.
__device__ __forceinline__ void store_codes(uint8_t* codes, const Map& map, float scale, const float (&numbers)[LANE],
                                            u32 least, u64 left) {
  const float divisor = scale > 0.0f ? scale : 1.0f;
  Few<uint8_t> few;
#pragma unroll
  for (u32 j = 0; j < LANE; ++j) {
    few.numbers[j] = uint8_t(max(code_of(map, numbers[j] / divisor), numbers[j] > 0.0f ? least : 0));
  }
  store_few(codes, few, left, left >= LANE);
}

// The tensor that this block works on, and its numbers there; false if nothing is to be changed.
struct Work {
  Tensor tensor;
  Rule rule;
  u64 start, end;
  u32 draw;
};

__device__ __forceinline__ bool find_work(Work& work, const Tensor* tensors, u32 tensor_count, const float* scale,
                                          float learning_rate, u32 seed) {
  work.rule.gradient_scale = scale[1];
  if (work.rule.gradient_scale == 0.0f) return false;
  u32 low = 0, high = tensor_count;  // the tensor is in low .. high
  while (high - low > 1) {
    const u32 middle = (low + high) / 2;
    if (tensors[middle].first_block <= blockIdx.x) low = middle; else high = middle;
  }
  work.tensor = tensors[low];
  work.start = u64(blockIdx.x - work.tensor.first_block) * CHUNK;
  work.end = min(work.start + CHUNK, work.tensor.count);
  work.rule.kept = 1.0f - learning_rate * work.tensor.weight_decay;
  work.draw = draw_of(seed, work.tensor.number);
  return true;
}

}  // namespace

// Tensors whose moments are f32.
extern "C" __global__ void __launch_bounds__(256) adamw(
    const Tensor* tensors, u32 tensor_count, const float* scale, float learning_rate, float first_rate,
    float second_kept, float second_rate, float second_correction, float epsilon, float step_size, u32 seed) {
  Work work;
  work.rule = {0.0f, 0.0f, first_rate, second_kept, second_rate, second_correction, epsilon, step_size};
  if (!find_work(work, tensors, tensor_count, scale, learning_rate, seed)) return;
  const Tensor& tensor = work.tensor;
  float* const firsts = static_cast<float*>(tensor.first);
  float* const seconds = static_cast<float*>(tensor.second);
  for (u64 i = work.start + threadIdx.x; i < work.end; i += blockDim.x) {
    float first = firsts[i], second = seconds[i];
    const Weights& weights = tensor.weights;
    const float before = weights.master ? weights.master[i] : to_float(weights.rounded[i]);
    const float weight = moved(work.rule, before, tensor.gradient[i], first, second);
    firsts[i] = first;
    seconds[i] = second;
    if (weights.master) weights.master[i] = weight;
    if (weights.rounded) weights.rounded[i] = weights.nearest_or_by_chance(weight, i, work.draw);
  }
}
KERNEL(adamw);

// Tensors whose moments are codes: each warp widens, updates and narrows a block of them at a time.
extern "C" __global__ void __launch_bounds__(256, 3) adamw_int8(
    const Tensor* tensors, u32 tensor_count, const float* scale, const Maps* all_maps, float learning_rate,
    float first_rate, float second_kept, float second_rate, float second_correction, float epsilon, float step_size,
    u32 seed) {
  SHARED(Maps, maps, 1);
  Work work;
  work.rule = {0.0f, 0.0f, first_rate, second_kept, second_rate, second_correction, epsilon, step_size};
  if (!find_work(work, tensors, tensor_count, scale, learning_rate, seed)) return;
  const float* const from = reinterpret_cast<const float*>(all_maps);
  float* const to = reinterpret_cast<float*>(maps);
  for (u32 i = threadIdx.x; i < sizeof(Maps) / sizeof(float); i += blockDim.x) to[i] = from[i];
  __syncthreads();
  const Tensor& tensor = work.tensor;
  uint8_t* const first_codes = static_cast<uint8_t*>(tensor.first);
  uint8_t* const second_codes = static_cast<uint8_t*>(tensor.second);
  // They may be a part of a tensor; codes never are.
  const bool whole = reinterpret_cast<u64>(tensor.gradient) % 16 == 0 && tensor.weights.aligned();
  const u32 lane = threadIdx.x % WARP;
  for (u64 block = work.start + threadIdx.x / WARP * BLOCK; block < work.end; block += blockDim.x / WARP * BLOCK) {
    const float first_scale = tensor.first_scales[block / BLOCK];
    const float second_scale = tensor.second_scales[block / BLOCK];
    float first[HALVES][LANE], second[HALVES][LANE];
    float first_most = 0.0f, second_most = 0.0f;
#pragma unroll
    for (u32 half = 0; half < HALVES; ++half) {
      const u64 i = block + (half * WARP + lane) * LANE;
      const u64 left = i < work.end ? work.end - i : 0;
      const bool aligned = whole && left >= LANE;
      const Few<uint8_t> first_few = load_few(first_codes + i, left, left >= LANE);
      const Few<uint8_t> second_few = load_few(second_codes + i, left, left >= LANE);
      float gradient[LANE], weight[LANE];
      load_pack(gradient, tensor.gradient + i, left, aligned);
      tensor.weights.load(weight, i, left, aligned);
#pragma unroll
      for (u32 j = 0; j < LANE; ++j) {
        first[half][j] = maps->first.shares[first_few.numbers[j]] * first_scale;
        second[half][j] = maps->second.shares[second_few.numbers[j]] * second_scale;
        weight[j] = moved(work.rule, weight[j], gradient[j], first[half][j], second[half][j]);
        if (j < left) {
          first_most = fmaxf(first_most, fabsf(first[half][j]));
          second_most = fmaxf(second_most, second[half][j]);
        }
      }
      tensor.weights.store(weight, i, left, aligned, work.draw);
    }
    first_most = warp_max(first_most);
    second_most = warp_max(second_most);
#pragma unroll
    for (u32 half = 0; half < HALVES; ++half) {
      const u64 i = block + (half * WARP + lane) * LANE;
      const u64 left = i < work.end ? work.end - i : 0;
      store_codes(first_codes + i, maps->first, first_most, first[half], 0, left);
      store_codes(second_codes + i, maps->second, second_most, second[half], 1, left);  // never 0 by rounding
    }
    if (lane == 0) {
      tensor.first_scales[block / BLOCK] = first_most;
      tensor.second_scales[block / BLOCK] = second_most;
    }
  }
}
KERNEL(adamw_int8);
