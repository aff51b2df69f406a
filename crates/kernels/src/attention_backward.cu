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

// Adds dS (ROWS, KEYS), of which this warp holds rows `row ..`, to the sums by distance: to `line`, of which
// `line[d]` belongs to keys d behind their query, where no other thread has the same d; to `outer`, of this thread,
// the outermost two. Key 0 lies `first` behind query 0. `staging`: KEYS rows of PITCH numbers that nobody needs.
template <typename T, u32 D, u32 KEYS>
__device__ __forceinline__ void add_by_distance(float* line, float (&outer)[2], const Bias& bias, float* staging,
                                                const float (*slopes)[4], u32 row, int first) {
  if (first + int(KEYS) - 1 <= -bias.past || first - int(ROWS) + 1 >= bias.future) {
    // All as far away as can be told, before or behind.
    float sum = 0.0f;
#pragma unroll
    for (u32 n = 0; n < KEYS / 8; ++n) sum += (slopes[n][0] + slopes[n][1]) + (slopes[n][2] + slopes[n][3]);
    outer[first + int(KEYS) - 1 <= -bias.past ? 0 : 1] += sum;
    return;
  }
  constexpr u32 COLUMNS = KEYS < 32 ? KEYS : 32, PITCH = COLUMNS + 1;  // odd: a diagonal meets every bank
  static_assert(ROWS * PITCH * sizeof(float) <= KEYS * Shape<T, D>::PITCH * sizeof(T), "the staging has room");
  const u32 group = threadIdx.x % WARP / 4, column = threadIdx.x % 4 * 2;
#pragma unroll
  for (u32 part = 0; part < KEYS; part += COLUMNS) {
    __syncthreads();
#pragma unroll
    for (u32 n = 0; n < COLUMNS / 8; ++n) {
#pragma unroll
      for (u32 i = 0; i < 4; ++i) {
        staging[(row + group + i / 2 * 8) * PITCH + n * 8 + column + i % 2] = slopes[part / 8 + n][i];
      }
    }
    __syncthreads();
    // A thread takes the diagonal of the keys that lie `off` columns behind their row.
    const int off = int(threadIdx.x) - int(ROWS - 1), distance = first + int(part) + off;
    if (off < int(COLUMNS)) {
      float sum = 0.0f;
      for (int c = max(off, 0); c < min(int(COLUMNS), int(ROWS) + off); ++c) sum += staging[(c - off) * PITCH + c];
      if (distance <= -bias.past) {
        outer[0] += sum;
      } else if (distance >= bias.future) {
        outer[1] += sum;
      } else {
        line[distance] += sum;
      }
    }
  }
}

