// Adafactor over all tensors, six launches a step (the twin of adafactor.rs; Shazeer and Stern, 2018).
//
// Layout: weights (N, C) as in weights.cuh; gradients f32. Of a factored matrix the running means of its rows'
// squares (N,) and of its columns' (C,) are kept, f32; of another tensor one for each number, and it is taken
// for rows of SIDE numbers, the last of which may be short. A block works on SIDE x SIDE numbers of the tensor
// whose first tile is the last one not after the block; a warp takes a row of them, a lane 2 x 4 neighbours.
//
//   adafactor_squares  <<<tiles, 256>>>    g is read: sums of squares of each tile's rows, columns and weights;
//                                          where nothing is factored, the means themselves and the sum of u^2
//   adafactor_means    <<<lines, 256>>>    those sums become means of SIDE rows, or columns, of a factored matrix
//   adafactor_middle   <<<tensors, 256>>>  the mean of the rows' means
//   adafactor_lengths  <<<tiles, 256>>>    g is read: the sum of u^2 of each tile of a factored matrix
//   adafactor_rates    <<<tensors, 256>>>  how far a tensor moves
//   adafactor          <<<tiles, 256>>>    g is read: the step
//
// Blocks write partial sums, which a later launch adds up in order, in f64: the bits do not depend on which
// block was first. `scale[1]` is finish_norm's factor: at 0, a gradient that is not finite, nothing is changed.

#include "cuda/weights.cuh"

namespace {

constexpr u32 SIDE = 256;  // as in device/adafactor.rs
constexpr u32 THREADS = 256;
constexpr u32 WARPS = THREADS / WARP;
constexpr u32 HALVES = SIDE / (LANE * WARP);  // times that a warp takes neighbours for a row of a tile

struct Tensor {
  Weights weights;
  const float* gradient;
  float* first;        // the mean step; null: none is kept
  float* second;       // of each row, or of each number
  float* columns;      // of each column; null: not factored
  float* row_sums;     // (tiles across, N), in scratch
  float* column_sums;  // (tiles down, C), in scratch
  u64 count, rows, width;
  u32 first_tile, first_line;
  float weight_decay;
  u32 number;  // among all tensors
};

// What is found of a tensor on the way.
struct Found {
  float mean;   // of the rows' means
  float step;   // what u is multiplied by
  float decay;  // what a weight is multiplied by
  float unused;
};

__device__ __forceinline__ u64 tiles_over(u64 numbers) { return (numbers + SIDE - 1) / SIDE; }

// The number of the tensor that this block works on: the last that begins at it or before.
__device__ __forceinline__ u32 find(const Tensor* tensors, u32 tensor_count, u32 Tensor::*begin) {
  u32 low = 0, high = tensor_count;  // it is in low .. high
  while (high - low > 1) {
    const u32 middle = (low + high) / 2;
    if (tensors[middle].*begin <= blockIdx.x) low = middle; else high = middle;
  }
  return low;
}

// The block's tile of its tensor.
struct Tile {
  Tensor tensor;
  u32 number;       // of the tensor in the table
  u64 row, column;  // of its first number
  u64 end;          // the row after its last
  bool aligned;     // whether rows begin where a lane may read its neighbours at once

  __device__ __forceinline__ Tile(const Tensor* tensors, u32 tensor_count) {
    number = find(tensors, tensor_count, &Tensor::first_tile);
    tensor = tensors[number];
    const u64 tile = blockIdx.x - tensor.first_tile, across = tiles_over(tensor.width);
    row = tile / across * SIDE;
    column = tile % across * SIDE;
    end = min(row + SIDE, tensor.rows);
    // They may be a part of a tensor; what is kept never is.
    aligned = in_packs<float>(tensor.width) && reinterpret_cast<u64>(tensor.gradient) % 16 == 0 &&
              tensor.weights.aligned();
  }

  // The column of the lane's neighbours.
  __device__ __forceinline__ u64 column_of(u32 half) const {
    return column + (half * WARP + threadIdx.x % WARP) * LANE;
  }

