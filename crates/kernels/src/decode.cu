// Attention of a few new tokens to a cache of keys and values: generation (the twin of cache.rs).
//
// Layout: rows of the new tokens every `stride` numbers, the heads of q first: of qkv (T, (H + 2G) D), or of q
// alone; cache (slots, capacity, 2 G D), a token's row as the k and v heads lie in a row of qkv; table (T, 2): the
// slot of a new token, and its position in it, up to which it sees (the last one of a source that is looked up).
// out (T, H D). bias: as in cuda/attention.cuh, of distances up to 0; not read if `past` is NO_BIAS.
//
// A block takes a token and up to HEADS query heads of a key/value head: their keys and values are read
// once for all of them. Each warp walks every fourth key with an online softmax of its own; the four
// are joined at the end. A lane holds the channels lane, lane + 32, …; a head is at most D wide.
//
// Launch: decode <<<(T, G ceil(H / G / HEADS)), 128>>>; append <<<(ceil(2 G D / PACK / 128), T), 128>>>;
// copy_slots <<<(any, copies), 256>>>.

#include "cuda/device.cuh"

namespace {

constexpr u32 HEADS = 4;  // as in device/decode.rs
constexpr u32 WARPS = 4;
constexpr float LOG2_E = 1.4426950408889634f;
constexpr u32 NO_BIAS = 0xffffffffu;  // as in device/decode.rs

template <typename T, u32 D>
__device__ void decode(T* out, const T* rows, const T* cache, const u32* table, u32 stride, u32 capacity,
                       u32 query_heads, u32 key_heads, u32 width, float scale, const float* bias, u32 past,
                       u32 span) {
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
  const T* q = rows + u64(token) * stride + (key_head * group + first) * width;
  const float* added = past == NO_BIAS ? nullptr : bias + (key_head * group + first) * u64(span);

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
      // From -past on; what lies further away takes the outermost value. A token's own distance is 0.
      if (added != nullptr) score += __ldg(added + head * span + (past - min(past, seen - 1 - key)));
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

// table (copies, 3): a slot, the slot that becomes like it, and how many rows of it.
template <typename T>
__device__ void copy_slots(T* cache, const u32* table, u32 capacity, u32 row) {
  const u32* copy = table + 3 * blockIdx.y;
  const u64 slot = u64(capacity) * row, count = u64(copy[2]) * row;
  const T* from = cache + copy[0] * slot;
  T* to = cache + copy[1] * slot;
  const bool aligned = in_packs<T>(slot);
  const u64 step = u64(gridDim.x) * blockDim.x * PACK<T>;
  for (u64 at = (u64(blockIdx.x) * blockDim.x + threadIdx.x) * PACK<T>; at < count; at += step) {
    float values[PACK<T>];
    const bool whole = aligned && count - at >= PACK<T>;
    load_pack(values, from + at, count - at, whole);
    store_pack(to + at, values, count - at, whole);
  }
}

}  // namespace

#define DECODE_KERNELS(T, type, D)                                                                              \
  extern "C" __global__ void __launch_bounds__(128) decode_##type##_##D(                                        \
      T* out, const T* rows, const T* cache, const u32* table, u32 stride, u32 capacity, u32 query_heads,       \
      u32 key_heads, u32 width, float scale, const float* bias, u32 past, u32 span) {                           \
    decode<T, D>(out, rows, cache, table, stride, capacity, query_heads, key_heads, width, scale, bias, past,   \
                 span);                                                                                         \
  }                                                                                                             \
  KERNEL(decode_##type##_##D)

#define DECODE_WIDTHS(T, type)                                                                                  \
  extern "C" __global__ void __launch_bounds__(128) append_##type(                                              \
      T* cache, const T* qkv, const u32* table, u64 tokens, u32 capacity, u32 channels, u32 row) {              \
    append(cache, qkv, table, tokens, capacity, channels, row);                                                 \
  }                                                                                                             \
  KERNEL(append_##type);                                                                                        \
  extern "C" __global__ void __launch_bounds__(256) copy_slots_##type(                                          \
      T* cache, const u32* table, u32 capacity, u32 row) {                                                      \
    copy_slots(cache, table, capacity, row);                                                                    \
  }                                                                                                             \
  KERNEL(copy_slots_##type);                                                                                    \
  DECODE_KERNELS(T, type, 64);                                                                                  \
  DECODE_KERNELS(T, type, 128);                                                                                 \
  DECODE_KERNELS(T, type, 256)

DECODE_WIDTHS(float, f32);
DECODE_WIDTHS(bf16, bf16);