// dq of a query tile, into rows like those of q: dS = P (dO v^T - delta), dq = scale dS k; where weights are
// dropped, dO v^T is dropped by the same mask. With a bias, and a place for it, also the sums of
// dS by distance: `by_distance` (tiles, H, past + future + 1).
//
// With DELTAS nothing but deltas[h][t] = sum over the keys of P dO v^T, into `by_distance`: what row_products finds,
// but for the rounding of `out`, of which too much would be left in sums over many dS, whose terms cancel.
template <typename T, u32 D, bool BIASED, bool DELTAS = false, bool DROPPED = false>
__device__ void backward_queries(T* sum, const T* q_rows, const T* k_rows, u32 q_stride, u32 k_stride,
                                 const T* gradient, const float* log_sums, const float* deltas, const QueryTile* tiles,
                                 u32 tokens, u32 query_heads, u32 key_heads, u32 width, float scale, bool causal,
                                 bool accumulate, const Bias& bias, const Mask& mask, float* by_distance,
                                 bool sums_distances) {
  using S = Shape<T, D>;
  constexpr u32 KEYS = S::PASSING, STAGES = S::STAGES;
  DYNAMIC_SHARED(memory);
  T* q = reinterpret_cast<T*>(memory);
  T* d_out = q + ROWS * S::PITCH;
  const QueryTile tile = tiles[blockIdx.x];
  const u32 head = blockIdx.y;
  const Passing<T, D, KEYS, STAGES> passing(d_out + ROWS * S::PITCH, k_rows, k_stride, tile, query_heads, key_heads,
                                            width, causal);
  const u32 count = passing.count;
  auto fetch = [&](u32 index) { passing.fetch(index); };

  copy_rows<T, D, ROWS>(q, q_rows + head * width, q_stride, tile.first, tile.end, width);
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
    delta[half] = real && !DELTAS ? deltas[u64(head) * tokens + queries[half]] : 0.0f;
  }
  float d_q[D / 8][4] = {};
  const float* bias_values = BIASED ? bias.of_head(head) : nullptr;
  const DroppedHead dropped{mask, head};
  float* line = nullptr;
  float outer[2] = {};
  if (BIASED && sums_distances) {
    line = by_distance + (u64(blockIdx.x) * query_heads + head) * bias.span();
    for (u32 i = threadIdx.x; i < bias.span(); i += blockDim.x) line[i] = 0.0f;
  }

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
        const float base = BIASED ? log_sum[i / 2] - bias.at(bias_values, key, queries[i / 2]) : log_sum[i / 2];
        const float weight = seen ? exp2f(scores[n][i] * (scale * LOG2_E) - base) : 0.0f;
        if (DROPPED) slopes[n][i] *= dropped.factor(queries[i / 2], key);
        slopes[n][i] = DELTAS ? weight * slopes[n][i] : weight * (slopes[n][i] - delta[i / 2]);
        if (DELTAS) delta[i / 2] += slopes[n][i];
      }
    }
    if (!DELTAS) weigh_rows<T, D, KEYS, D>(d_q, slopes, passing.k(index), 0);
    if (BIASED && sums_distances) {
      // The values of this stage have been used; the next copy to their place starts behind `end_stage`.
      float* staging = reinterpret_cast<float*>(const_cast<T*>(passing.v(index)));
      add_by_distance<T, D, KEYS>(line + bias.past, outer, bias, staging, slopes, row, int(keys.first - tile.first));
    }
    end_stage<STAGES>(index, count, fetch);
  }

  if (DELTAS) {
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
      const float whole = row_sum(delta[half]);
      if (column == 0 && queries[half] < tile.end) by_distance[u64(head) * tokens + queries[half]] = whole;
    }
    return;
  }
  if (BIASED && sums_distances) {
    float* scratch = reinterpret_cast<float*>(memory);  // q is no longer needed
    const float before = block_sum(outer[0], scratch), behind = block_sum(outer[1], scratch);
    if (threadIdx.x == 0) {
      line[0] += before;
      line[bias.past + bias.future] += behind;
    }
  }
#pragma unroll
  for (u32 half = 0; half < 2; ++half) {
    if (queries[half] >= tile.end) continue;
    T* to = sum + u64(queries[half]) * q_stride + head * width;
#pragma unroll
    for (u32 c = 0; c < D / 8; ++c) {
      const u32 channel = c * 8 + column;
      if (channel < width) {
        store_two(to + channel, scale * d_q[c][2 * half], scale * d_q[c][2 * half + 1], accumulate);
      }
    }
  }
}

