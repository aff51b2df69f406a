// What kernels share that work number by number, whatever the shape.

#pragma once

#include "device.cuh"

namespace {

// The numbers of this thread's pack: the first, and how many are left there.
struct Reach {
  u64 first, left;
  bool whole;
};

// `numbers` for each thread of <<<ceil(count / numbers / blockDim), blockDim>>>.
template <u32 numbers>
__device__ __forceinline__ Reach reach(u64 count) {
  const u64 first = (u64(blockIdx.x) * blockDim.x + threadIdx.x) * numbers;
  const u64 left = first < count ? count - first : 0;
  return {first, left, left >= numbers};
}

}  // namespace
