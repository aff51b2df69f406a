// Attention over packed sequences, backward (layouts and tiles: attention.cu).
//
// Backward has no atomics: one pass over query tiles writes dq, one over key tiles writes dk and dv,
// a key/value head's query heads summed in order. Each computes the scores again (7 products where 5
// would do; the bits are the same every time). The key pass turns the products around (keys are the
// rows), so that no tile is ever transposed through memory.

#include "cuda/attention.cuh"

namespace {

// deltas[h][t] = sum over the channels of out * gradient. A warp takes a head of a row.
template <typename T>
__device__ void row_products(float* deltas, const T* out, const T* gradient, u32 tokens, u32 heads, u32 width) {
  const u64 item = u64(blockIdx.x) * (blockDim.x / WARP) + threadIdx.x / WARP;
  if (item >= u64(tokens) * heads) return;
  float sum = 0.0f;
  for (u32 c = threadIdx.x % WARP * PACK<T>; c < width; c += WARP * PACK<T>) {
    float first[PACK<T>], second[PACK<T>];
    load_pack(first, out + item * width + c, width - c, true);
    load_pack(second, gradient + item * width + c, width - c, true);
#pragma unroll
    for (u32 i = 0; i < PACK<T>; ++i) sum += first[i] * second[i];
  }
  sum = warp_sum(sum);
  if (threadIdx.x % WARP == 0) deltas[item % heads * tokens + item / heads] = sum;
}

// dq of a query tile: dS = P (dO v^T - delta), dq = scale dS k.
template <typename T, u32 D>
__device__ void backward_queries(T* sum, const T* qkv, const T* gradient, const float* log_sums, const float* deltas,
                                 const QueryTile* tiles, u32 tokens, u32 query_heads, u32 key_heads, u32 width,
                                 float scale, bool causal, bool accumulate) {
  using S = Shape<T, D>;
  constexpr u32 KEYS = S::PASSING, STAGES = S::STAGES;
  DYNAMIC_SHARED(memory);
  T* q = reinterpret_cast<T*>(memory);
  T* d_out = q + ROWS * S::PITCH;
  const QueryTile tile = tiles[blockIdx.x];
  const u32 head = blockIdx.y;
  const u64 stride = u64(query_heads + 2 * key_heads) * width;
  const Passing<T, D, KEYS, STAGES> passing(d_out + ROWS * S::PITCH, qkv, tile, query_heads, key_heads, width, causal);
  const u32 count = passing.count;
  auto fetch = [&](u32 index) { passing.fetch(index); };

  copy_rows<T, D, ROWS>(q, qkv + head * width, stride, tile.first, tile.end, width);
  copy_rows<T, D, ROWS>(d_out, gradient + head * width, u64(query_heads) * width, tile.first, tile.end, width);
  fetch(0);
  copy_async_commit();

  const u32 row = threadIdx.x / WARP * 16, group = threadIdx.x % WARP / 4, column = threadIdx.x % 4 * 2;
  const u32 queries[2] = {tile.first + row + group, tile.first + row + group + 8};
  float log_sum[2], delta[2];
#pragma unroll
  for (u32 half = 0; half < 2; ++half) {
    const bool real = queries[half] < tile.end;
    log_sum[half] = real ? log_sums[u64(head) * tokens + queries[half]] * LOG2_E : 0.0f;
    delta[half] = real ? deltas[u64(head) * tokens + queries[half]] : 0.0f;
  }
  float d_q[D / 8][4] = {};

  for (u32 index = 0; index < count; ++index) {
    begin_stage<STAGES>(index, count, fetch);
    const Keys keys = passing.at(index);
    float scores[KEYS / 8][4] = {}, slopes[KEYS / 8][4] = {};
    multiply_rows<T, D, KEYS>(scores, q, row, passing.k(index));
    multiply_rows<T, D, KEYS>(slopes, d_out, row, passing.v(index));
#pragma unroll
    for (u32 n = 0; n < KEYS / 8; ++n) {
#pragma unroll
      for (u32 i = 0; i < 4; ++i) {
        const u32 key = keys.first + n * 8 + column + i % 2;
        const bool seen = key < keys.limit && queries[i / 2] < tile.end && (!causal || key <= queries[i / 2]);
        const float weight = seen ? exp2f(scores[n][i] * (scale * LOG2_E) - log_sum[i / 2]) : 0.0f;
        slopes[n][i] = weight * (slopes[n][i] - delta[i / 2]);
      }
    }
    weigh_rows<T, D, KEYS, D>(d_q, slopes, passing.k(index), 0);
    end_stage<STAGES>(index, count, fetch);
  }

#pragma unroll
  for (u32 half = 0; half < 2; ++half) {
    if (queries[half] >= tile.end) continue;
    T* to = sum + u64(queries[half]) * stride + head * width;
#pragma unroll
    for (u32 c = 0; c < D / 8; ++c) {
      const u32 channel = c * 8 + column;
      if (channel < width) {
        store_two(to + channel, scale * d_q[c][2 * half], scale * d_q[c][2 * half + 1], accumulate);
      }
    }
  }
}

// dk and dv of a key tile, over all query heads of its group: dv = P^T dO, dk = scale dS^T q.
template <typename T, u32 D>
__device__ void backward_keys(T* sum, const T* qkv, const T* gradient, const float* log_sums, const float* deltas,
                              const KeyTile* tiles, u32 tokens, u32 query_heads, u32 key_heads, u32 width, float scale,
                              bool causal, bool accumulate) {
  using S = Shape<T, D>;
  constexpr u32 QUERIES = S::PASSING, STAGES = S::STAGES, STAGE = QUERIES * S::PITCH, CHANNELS = D / S::HALVES;
  DYNAMIC_SHARED(memory);
  T* k = reinterpret_cast<T*>(memory);
  T* v = k + ROWS * S::PITCH;
  T* q = v + ROWS * S::PITCH;
  T* d_out = q + STAGES * STAGE;
  const KeyTile tile = tiles[blockIdx.x];
  const u32 key_head = blockIdx.y, heads_a_group = query_heads / key_heads;
  const u64 stride = u64(query_heads + 2 * key_heads) * width, out_stride = u64(query_heads) * width;
  const u32 k_channel = (query_heads + key_head) * width, v_channel = k_channel + key_heads * width;
  const u32 a_head = (tile.query_end - tile.query_start + QUERIES - 1) / QUERIES;  // query tiles
  const u32 count = a_head * heads_a_group;
  auto fetch = [&](u32 index) {
    const u32 head = key_head * heads_a_group + index / a_head;
    const u32 first = tile.query_start + index % a_head * QUERIES;
    copy_rows<T, D, QUERIES>(q + index % STAGES * STAGE, qkv + head * width, stride, first, tile.query_end, width);
    copy_rows<T, D, QUERIES>(d_out + index % STAGES * STAGE, gradient + head * width, out_stride, first, tile.query_end,
                             width);
  };

  copy_rows<T, D, ROWS>(k, qkv + k_channel, stride, tile.first, tile.end, width);
  copy_rows<T, D, ROWS>(v, qkv + v_channel, stride, tile.first, tile.end, width);
  fetch(0);
  copy_async_commit();

  const u32 warp = threadIdx.x / WARP, row = warp % 4 * 16, first_channel = warp / 4 * CHANNELS;
  const u32 group = threadIdx.x % WARP / 4, column = threadIdx.x % 4 * 2;
  const u32 keys[2] = {tile.first + row + group, tile.first + row + group + 8};
  float d_k[CHANNELS / 8][4] = {}, d_v[CHANNELS / 8][4] = {};

  for (u32 index = 0; index < count; ++index) {
    begin_stage<STAGES>(index, count, fetch);
    const T* q_tile = q + index % STAGES * STAGE;
    const T* d_out_tile = d_out + index % STAGES * STAGE;
    const u64 head = key_head * heads_a_group + index / a_head;
    const u32 first = tile.query_start + index % a_head * QUERIES;
    float scores[QUERIES / 8][4] = {}, slopes[QUERIES / 8][4] = {};  // (key, query)
    multiply_rows<T, D, QUERIES>(scores, k, row, q_tile);
    multiply_rows<T, D, QUERIES>(slopes, v, row, d_out_tile);
#pragma unroll
    for (u32 n = 0; n < QUERIES / 8; ++n) {
#pragma unroll
      for (u32 i = 0; i < 4; ++i) {
        const u32 query = first + n * 8 + column + i % 2, key = keys[i / 2];
        const bool real = query < tile.query_end;
        const bool seen = real && key < tile.end && (!causal || key <= query);
        const float log_sum = real ? log_sums[head * tokens + query] * LOG2_E : 0.0f;
        const float delta = real ? deltas[head * tokens + query] : 0.0f;
        scores[n][i] = seen ? exp2f(scores[n][i] * (scale * LOG2_E) - log_sum) : 0.0f;
        slopes[n][i] = scores[n][i] * (slopes[n][i] - delta);
      }
    }
    weigh_rows<T, D, QUERIES, CHANNELS>(d_v, scores, d_out_tile, first_channel);
    weigh_rows<T, D, QUERIES, CHANNELS>(d_k, slopes, q_tile, first_channel);
    end_stage<STAGES>(index, count, fetch);
  }

#pragma unroll
  for (u32 half = 0; half < 2; ++half) {
    if (keys[half] >= tile.end) continue;
    T* to = sum + u64(keys[half]) * stride;
#pragma unroll
    for (u32 c = 0; c < CHANNELS / 8; ++c) {
      const u32 channel = first_channel + c * 8 + column;
      if (channel < width) {
        store_two(to + k_channel + channel, scale * d_k[c][2 * half], scale * d_k[c][2 * half + 1], accumulate);
        store_two(to + v_channel + channel, d_v[c][2 * half], d_v[c][2 * half + 1], accumulate);
      }
    }
  }
}

}  // namespace