// dk and dv of a key tile, into rows like those of the keys, over all query heads of its group: dv = P^T dO, where P
// is dropped like dO v^T, dk = scale dS^T q. A source that no target sees has no queries, and a gradient of zeros.
template <typename T, u32 D, bool BIASED, bool DROPPED = false>
__device__ void backward_keys(T* sum, const T* q_rows, const T* k_rows, u32 q_stride, u32 k_stride, const T* gradient,
                              const float* log_sums, const float* deltas, const KeyTile* tiles, u32 tokens,
                              u32 query_heads, u32 key_heads, u32 width, float scale, bool causal, bool accumulate,
                              const Bias& bias, const Mask& mask) {
  using S = Shape<T, D>;
  constexpr u32 QUERIES = S::PASSING, STAGES = S::STAGES, STAGE = QUERIES * S::PITCH, CHANNELS = D / S::HALVES;
  DYNAMIC_SHARED(memory);
  T* k = reinterpret_cast<T*>(memory);
  T* v = k + ROWS * S::PITCH;
  T* q = v + ROWS * S::PITCH;
  T* d_out = q + STAGES * STAGE;
  const KeyTile tile = tiles[blockIdx.x];
  const u32 key_head = blockIdx.y, heads_a_group = query_heads / key_heads;
  const u64 out_stride = u64(query_heads) * width;
  const u32 k_channel = key_head * width, v_channel = k_channel + key_heads * width;
  const u32 a_head = (tile.query_end - tile.query_start + QUERIES - 1) / QUERIES;  // query tiles
  const u32 count = a_head * heads_a_group;
  auto fetch = [&](u32 index) {
    const u32 head = key_head * heads_a_group + index / a_head;
    const u32 first = tile.query_start + index % a_head * QUERIES;
    copy_rows<T, D, QUERIES>(q + index % STAGES * STAGE, q_rows + head * width, q_stride, first, tile.query_end, width);
    copy_rows<T, D, QUERIES>(d_out + index % STAGES * STAGE, gradient + head * width, out_stride, first, tile.query_end,
                             width);
  };

  copy_rows<T, D, ROWS>(k, k_rows + k_channel, k_stride, tile.first, tile.end, width);
  copy_rows<T, D, ROWS>(v, k_rows + v_channel, k_stride, tile.first, tile.end, width);
  if (count > 0) fetch(0);
  copy_async_commit();
  if (count == 0) copy_async_wait<0>();

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
    const float* bias_values = BIASED ? bias.of_head(head) : nullptr;
    const DroppedHead dropped{mask, head};
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
        const float base = BIASED ? log_sum - bias.at(bias_values, key, query) : log_sum;
        scores[n][i] = seen ? exp2f(scores[n][i] * (scale * LOG2_E) - base) : 0.0f;
        const float factor = DROPPED ? dropped.factor(query, key) : 1.0f;
        slopes[n][i] = scores[n][i] * ((DROPPED ? factor * slopes[n][i] : slopes[n][i]) - delta);
        if (DROPPED) scores[n][i] *= factor;
      }
    }
    weigh_rows<T, D, QUERIES, CHANNELS>(d_v, scores, d_out_tile, first_channel);
    weigh_rows<T, D, QUERIES, CHANNELS>(d_k, slopes, q_tile, first_channel);
    end_stage<STAGES>(index, count, fetch);
  }

