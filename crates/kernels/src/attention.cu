// Attention over packed sequences, forward (backward: attention_backward.cu; both are the twin of attention.rs; Dao, 2023,
// FlashAttention-2), causal or bidirectional, grouped-query, with groups that share a prompt, or with a bias by
// relative distance (attention_bias.cu), of queries and keys in one batch or in two (cross-attention).
//
// Layout: rows of queries, the H heads of q, every q_stride numbers; rows of keys, the G heads of k and the G of v,
// every k_stride: both parts of a row of one qkv (T, (H + 2G) D), or q (T, H D) and kv (S, 2 G D). out (T, H D),
// log_sums and deltas (H, T) f32. Tokens x tokens scores never leave a tile's registers. What a tile works on is decided
// by the host (device/tiles.rs): a query tile attends to the keys `prefix_start .. prefix_end`, all
// of which lie before it, and to its own sequence's from `start` on; a key tile is attended to by the
// queries `query_start .. query_end`. Causal means: a key is seen by the queries from its own row on. In
// cross-attention a query tile has no keys of its own: `prefix` are the rows of its source.
//
// `dropped` kernels drop weights after the softmax (cuda/mask.cuh) and have a bias too, which may be one zero for
// all distances.
//
// A warp owns 16 rows. Width D of the kernel: 64, 80, 96, 128 or 256; heads may be narrower by a
// multiple of 16 bytes, the rest is read as zeros. Launch: tiles x heads blocks; threads and shared
// bytes as in `Shape` below, which device/attention.rs mirrors.

#include "cuda/attention.cuh"

namespace {

template <typename T, u32 D, bool BIASED, bool DROPPED = false>
__device__ void forward(T* out, float* log_sums, const T* q_rows, const T* k_rows, u32 q_stride, u32 k_stride,
                        const QueryTile* tiles, u32 tokens, u32 query_heads, u32 key_heads, u32 width, float scale,
                        bool causal, const Bias& bias, const Mask& mask) {
  using S = Shape<T, D>;
  constexpr u32 KEYS = S::KEYS, STAGES = S::KEY_STAGES;
  DYNAMIC_SHARED(memory);
  T* q = reinterpret_cast<T*>(memory);
  const QueryTile tile = tiles[blockIdx.x];
  const u32 head = blockIdx.y;
  const Passing<T, D, KEYS, STAGES> passing(q + ROWS * S::PITCH, k_rows, k_stride, tile, query_heads, key_heads, width,
                                            causal);
  const u32 count = passing.count;
  auto fetch = [&](u32 index) { passing.fetch(index); };

  copy_rows<T, D, ROWS>(q, q_rows + head * width, q_stride, tile.first, tile.end, width);
  fetch(0);
  copy_async_commit();

  const u32 row = threadIdx.x / WARP * 16, group = threadIdx.x % WARP / 4, column = threadIdx.x % 4 * 2;
  const u32 queries[2] = {tile.first + row + group, tile.first + row + group + 8};
  const float scale2 = scale * LOG2_E;
  const float* bias_values = BIASED ? bias.of_head(head) : nullptr;
  const DroppedHead dropped{mask, head};
  float sums[D / 8][4] = {};
  float peak[2] = {-INFINITY, -INFINITY}, total[2] = {0.0f, 0.0f};

  for (u32 index = 0; index < count; ++index) {
    begin_stage<STAGES>(index, count, fetch);
    const Keys keys = passing.at(index);
    float scores[KEYS / 8][4] = {};
    multiply_rows<T, D, KEYS>(scores, q, row, passing.k(index));
    float highest[2] = {peak[0], peak[1]};
#pragma unroll
    for (u32 n = 0; n < KEYS / 8; ++n) {
#pragma unroll
      for (u32 i = 0; i < 4; ++i) {
        const u32 key = keys.first + n * 8 + column + i % 2;
        const bool seen = key < keys.limit && (!causal || key <= queries[i / 2]);
        const float added = BIASED ? bias.at(bias_values, key, queries[i / 2]) : 0.0f;
        scores[n][i] = seen ? (BIASED ? scores[n][i] * scale2 + added : scores[n][i] * scale2) : -INFINITY;
        highest[i / 2] = fmaxf(highest[i / 2], scores[n][i]);
      }
    }
    float base[2];
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
      highest[half] = row_max(highest[half]);
      base[half] = highest[half] == -INFINITY ? 0.0f : highest[half];  // a row that has seen no key yet
      const float kept = exp2f(peak[half] - base[half]);
      peak[half] = highest[half];
      total[half] *= kept;
#pragma unroll
      for (u32 c = 0; c < D / 8; ++c) {
        sums[c][2 * half] *= kept;
        sums[c][2 * half + 1] *= kept;
      }
    }
#pragma unroll
    for (u32 n = 0; n < KEYS / 8; ++n) {
#pragma unroll
      for (u32 i = 0; i < 4; ++i) {
        scores[n][i] = exp2f(scores[n][i] - base[i / 2]);
        total[i / 2] += scores[n][i];
        // The sum of the softmax is that of all weights.
        if (DROPPED) scores[n][i] *= dropped.factor(queries[i / 2], keys.first + n * 8 + column + i % 2);
      }
    }
    weigh_rows<T, D, KEYS, D>(sums, scores, passing.v(index), 0);
    end_stage<STAGES>(index, count, fetch);
  }

#pragma unroll
  for (u32 half = 0; half < 2; ++half) {
    const float whole = row_sum(total[half]);
    const u32 query = queries[half];
    if (query >= tile.end) continue;
    if (column == 0) log_sums[u64(head) * tokens + query] = peak[half] / LOG2_E + logf(whole);
    T* to = out + (u64(query) * query_heads + head) * width;
#pragma unroll
    for (u32 c = 0; c < D / 8; ++c) {
      const u32 channel = c * 8 + column;
      if (channel < width) store_two(to + channel, sums[c][2 * half] / whole, sums[c][2 * half + 1] / whole, false);
    }
  }
}

}  // namespace