  // How many of the neighbours from number `i` of the tensor on, in column `c`, there are.
  __device__ __forceinline__ u64 left(u64 i, u64 c) const {
    return c < tensor.width && i < tensor.count ? min(tensor.width - c, tensor.count - i) : 0;
  }
};

__device__ __forceinline__ float root_of(float mean) { return 1.0f / sqrtf(mean); }

// One over the roots of the mean squares of the lane's columns; of a tensor that is not factored, of nothing.
__device__ __forceinline__ void column_roots(float (&roots)[HALVES][LANE], const Tile& tile) {
#pragma unroll
  for (u32 half = 0; half < HALVES; ++half) {
    const u64 c = tile.column_of(half);
#pragma unroll
    for (u32 j = 0; j < LANE; ++j) {
      roots[half][j] = tile.tensor.columns && c + j < tile.tensor.width ? root_of(tile.tensor.columns[c + j]) : 0.0f;
    }
  }
}

// The sum of `count` numbers, in order, for thread 0.
__device__ __forceinline__ double total_of(const float* numbers, u64 count, double* totals) {
  double total = 0.0;
  for (u64 i = threadIdx.x; i < count; i += THREADS) total += numbers[i];
  totals[threadIdx.x] = total;
  __syncthreads();
  double sum = 0.0;
  for (u32 thread = 0; threadIdx.x == 0 && thread < THREADS; ++thread) sum += totals[thread];
  __syncthreads();
  return sum;
}

}  // namespace

// weight_squares[tile], and row_sums and column_sums of a factored matrix; of another tensor `second` and
// step_squares[tile]. With `sizes` off, nobody asks for the weights' squares.
extern "C" __global__ void __launch_bounds__(THREADS) adafactor_squares(
    float* weight_squares, float* step_squares, const Tensor* tensors, u32 tensor_count, const float* scale,
    float kept, float fresh, float epsilon, u32 sizes) {
  SHARED(float, sums, WARPS * SIDE);
  SHARED(float, scratch, WARPS);
  const float gradient_scale = scale[1];
  if (gradient_scale == 0.0f) return;
  const Tile tile(tensors, tensor_count);
  const Tensor& tensor = tile.tensor;
  const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  float of_columns[HALVES][LANE] = {}, of_weights = 0.0f, of_steps = 0.0f;
  for (u64 row = tile.row + warp; row < tile.end; row += WARPS) {
    float of_row = 0.0f, few_weights = 0.0f, few_steps = 0.0f;
#pragma unroll
    for (u32 half = 0; half < HALVES; ++half) {
      const u64 c = tile.column_of(half), i = row * tensor.width + c, left = tile.left(i, c);
      const bool aligned = tile.aligned && left >= LANE;
      float numbers[LANE];
      if (sizes) {
        tensor.weights.load(numbers, i, left, aligned);
#pragma unroll
        for (u32 j = 0; j < LANE; ++j) few_weights += numbers[j] * numbers[j];
      }
      load_pack(numbers, tensor.gradient + i, left, aligned);
      if (tensor.columns) {
#pragma unroll
        for (u32 j = 0; j < LANE; ++j) {
          const float number = numbers[j] * gradient_scale;
          of_row += number * number;
          of_columns[half][j] += number * number;
        }
      } else {
        float means[LANE];
        load_pack(means, tensor.second + i, left, left >= LANE);
#pragma unroll
        for (u32 j = 0; j < LANE; ++j) {
          const float number = numbers[j] * gradient_scale;
          means[j] = means[j] * kept + (number * number + epsilon) * fresh;
          const float u = j < left ? root_of(means[j]) * number : 0.0f;
          few_steps += u * u;
        }
        store_pack(tensor.second + i, means, left, left >= LANE);
      }
    }
    of_weights += few_weights;
    of_steps += few_steps;
    if (tensor.columns) of_row = warp_sum(of_row);
    if (tensor.columns && lane == 0) tensor.row_sums[tile.column / SIDE * tensor.rows + row] = of_row;
  }
  of_weights = block_sum(of_weights, scratch);
  of_steps = block_sum(of_steps, scratch);
  if (threadIdx.x == 0) {
    weight_squares[blockIdx.x] = of_weights;
    if (!tensor.columns) step_squares[blockIdx.x] = of_steps;
  }
  if (!tensor.columns) return;
#pragma unroll
  for (u32 half = 0; half < HALVES; ++half) {
#pragma unroll
    for (u32 j = 0; j < LANE; ++j) sums[warp * SIDE + (half * WARP + lane) * LANE + j] = of_columns[half][j];
  }
  __syncthreads();
  const u64 column = tile.column + threadIdx.x;
  if (column >= tensor.width) return;
  float of_column = 0.0f;
  for (u32 line = 0; line < WARPS; ++line) of_column += sums[line * SIDE + threadIdx.x];
  tensor.column_sums[tile.row / SIDE * tensor.width + column] = of_column;
}
KERNEL(adafactor_squares);