#pragma unroll
  for (u32 half = 0; half < 2; ++half) {
    if (keys[half] >= tile.end) continue;
    T* to = sum + u64(keys[half]) * k_stride;
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

#define ATTENTION_PARAMETERS(T)                                                                                        \
  T *sum, const T *q, const T *k, u32 q_stride, u32 k_stride, const T *gradient, const float *log_sums,                \
      const float *deltas, const void *tiles, u32 tokens, u32 query_heads, u32 key_heads, u32 width, float scale,      \
      u32 causal, u32 accumulate
#define BIAS_PARAMETERS const float *bias, u32 past, u32 future
#define MASK_PARAMETERS u64 key, u32 below, float keep
#define PLACE_PARAMETERS float *by_distance, u32 sums_distances

#define ATTENTION_ARGUMENTS(Tile)                                                                                      \
  sum, q, k, q_stride, k_stride, gradient, log_sums, deltas, static_cast<const Tile*>(tiles), tokens, query_heads,     \
      key_heads, width, scale, causal, accumulate
#define THE_BIAS Bias{bias, int(past), int(future)}
#define THE_MASK Mask{key, below, keep}

#define ATTENTION_KERNEL(name, threads, ...)                                                                           \
  extern "C" __global__ void __launch_bounds__(threads, 1) attention_backward_##name(__VA_ARGS__)

#define ATTENTION_KERNELS(T, type, D)                                                                                  \
  ATTENTION_KERNEL(queries_##type##_##D, 128, ATTENTION_PARAMETERS(T)) {                                               \
    backward_queries<T, D, false>(ATTENTION_ARGUMENTS(QueryTile), Bias{}, Mask{}, nullptr, false);                     \
  }                                                                                                                    \
  KERNEL(attention_backward_queries_##type##_##D);                                                                     \
  ATTENTION_KERNEL(keys_##type##_##D, (128 * Shape<T, D>::HALVES), ATTENTION_PARAMETERS(T)) {                          \
    backward_keys<T, D, false>(ATTENTION_ARGUMENTS(KeyTile), Bias{}, Mask{});                                          \
  }                                                                                                                    \
  KERNEL(attention_backward_keys_##type##_##D);                                                                        \
  ATTENTION_KERNEL(queries_biased_##type##_##D, 128, ATTENTION_PARAMETERS(T), BIAS_PARAMETERS, PLACE_PARAMETERS) {     \
    backward_queries<T, D, true>(ATTENTION_ARGUMENTS(QueryTile), THE_BIAS, Mask{}, by_distance, sums_distances);       \
  }                                                                                                                    \
  KERNEL(attention_backward_queries_biased_##type##_##D);                                                              \
  ATTENTION_KERNEL(keys_biased_##type##_##D, (128 * Shape<T, D>::HALVES), ATTENTION_PARAMETERS(T), BIAS_PARAMETERS) {  \
    backward_keys<T, D, true>(ATTENTION_ARGUMENTS(KeyTile), THE_BIAS, Mask{});                                         \
  }                                                                                                                    \
  KERNEL(attention_backward_keys_biased_##type##_##D);                                                                 \
  ATTENTION_KERNEL(deltas_biased_##type##_##D, 128, ATTENTION_PARAMETERS(T), BIAS_PARAMETERS) {                        \
    backward_queries<T, D, true, true>(ATTENTION_ARGUMENTS(QueryTile), THE_BIAS, Mask{}, const_cast<float*>(deltas),   \
                                       false);                                                                         \
  }                                                                                                                    \
  KERNEL(attention_backward_deltas_biased_##type##_##D)

#define ATTENTION_DROPPED_KERNELS(T, type, D)                                                                          \
  ATTENTION_KERNEL(queries_dropped_##type##_##D, 128, ATTENTION_PARAMETERS(T), BIAS_PARAMETERS, MASK_PARAMETERS,       \
                   PLACE_PARAMETERS) {                                                                                 \
    backward_queries<T, D, true, false, true>(ATTENTION_ARGUMENTS(QueryTile), THE_BIAS, THE_MASK, by_distance,         \
                                              sums_distances);                                                         \
  }                                                                                                                    \
  KERNEL(attention_backward_queries_dropped_##type##_##D);                                                             \
  ATTENTION_KERNEL(keys_dropped_##type##_##D, (128 * Shape<T, D>::HALVES), ATTENTION_PARAMETERS(T), BIAS_PARAMETERS,   \
                   MASK_PARAMETERS) {                                                                                  \
    backward_keys<T, D, true, true>(ATTENTION_ARGUMENTS(KeyTile), THE_BIAS, THE_MASK);                                 \
  }                                                                                                                    \
  KERNEL(attention_backward_keys_dropped_##type##_##D);                                                                \
  ATTENTION_KERNEL(deltas_dropped_##type##_##D, 128, ATTENTION_PARAMETERS(T), BIAS_PARAMETERS, MASK_PARAMETERS) {      \
    backward_queries<T, D, true, true, true>(ATTENTION_ARGUMENTS(QueryTile), THE_BIAS, THE_MASK,                       \
                                             const_cast<float*>(deltas), false);                                       \
  }                                                                                                                    \
  KERNEL(attention_backward_deltas_dropped_##type##_##D)

#define ATTENTION_WIDTHS(T, type)                                                           \
  extern "C" __global__ void __launch_bounds__(128) attention_row_products_##type(          \
      float* deltas, const T* out, const T* gradient, u32 tokens, u32 heads, u32 width) {   \
    row_products(deltas, out, gradient, tokens, heads, width);                              \
  }                                                                                         \
  KERNEL(attention_row_products_##type);                                                    \
  ATTENTION_KERNELS(T, type, 64);                                                           \
  ATTENTION_KERNELS(T, type, 80);                                                           \
  ATTENTION_KERNELS(T, type, 96);                                                           \
  ATTENTION_KERNELS(T, type, 128);                                                          \
  ATTENTION_KERNELS(T, type, 256);                                                          \
  ATTENTION_DROPPED_KERNELS(T, type, 64);                                                   \
  ATTENTION_DROPPED_KERNELS(T, type, 128);                                                  \
  ATTENTION_DROPPED_KERNELS(T, type, 256)

ATTENTION_WIDTHS(float, f32);
ATTENTION_WIDTHS(bf16, bf16);
