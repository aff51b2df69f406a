// Attention's bias by relative distance: a learned table (B buckets, H heads) and its gradient (Raffel et al., 2020, T5).
//
// Which bucket a distance falls into is the host's (attention/bias.rs): `buckets[i]` is that of keys `i - past`
// behind their query, for `span` distances, the outermost of which stand for all beyond. Attention's kernels read
// `values` and write the sums of dS by distance, a line a tile; sum_lines (reduce.cu) adds the lines up.
//
// Launch: values <<<(ceil(span / 128), H), 128>>>; gradient <<<ceil(buckets H / 128), 128>>>.

#include "cuda/device.cuh"

namespace {

constexpr float LOG2_E = 1.4426950408889634f;

// values (H, span) = table[buckets[i]][h] log2(e).
template <typename T>
__device__ void values_by_distance(float* values, const T* table, const u32* buckets, u32 heads, u32 span) {
  const u32 i = blockIdx.x * blockDim.x + threadIdx.x, head = blockIdx.y;
  if (i < span) values[u64(head) * span + i] = to_float(table[buckets[i] * heads + head]) * LOG2_E;
}

}  // namespace

#define BIAS_VALUES(T, type)                                                                          \
  extern "C" __global__ void __launch_bounds__(128) attention_bias_values_##type(                     \
      float* values, const T* table, const u32* buckets, u32 heads, u32 span) {                       \
    values_by_distance(values, table, buckets, heads, span);                                          \
  }                                                                                                   \
  KERNEL(attention_bias_values_##type)

BIAS_VALUES(float, f32);
BIAS_VALUES(bf16, bf16);

// sum (count, H) (+)= by_distance (H, span), summed over the distances of each of `count` buckets from `first` on.
extern "C" __global__ void __launch_bounds__(128)
    attention_bias_gradient(float* sum, const float* by_distance, const u32* buckets, u32 first, u32 count, u32 heads,
                            u32 span, u32 accumulate) {
  const u32 item = blockIdx.x * blockDim.x + threadIdx.x;
  if (item >= count * heads) return;
  const float* of_head = by_distance + u64(item % heads) * span;
  float total = accumulate ? sum[item] : 0.0f;
  for (u32 i = 0; i < span; ++i) {
    if (buckets[i] == first + item / heads) total += of_head[i];
  }
  sum[item] = total;
}
KERNEL(attention_bias_gradient);
