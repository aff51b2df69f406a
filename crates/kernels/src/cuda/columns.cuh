// Sums down the columns of a matrix, in a fixed order: a block's rows here, the blocks by `sum_lines`.

#pragma once

#include "device.cuh"

namespace {

constexpr u32 ROWS_A_BLOCK = 128;  // as in device/rows.rs

// partial[block][c] = sum over the block's rows of the numbers that `load(numbers, row, c)` gives: a pack
// from column c on. Launch: <<<(ceil(C / 32 packs), ceil(T / ROWS_A_BLOCK)), 256>>>.
template <typename T, typename Load>
__device__ __forceinline__ void sum_columns(float* partial, u64 rows, u32 columns, const Load& load) {
  SHARED(float, sums, 8 * WARP * PACK<T>);
  const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  const u64 c = (u64(blockIdx.x) * WARP + lane) * PACK<T>;
  const u64 first = u64(blockIdx.y) * ROWS_A_BLOCK;
  const u64 end = min(first + ROWS_A_BLOCK, rows);
  float total[PACK<T>] = {};
  for (u64 row = first + warp; c < columns && row < end; row += blockDim.x / WARP) {
    float numbers[PACK<T>];
    load(numbers, row, c);
#pragma unroll
    for (u32 i = 0; i < PACK<T>; ++i) total[i] += numbers[i];
  }
#pragma unroll
  for (u32 i = 0; i < PACK<T>; ++i) sums[(warp * WARP + lane) * PACK<T> + i] = total[i];
  __syncthreads();
  for (u32 i = threadIdx.x; i < WARP * PACK<T>; i += blockDim.x) {
    const u64 column = u64(blockIdx.x) * WARP * PACK<T> + i;
    if (column >= columns) break;
    float sum = 0.0f;
    for (u32 line = 0; line < blockDim.x / WARP; ++line) sum += sums[line * WARP * PACK<T> + i];
    partial[u64(blockIdx.y) * columns + column] = sum;
  }
}

}  // namespace