// The means of SIDE rows, and in row_totals[line] their sum; or of SIDE columns.
extern "C" __global__ void __launch_bounds__(THREADS) adafactor_means(
    float* row_totals, const Tensor* tensors, u32 tensor_count, const float* scale, float kept, float fresh,
    float epsilon) {
  SHARED(float, scratch, WARPS);
  if (scale[1] == 0.0f) return;
  const Tensor tensor = tensors[find(tensors, tensor_count, &Tensor::first_line)];
  const u64 line = blockIdx.x - tensor.first_line, down = tiles_over(tensor.rows);
  const bool is_rows = line < down;
  const u64 at = (is_rows ? line : line - down) * SIDE + threadIdx.x;
  const u64 count = is_rows ? tensor.rows : tensor.width, terms = is_rows ? tensor.width : tensor.rows;
  const float* const sums = is_rows ? tensor.row_sums : tensor.column_sums;
  float* const means = is_rows ? tensor.second : tensor.columns;
  float mean = 0.0f;
  if (at < count) {
    double sum = 0.0;
    for (u64 tile = 0; tile < tiles_over(terms); ++tile) sum += sums[tile * count + at];
    mean = means[at] * kept + float(sum / double(terms) + double(epsilon)) * fresh;
    means[at] = mean;
  }
  mean = block_sum(mean, scratch);
  if (threadIdx.x == 0 && is_rows) row_totals[blockIdx.x] = mean;
}
KERNEL(adafactor_means);

// found[tensor].mean, of a factored matrix.
extern "C" __global__ void __launch_bounds__(THREADS) adafactor_middle(
    Found* found, const float* row_totals, const Tensor* tensors, const float* scale) {
  SHARED(double, totals, THREADS);
  if (scale[1] == 0.0f) return;
  const Tensor tensor = tensors[blockIdx.x];
  if (!tensor.columns) return;
  const double total = total_of(row_totals + tensor.first_line, tiles_over(tensor.rows), totals);
  if (threadIdx.x == 0) found[blockIdx.x].mean = float(total / double(tensor.rows));
}
KERNEL(adafactor_middle);

// step_squares[tile], of a factored matrix: the sum of u^2.
extern "C" __global__ void __launch_bounds__(THREADS) adafactor_lengths(
    float* step_squares, const Found* found, const Tensor* tensors, u32 tensor_count, const float* scale) {
  SHARED(float, scratch, WARPS);
  const float gradient_scale = scale[1];
  if (gradient_scale == 0.0f) return;
  const Tile tile(tensors, tensor_count);
  const Tensor& tensor = tile.tensor;
  if (!tensor.columns) return;
  const float mean = found[tile.number].mean;
  float roots[HALVES][LANE], sum = 0.0f;
  column_roots(roots, tile);
  for (u64 row = tile.row + threadIdx.x / WARP; row < tile.end; row += WARPS) {
    const float of_row = root_of(tensor.second[row] / mean);
    float few = 0.0f;
#pragma unroll
    for (u32 half = 0; half < HALVES; ++half) {
      const u64 c = tile.column_of(half), i = row * tensor.width + c, left = tile.left(i, c);
      float numbers[LANE];
      load_pack(numbers, tensor.gradient + i, left, tile.aligned && left >= LANE);
#pragma unroll
      for (u32 j = 0; j < LANE; ++j) {
        const float u = of_row * roots[half][j] * (numbers[j] * gradient_scale);
        few += u * u;
      }
    }
    sum += few;
  }
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) step_squares[blockIdx.x] = sum;
}
KERNEL(adafactor_lengths);