#define ATTENTION_PARAMETERS(T)                                                                                        \
  T *out, float *log_sums, const T *q, const T *k, u32 q_stride, u32 k_stride, const void *tiles, u32 tokens,          \
      u32 query_heads, u32 key_heads, u32 width, float scale, u32 causal

#define ATTENTION_ARGUMENTS                                                                                            \
  out, log_sums, q, k, q_stride, k_stride, static_cast<const QueryTile*>(tiles), tokens, query_heads, key_heads,       \
      width, scale, causal

#define ATTENTION_KERNELS(T, type, D)                                                                                  \
  extern "C" __global__ void __launch_bounds__(128, 1) attention_forward_##type##_##D(ATTENTION_PARAMETERS(T)) {       \
    forward<T, D, false>(ATTENTION_ARGUMENTS, Bias{}, Mask{});                                                         \
  }                                                                                                                    \
  KERNEL(attention_forward_##type##_##D);                                                                              \
  extern "C" __global__ void __launch_bounds__(128, 1) attention_forward_biased_##type##_##D(                          \
      ATTENTION_PARAMETERS(T), const float* bias, u32 past, u32 future) {                                              \
    forward<T, D, true>(ATTENTION_ARGUMENTS, Bias{bias, int(past), int(future)}, Mask{});                              \
  }                                                                                                                    \
  KERNEL(attention_forward_biased_##type##_##D)

#define ATTENTION_DROPPED_KERNEL(T, type, D)                                                                           \
  extern "C" __global__ void __launch_bounds__(128, 1) attention_forward_dropped_##type##_##D(                         \
      ATTENTION_PARAMETERS(T), const float* bias, u32 past, u32 future, u64 key, u32 below, float keep) {              \
    forward<T, D, true, true>(ATTENTION_ARGUMENTS, Bias{bias, int(past), int(future)}, Mask{key, below, keep});        \
  }                                                                                                                    \
  KERNEL(attention_forward_dropped_##type##_##D)

#define ATTENTION_WIDTHS(T, type)         \
  ATTENTION_KERNELS(T, type, 64);         \
  ATTENTION_KERNELS(T, type, 80);         \
  ATTENTION_KERNELS(T, type, 96);         \
  ATTENTION_KERNELS(T, type, 128);        \
  ATTENTION_KERNELS(T, type, 256);        \
  ATTENTION_DROPPED_KERNEL(T, type, 64);  \
  ATTENTION_DROPPED_KERNEL(T, type, 128); \
  ATTENTION_DROPPED_KERNEL(T, type, 256)

ATTENTION_WIDTHS(float, f32);
ATTENTION_WIDTHS(bf16, bf16);
