// Attention of a few new tokens to a cache of keys and values: generation (the twin of cache.rs).
//
// Layout: qkv (T, (H + 2G) D) of the new tokens; cache (slots, capacity, 2 G D), a token's row as the k
// and v heads lie in a row of qkv; table (T, 2): the slot of a new token, and its position in it, up to
// which it sees. out (T, H D).
//
// A block takes a token and up to HEADS query heads of a key/value head: their keys and values are read
// once for all of them. Each warp walks every fourth key with an online softmax of its own; the four
// are joined at the end. A lane holds the channels lane, lane + 32, …; a head is at most D wide.
//
// Launch: decode <<<(T, G ceil(H / G / HEADS)), 128>>>; append <<<(ceil(2 G D / PACK / 128), T), 128>>>.

#include "cuda/device.cuh"

namespace {

constexpr u32 HEADS = 4;  // as in device/decode.rs
constexpr u32 WARPS = 4;
constexpr float LOG2_E = 1.4426950408889634f;

template <typename T, u32 D>
__device__ void decode(T* out, const T* qkv, const T* cache, const u32* table, u32 capacity, u32 query_heads,
                       u32 key_heads, u32 width, float scale) {
  constexpr u32 CHANNELS = D / WARP;  // of a lane
  SHARED(float, peaks, WARPS * HEADS);
  SHARED(float, totals, WARPS * HEADS);
  SHARED(float, sums, WARPS * HEADS * D);
  const u32 token = blockIdx.x, slot = table[2 * token], seen = table[2 * token + 1] + 1;
  const u32 group = query_heads / key_heads, parts = (group + HEADS - 1) / HEADS;
  const u32 key_head = blockIdx.y / parts, first = blockIdx.y % parts * HEADS;
  const u32 heads = min(HEADS, group - first);
  const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  const u64 row = 2 * u64(key_heads) * width;
  const T* keys = cache + u64(slot) * capacity * row + key_head * width;
  const T* values = keys + key_heads * width;
  const T* q = qkv + u64(token) * (query_heads + 2 * key_heads) * width + (key_head * group + first) * width;

  float queries[HEADS][CHANNELS], weighed[HEADS][CHANNELS] = {}, peak[HEADS], total[HEADS] = {};
#pragma unroll
  for (u32 head = 0; head < HEADS; ++head) {
    peak[head] = -INFINITY;
#pragma unroll
    for (u32 i = 0; i < CHANNELS; ++i) {
      const u32 c = i * WARP + lane;
      queries[head][i] = head < heads && c < width ? to_float(q[head * width + c]) * (scale * LOG2_E) : 0.0f;
    }
  }
  for (u32 key = warp; key < seen; key += WARPS) {
    float k[CHANNELS], v[CHANNELS];
#pragma unroll
    for (u32 i = 0; i < CHANNELS; ++i) {
      const u32 c = i * WARP + lane;
      k[i] = c < width ? to_float(keys[key * row + c]) : 0.0f;
      v[i] = c < width ? to_float(values[key * row + c]) : 0.0f;
    }
#pragma unroll
    for (u32 head = 0; head < HEADS; ++head) {
      if (head >= heads) break;
      float score = 0.0f;
#pragma unroll
      for (u32 i = 0; i < CHANNELS; ++i) score += queries[head][i] * k[i];
      score = warp_sum(score);
      const float highest = fmaxf(peak[head], score), kept = exp2f(peak[head] - highest);
      const float weight = exp2f(score - highest);
      peak[head] = highest;
      total[head] = total[head] * kept + weight;
#pragma unroll
      for (u32 i = 0; i < CHANNELS; ++i) weighed[head][i] = weighed[head][i] * kept + weight * v[i];
    }
  }
#pragma unroll
  for (u32 head = 0; head < HEADS; ++head) {
    if (lane == 0) {
      peaks[warp * HEADS + head] = peak[head];
      totals[warp * HEADS + head] = total[head];
    }
#pragma unroll
    for (u32 i = 0; i < CHANNELS; ++i) sums[(warp * HEADS + head) * D + i * WARP + lane] = weighed[head][i];
  }
  __syncthreads();
  for (u32 i = threadIdx.x; i < heads * width; i += blockDim.x) {
    const u32 head = i / width, c = i % width;
    float highest = -INFINITY, whole = 0.0f, sum = 0.0f;
    for (u32 other = 0; other < WARPS; ++other) highest = fmaxf(highest, peaks[other * HEADS + head]);
    for (u32 other = 0; other < WARPS; ++other) {
      // A warp without a key has weight 0: its peak is -inf.
      const float kept = exp2f(peaks[other * HEADS + head] - highest);
      whole += kept * totals[other * HEADS + head];
      sum += kept * sums[(other * HEADS + head) * D + c];
    }
    out[(u64(token) * query_heads + key_head * group + first + head) * width + c] = from_float<T>(sum / whole);
  }
}

// The k and v of each new token become the row of its position in its slot.
template <typename T>
__device__ void append(T* cache, const T* qkv, const u32* table, u64 tokens, u32 capacity, u32 channels, u32 row) {
  const u32 c = (blockIdx.x * blockDim.x + threadIdx.x) * PACK<T>;
  if (c >= row) return;
  const bool aligned = in_packs<T>(row) && in_packs<T>(channels);
  for (u64 token = blockIdx.y; token < tokens; token += gridDim.y) {
    const u64 target = u64(table[2 * token]) * capacity + table[2 * token + 1];
    float values[PACK<T>];
    load_pack(values, qkv + (token + 1) * channels - row + c, row - c, aligned);
    store_pack(cache + target * row + c, values, row - c, aligned);
  }
}

}  // namespace

#define DECODE_KERNELS(T, type, D)                                                                              \
  extern "C" __global__ void __launch_bounds__(128) decode_##type##_##D(                                        \
      T* out, const T* qkv, const T* cache, const u32* table, u32 capacity, u32 query_heads, u32 key_heads,     \
      u32 width, float scale) {                                                                                 \
    decode<T, D>(out, qkv, cache, table, capacity, query_heads, key_heads, width, scale);                       \
  }                                                                                                             \
  KERNEL(decode_##type##_##D)

#define DECODE_WIDTHS(T, type)                                                                                  \
  extern "C" __global__ void __launch_bounds__(128) append_##type(                                              \
      T* cache, const T* qkv, const u32* table, u64 tokens, u32 capacity, u32 channels, u32 row) {              \
    append(cache, qkv, table, tokens, capacity, channels, row);                                                 \
  }                                                                                                             \
  KERNEL(append_##type);                                                                                        \
  DECODE_KERNELS(T, type, 64);                                                                                  \
  DECODE_KERNELS(T, type, 128);                                                                                 \
  DECODE_KERNELS(T, type, 256)

DECODE_WIDTHS(float, f32);
DECODE_WIDTHS(bf16, bf16);
