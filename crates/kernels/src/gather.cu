// Rows of a table by index, and their gradients back into it (the twin of gather.rs).
//
// Layout: table (N, C), out and gradient (T, C). The way back is a sum over the rows that share an
// index, in the order of the rows: the host sorts the rows by index (stably), and a block adds up one
// segment of equal indices. So no two blocks write the same row, and the bits are always the same.
//
// Launch: gather <<<(ceil(C / PACK / 128), T), 128>>>; scatter <<<(ceil(C / PACK / 128), segments), 128>>>;
// T and segments in steps of gridDim.y.

#include "cuda/device.cuh"

namespace {

// `out` may be wider than the table: an embedding that begins a residual stream in f32.
template <typename O, typename T>
__device__ void gather(O* out, const T* table, const u32* indices, u64 rows, u32 columns) {
  const u32 c = (blockIdx.x * blockDim.x + threadIdx.x) * PACK<T>;
  if (c >= columns) return;
  const bool aligned = in_packs<T>(columns);
  for (u64 row = blockIdx.y; row < rows; row += gridDim.y) {
    float values[PACK<T>];
    load_pack(values, table + u64(indices[row]) * columns + c, columns - c, aligned);
    store_packs(out + row * columns + c, values, columns - c, aligned);
  }
}

// sum[targets[s]] += the gradient's rows order[starts[s] .. starts[s + 1]].
template <typename S, typename T>
__device__ void scatter(S* sum, const T* gradient, const u32* order, const u32* starts, const u32* targets,
                        u64 segments, u32 columns) {
  const u32 c = (blockIdx.x * blockDim.x + threadIdx.x) * PACK<T>;
  if (c >= columns) return;
  const bool aligned = in_packs<T>(columns);
  for (u64 segment = blockIdx.y; segment < segments; segment += gridDim.y) {
    float total[PACK<T>] = {};
    for (u32 at = starts[segment]; at < starts[segment + 1]; ++at) {
      float values[PACK<T>];
      load_pack(values, gradient + u64(order[at]) * columns + c, columns - c, aligned);
#pragma unroll
      for (u32 i = 0; i < PACK<T>; ++i) total[i] += values[i];
    }
    S* target = sum + u64(targets[segment]) * columns + c;
#pragma unroll
    for (u32 i = 0; i < PACK<T>; ++i) {
      if (i < columns - c) target[i] = from_float<S>(to_float(target[i]) + total[i]);
    }
  }
}

}  // namespace

#define GATHER_KERNELS(T, type)                                                                               \
  extern "C" __global__ void __launch_bounds__(128) gather_##type(                                            \
      T* out, const T* table, const u32* indices, u64 rows, u32 columns) {                                    \
    gather(out, table, indices, rows, columns);                                                               \
  }                                                                                                           \
  KERNEL(gather_##type);                                                                                      \
  /* Into a weight's gradient, which is f32. */                                                               \
  extern "C" __global__ void __launch_bounds__(128) scatter_to_weight_##type(                                 \
      float* sum, const T* gradient, const u32* order, const u32* starts, const u32* targets, u64 segments,   \
      u32 columns) {                                                                                          \
    scatter(sum, gradient, order, starts, targets, segments, columns);                                        \
  }                                                                                                           \
  KERNEL(scatter_to_weight_##type);                                                                           \
  /* Into an activation's gradient. */                                                                        \
  extern "C" __global__ void __launch_bounds__(128) scatter_##type(                                           \
      T* sum, const T* gradient, const u32* order, const u32* starts, const u32* targets, u64 segments,       \
      u32 columns) {                                                                                          \
    scatter(sum, gradient, order, starts, targets, segments, columns);                                        \
  }                                                                                                           \
  KERNEL(scatter_##type)

GATHER_KERNELS(float, f32);
GATHER_KERNELS(bf16, bf16);

extern "C" __global__ void __launch_bounds__(128)
    gather_wide_bf16(float* out, const bf16* table, const u32* indices, u64 rows, u32 columns) {
  gather(out, table, indices, rows, columns);
}
KERNEL(gather_wide_bf16);
