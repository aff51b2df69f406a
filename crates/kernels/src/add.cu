// Sums and conversions, number by number (the twin of add.rs).
//
// A thread takes one pack; launch <<<ceil(n / PACK / 256), 256>>>. The buffers begin at multiples of
// 16 bytes; the last pack may be cut.

#include "cuda/device.cuh"

namespace {

// The numbers of this thread's pack: the first, and how many are left there.
struct Reach {
  u64 first, left;
  bool whole;
};

template <typename T>
__device__ __forceinline__ Reach reach(u64 count) {
  const u64 first = (u64(blockIdx.x) * blockDim.x + threadIdx.x) * PACK<T>;
  const u64 left = first < count ? count - first : 0;
  return {first, left, left >= PACK<T>};
}

// Also in place: `out` may be `a`.
template <typename T>
__device__ void add(T* out, const T* a, const T* b, u64 count) {
  const Reach at = reach<T>(count);
  if (at.left == 0) return;
  float first[PACK<T>], second[PACK<T>];
  load_pack(first, a + at.first, at.left, at.whole);
  load_pack(second, b + at.first, at.left, at.whole);
#pragma unroll
  for (u32 i = 0; i < PACK<T>; ++i) first[i] += second[i];
  store_pack(out + at.first, first, at.left, at.whole);
}

}  // namespace

#define ADD_KERNELS(T, type)                                                                              \
  extern "C" __global__ void __launch_bounds__(256) add_##type(T* out, const T* a, const T* b, u64 count) { \
    add(out, a, b, count);                                                                                \
  }                                                                                                       \
  KERNEL(add_##type)

ADD_KERNELS(float, f32);
ADD_KERNELS(bf16, bf16);

// Master weights to compute weights. A thread takes 8 numbers.
extern "C" __global__ void __launch_bounds__(256) to_bf16(bf16* out, const float* x, u64 count) {
  const Reach at = reach<bf16>(count);
  if (at.left == 0) return;
  float values[PACK<bf16>];
  for (u32 i = 0; i < PACK<bf16>; ++i) values[i] = i < at.left ? x[at.first + i] : 0.0f;
  store_pack(out + at.first, values, at.left, at.whole);
}
KERNEL(to_bf16);

extern "C" __global__ void __launch_bounds__(256) to_f32(float* out, const bf16* x, u64 count) {
  const Reach at = reach<bf16>(count);
  if (at.left == 0) return;
  float values[PACK<bf16>];
  load_pack(values, x + at.first, at.left, at.whole);
  for (u32 i = 0; i < PACK<bf16>; ++i) {
    if (i < at.left) out[at.first + i] = values[i];
  }
}
KERNEL(to_f32);
