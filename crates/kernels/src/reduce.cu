// Sums in a fixed order: over the rows of a matrix, and of all squares of a gradient.
//
// Two launches each: blocks write partial sums, and a second kernel adds them up in order, so the
// bits do not depend on which block was first.
//
// Launch: column_sums <<<(ceil(C / 32 packs), ceil(T / ROWS_A_BLOCK)), 256>>>; sum_lines <<<ceil(C / 256), 256>>>;
// squares <<<ceil(n / SQUARES_A_BLOCK), 256>>>; finish_norm <<<1, 256>>>.

#include "cuda/columns.cuh"

namespace {

constexpr u32 SQUARES_A_BLOCK = 1 << 16; // as in device/update.rs

// partial[block][c] = sum over the block's rows of x, each `pitch` numbers after the last.
template <typename T>
__device__ void column_sums(float* partial, const T* x, u64 rows, u32 columns, u64 pitch) {
  const bool aligned = in_packs<T>(columns) && in_packs<T>(pitch) && reinterpret_cast<u64>(x) % 16 == 0;
  sum_columns<T>(partial, rows, columns, [&](float(&numbers)[PACK<T>], u64 row, u64 c) {
    load_pack(numbers, x + row * pitch + c, columns - c, aligned);
  });
}

}  // namespace

#define COLUMN_SUMS(T, type)                                                             \
  extern "C" __global__ void __launch_bounds__(256) column_sums_##type(                  \
      float* partial, const T* x, u64 rows, u32 columns, u64 pitch) {                    \
    column_sums(partial, x, rows, columns, pitch);                                       \
  }                                                                                      \
  KERNEL(column_sums_##type)

COLUMN_SUMS(float, f32);
COLUMN_SUMS(bf16, bf16);

// sum[c] (+)= the lines of partial (lines, columns), first to last.
extern "C" __global__ void __launch_bounds__(256) sum_lines(float* sum, const float* partial, u32 lines,
                                                            u32 columns, u32 accumulate) {
  const u32 c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= columns) return;
  float total = accumulate ? sum[c] : 0.0f;
  for (u32 line = 0; line < lines; ++line) total += partial[u64(line) * columns + c];
  sum[c] = total;
}
KERNEL(sum_lines);

// partial[block] = sum of the block's squares.
extern "C" __global__ void __launch_bounds__(256) squares(float* partial, const float* x, u64 count) {
  SHARED(float, scratch, 256 / WARP);
  const u64 first = u64(blockIdx.x) * SQUARES_A_BLOCK;
  const u64 end = min(first + SQUARES_A_BLOCK, count);
  const bool aligned = reinterpret_cast<u64>(x) % 16 == 0;  // it may be a part of a tensor
  float total = 0.0f;
  for (u64 i = first + threadIdx.x * PACK<float>; i < end; i += blockDim.x * PACK<float>) {
    float values[PACK<float>];
    load_pack(values, x + i, end - i, aligned && end - i >= PACK<float>);
#pragma unroll
    for (u32 j = 0; j < PACK<float>; ++j) total += values[j] * values[j];
  }
  total = block_sum(total, scratch);
  if (threadIdx.x == 0) partial[blockIdx.x] = total;
}
KERNEL(squares);

// norm[0] = sqrt of all partial sums; norm[1] = what AdamW multiplies the gradient with: 1, or less
// where the norm is over `max_norm` (0: no limit; the small constant is PyTorch's), or 0 where it is not
// finite: then nothing moves.
extern "C" __global__ void __launch_bounds__(256) finish_norm(float* norm, const float* partial, u64 count,
                                                              float max_norm) {
  SHARED(double, totals, 256);
  double total = 0.0;
  for (u64 i = threadIdx.x; i < count; i += blockDim.x) total += partial[i];
  totals[threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.x == 0) {
    double sum = 0.0;
    for (u32 thread = 0; thread < blockDim.x; ++thread) sum += totals[thread];
    const float whole = float(sqrt(sum));
    norm[0] = whole;
    const float factor = max_norm > 0.0f ? fminf(max_norm / (whole + 1e-6f), 1.0f) : 1.0f;
    norm[1] = isfinite(whole) ? factor : 0.0f;
  }
}
KERNEL(finish_norm);
