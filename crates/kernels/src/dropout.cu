// Dropout, alone and added to a residual stream (the twin of dropout.rs and of linear_add with dropout).
//
// Which numbers are dropped follows from their places alone, whatever the launch. A thread takes 8 numbers, or 4
// where all are f32; launch <<<ceil(n / those / 256), 256>>>. The buffers begin at multiples of 16 bytes; the last
// numbers may be fewer.

#include "cuda/mask.cuh"
#include "cuda/points.cuh"

namespace {

// Not the product, which a NaN or an infinity would outlive.
__device__ __forceinline__ float dropped(float value, float factor) { return factor == 0.0f ? 0.0f : value * factor; }

// The gradient of a residual stream in f32 may go on in bf16. Also in place.
template <typename O, typename T>
__device__ void drop(O* out, const T* x, u64 count, const Mask& mask) {
  constexpr u32 NUMBERS = PACK<O>;
  const Reach at = reach<NUMBERS>(count);
  if (at.left == 0) return;
  float values[NUMBERS];
  load_packs(values, x + at.first, at.left, at.whole);
#pragma unroll
  for (u32 i = 0; i < NUMBERS; ++i) values[i] = dropped(values[i], mask.factor(at.first + i));
  store_pack(out + at.first, values, at.left, at.whole);
}

// sum = residual + dropped sum.
template <typename T>
__device__ void drop_add(T* sum, const T* residual, u64 count, const Mask& mask) {
  const Reach at = reach<PACK<T>>(count);
  if (at.left == 0) return;
  float values[PACK<T>], terms[PACK<T>];
  load_pack(terms, sum + at.first, at.left, at.whole);
  load_pack(values, residual + at.first, at.left, at.whole);
#pragma unroll
  for (u32 i = 0; i < PACK<T>; ++i) values[i] += dropped(terms[i], mask.factor(at.first + i));
  store_pack(sum + at.first, values, at.left, at.whole);
}

}  // namespace

#define DROPOUT_KERNEL(O, T, type)                                                               \
  extern "C" __global__ void __launch_bounds__(256) dropout_##type(                              \
      O* out, const T* x, u64 count, u64 key, u32 below, float keep) {                           \
    drop(out, x, count, Mask{key, below, keep});                                                 \
  }                                                                                              \
  KERNEL(dropout_##type)

#define DROPOUT_ADD_KERNEL(T, type)                                                              \
  extern "C" __global__ void __launch_bounds__(256) dropout_add_##type(                          \
      T* sum, const T* residual, u64 count, u64 key, u32 below, float keep) {                    \
    drop_add(sum, residual, count, Mask{key, below, keep});                                      \
  }                                                                                              \
  KERNEL(dropout_add_##type)

DROPOUT_KERNEL(float, float, f32);
DROPOUT_KERNEL(bf16, bf16, bf16);
DROPOUT_KERNEL(bf16, float, narrowing_bf16);
DROPOUT_ADD_KERNEL(float, f32);
DROPOUT_ADD_KERNEL(bf16, bf16);