#define ATTENTION_KERNELS(T, type, D)                                                                                  \
  extern "C" __global__ void __launch_bounds__(128, 1) attention_backward_queries_##type##_##D(                           \
      T* sum, const T* qkv, const T* gradient, const float* log_sums, const float* deltas, const void* tiles,          \
      u32 tokens, u32 query_heads, u32 key_heads, u32 width, float scale, u32 causal, u32 accumulate) {                \
    backward_queries<T, D>(sum, qkv, gradient, log_sums, deltas, static_cast<const QueryTile*>(tiles), tokens,         \
                           query_heads, key_heads, width, scale, causal, accumulate);                                  \
  }                                                                                                                    \
  KERNEL(attention_backward_queries_##type##_##D);                                                                     \
  extern "C" __global__ void __launch_bounds__(128 * Shape<T, D>::HALVES, 1) attention_backward_keys_##type##_##D(        \
      T* sum, const T* qkv, const T* gradient, const float* log_sums, const float* deltas, const void* tiles,          \
      u32 tokens, u32 query_heads, u32 key_heads, u32 width, float scale, u32 causal, u32 accumulate) {                \
    backward_keys<T, D>(sum, qkv, gradient, log_sums, deltas, static_cast<const KeyTile*>(tiles), tokens, query_heads, \
                        key_heads, width, scale, causal, accumulate);                                                  \
  }                                                                                                                    \
  KERNEL(attention_backward_keys_##type##_##D)

#define ATTENTION_WIDTHS(T, type)                                                                                      \
  extern "C" __global__ void __launch_bounds__(128) attention_row_products_##type(                                     \
      float* deltas, const T* out, const T* gradient, u32 tokens, u32 heads, u32 width) {                              \
    row_products(deltas, out, gradient, tokens, heads, width);                                                         \
  }                                                                                                                    \
  KERNEL(attention_row_products_##type);                                                                               \
  ATTENTION_KERNELS(T, type, 64);                                                                                     \
  ATTENTION_KERNELS(T, type, 80);                                                                                     \
  ATTENTION_KERNELS(T, type, 96);                                                                                     \
  ATTENTION_KERNELS(T, type, 128);                                                                                    \
  ATTENTION_KERNELS(T, type, 256)

ATTENTION_WIDTHS(float, f32);
ATTENTION_WIDTHS(bf16, bf16);