// found[tensor].step and .decay: the rate, times the root mean square of the weights (at least `least`) with
// `sizes` on, over how far the root mean square of u is beyond `threshold`.
extern "C" __global__ void __launch_bounds__(THREADS) adafactor_rates(
    Found* found, const float* weight_squares, const float* step_squares, const Tensor* tensors,
    const float* scale, float learning_rate, float least, float threshold, u32 sizes) {
  SHARED(double, totals, THREADS);
  if (scale[1] == 0.0f) return;
  const Tensor tensor = tensors[blockIdx.x];
  const u64 tiles = tiles_over(tensor.rows) * tiles_over(tensor.width);
  const double of_weights = total_of(weight_squares + tensor.first_tile, tiles, totals);
  const double of_steps = total_of(step_squares + tensor.first_tile, tiles, totals);
  if (threadIdx.x != 0) return;
  const double count = double(tensor.count);
  const double size = sizes ? fmax(sqrt(of_weights / count), double(least)) : 1.0;
  const double rate = double(learning_rate) * size;
  const double beyond = fmax(sqrt(of_steps / count) / double(threshold), 1.0);
  found[blockIdx.x].step = float(rate / beyond);
  found[blockIdx.x].decay = float(1.0 - rate * double(tensor.weight_decay));
}
KERNEL(adafactor_rates);

// The step. `kept` and `fresh` are of the mean step, where one is kept.
extern "C" __global__ void __launch_bounds__(THREADS) adafactor(const Found* found, const Tensor* tensors,
                                                                u32 tensor_count, const float* scale, float kept,
                                                                float fresh, u32 seed) {
  const float gradient_scale = scale[1];
  if (gradient_scale == 0.0f) return;
  const Tile tile(tensors, tensor_count);
  const Tensor& tensor = tile.tensor;
  const Found here = found[tile.number];
  const u32 draw = draw_of(seed, tensor.number);
  float roots[HALVES][LANE];
  column_roots(roots, tile);
  for (u64 row = tile.row + threadIdx.x / WARP; row < tile.end; row += WARPS) {
    const float of_row = (tensor.columns ? root_of(tensor.second[row] / here.mean) : 1.0f) * here.step;
#pragma unroll
    for (u32 half = 0; half < HALVES; ++half) {
      const u64 c = tile.column_of(half), i = row * tensor.width + c, left = tile.left(i, c);
      const bool aligned = tile.aligned && left >= LANE, whole = in_packs<float>(i) && left >= LANE;
      float numbers[LANE], weights[LANE], kept_steps[LANE];
      load_pack(numbers, tensor.gradient + i, left, aligned);
      tensor.weights.load(weights, i, left, aligned);
      if (!tensor.columns) {
        load_pack(roots[half], tensor.second + i, left, whole);
#pragma unroll
        for (u32 j = 0; j < LANE; ++j) roots[half][j] = root_of(roots[half][j]);
      }
      if (tensor.first) load_pack(kept_steps, tensor.first + i, left, whole);
#pragma unroll
      for (u32 j = 0; j < LANE; ++j) {
        float step = of_row * roots[half][j] * (numbers[j] * gradient_scale);
        if (tensor.first) step = kept_steps[j] = kept_steps[j] * kept + step * fresh;
        weights[j] = weights[j] * here.decay - step;
      }
      if (tensor.first) store_pack(tensor.first + i, kept_steps, left, whole);
      tensor.weights.store(weights, i, left, aligned, draw);
    }
  }
}
KERNEL(adafactor);
