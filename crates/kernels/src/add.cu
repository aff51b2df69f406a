// Sums, number by number (the twin of add.rs).
//
// A thread takes one pack; launch <<<ceil(n / PACK / 256), 256>>>. The buffers begin at multiples of
// 16 bytes; the last pack may be cut.

#include "cuda/points.cuh"

namespace {

// Also in place: `out` may be `a`.
template <typename T>
__device__ void add(T* out, const T* a, const T* b, u64 count) {
  const Reach at = reach<PACK<T>>(count);
  if (at.left == 0) return;
  float first[PACK<T>], second[PACK<T>];
  load_pack(first, a + at.first, at.left, at.whole);
  load_pack(second, b + at.first, at.left, at.whole);
#pragma unroll
  for (u32 i = 0; i < PACK<T>; ++i) first[i] += second[i];
  store_pack(out + at.first, first, at.left, at.whole);
}

// A thread takes one pack of the columns; <<<(ceil(C / PACK / 128), T), 128>>>, T in steps of gridDim.y.
template <typename T>
__device__ void add_bias(T* out, const T* bias, u64 rows, u32 columns) {
  const u32 c = (blockIdx.x * blockDim.x + threadIdx.x) * PACK<T>;
  if (c >= columns) return;
  const bool aligned = in_packs<T>(columns);
  float terms[PACK<T>];
  load_pack(terms, bias + c, columns - c, aligned);
  for (u64 row = blockIdx.y; row < rows; row += gridDim.y) {
    float values[PACK<T>];
    load_pack(values, out + row * columns + c, columns - c, aligned);
#pragma unroll
    for (u32 i = 0; i < PACK<T>; ++i) values[i] += terms[i];
    store_pack(out + row * columns + c, values, columns - c, aligned);
  }
}

}  // namespace

#define ADD_KERNELS(T, type)                                                                              \
  extern "C" __global__ void __launch_bounds__(128) add_bias_##type(                                      \
      T* out, const T* bias, u64 rows, u32 columns) {                                                     \
    add_bias(out, bias, rows, columns);                                                                   \
  }                                                                                                       \
  KERNEL(add_bias_##type);                                                                                \
  extern "C" __global__ void __launch_bounds__(256) add_##type(T* out, const T* a, const T* b, u64 count) { \
    add(out, a, b, count);                                                                                \
  }                                                                                                       \
  KERNEL(add_##type)

ADD_KERNELS(float, f32);
ADD_KERNELS(bf16, bf16);
