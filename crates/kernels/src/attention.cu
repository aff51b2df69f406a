// Attention over packed sequences, forward and backward (the twin of attention.rs; Dao, 2023,
// FlashAttention-2), causal or bidirectional, grouped-query, with groups that share a prompt.
//
// Layout: qkv (T, (H + 2G) D) with q, k and v heads side by side, out (T, H D), log_sums and deltas
// (H, T) f32. Tokens x tokens scores never leave a tile's registers. What a tile works on is decided
// by the host (device/tiles.rs): a query tile attends to the keys `prefix_start .. prefix_end`, all
// of which lie before it, and to its own sequence's from `start` on; a key tile is attended to by the
// queries `query_start .. query_end`. Causal means: a key is seen by the queries from its own row on.
//
// Backward has no atomics: one pass over query tiles writes dq, one over key tiles writes dk and dv,
// a key/value head's query heads summed in order. Each computes the scores again (7 products where 5
// would do; the bits are the same every time). The key pass turns the products around (keys are the
// rows), so that no tile is ever transposed through memory.
//
// A warp owns 16 rows. Width D of the kernel: 64, 80, 96, 128 or 256; heads may be narrower by a
// multiple of 16 bytes, the rest is read as zeros. Launch: tiles x heads blocks; threads and shared
// bytes as in `Shape` below, which device/attention.rs mirrors.

#include "cuda/units.cuh"

namespace {

constexpr u32 ROWS = 64;  // rows of the tile that a block keeps
constexpr float LOG2_E = 1.4426950408889634f;

// Rows of the tiles that pass by, and how many of them are in flight.
template <typename T, u32 D>
struct Shape {
  static constexpr u32 PITCH = D + PACK<T>;  // the padding spreads rows over the banks
  static constexpr u32 BYTES = D * sizeof(T);
  static constexpr u32 KEYS = BYTES < 256 || BYTES == 256 ? 64 : BYTES <= 512 ? 32 : 16;
  static constexpr u32 KEY_STAGES = BYTES > 512 ? 1 : 2;
  static constexpr u32 PASSING = BYTES < 256 ? 64 : BYTES == 256 ? 32 : 16;  // in the backward passes
  static constexpr u32 STAGES = BYTES > 512 ? 1 : 2;
  // Two warps share 16 keys and halve the channels where one warp's registers would not do.
  static constexpr u32 HALVES = D > 128 ? 2 : 1;
};

struct QueryTile {
  u32 first, start, end, prefix_start, prefix_end;
};

struct KeyTile {
  u32 first, end, query_start, query_end;
};

// Rows `first .. limit` of a head, as many as the tile has; zeros below and to the right of them.
template <typename T, u32 D, u32 TILE_ROWS>
__device__ __forceinline__ void copy_rows(T* to, const T* head, u64 stride, u32 first, u32 limit, u32 width) {
  constexpr u32 PACKS = D / PACK<T>;
  for (u32 i = threadIdx.x; i < TILE_ROWS * PACKS; i += blockDim.x) {
    const u32 row = i / PACKS, c = i % PACKS * PACK<T>;
    const bool valid = first + row < limit && c < width;
    const T* from = valid ? head + u64(first + row) * stride + c : head;
    copy_async_16(to + row * Shape<T, D>::PITCH + c, from, valid);
  }
}

// Sum over the four lanes that hold a row.
__device__ __forceinline__ float row_sum(float value) {
  value += __shfl_xor_sync(ALL_LANES, value, 1);
  return value + __shfl_xor_sync(ALL_LANES, value, 2);
}
__device__ __forceinline__ float row_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, 1));
  return fmaxf(value, __shfl_xor_sync(ALL_LANES, value, 2));
}

template <typename T>
__device__ __forceinline__ void store_two(T* to, float first, float second, bool accumulate) {
  to[0] = from_float<T>(accumulate ? to_float(to[0]) + first : first);
  to[1] = from_float<T>(accumulate ? to_float(to[1]) + second : second);
}

// products (16, N) += rows `row ..` of `left` times rows 0 .. N of `right`, over their D channels.
template <typename T, u32 D, u32 N>
__device__ __forceinline__ void multiply_rows(float (*products)[4], const T* left, u32 row, const T* right) {
  using U = Units<T>;
  constexpr u32 PITCH = Shape<T, D>::PITCH;
  constexpr u32 AT_ONCE = sizeof(T) == 4 || D > 128 ? 2 : D / U::K;  // more of a wide head would not fit the registers
#pragma unroll AT_ONCE
  for (u32 k = 0; k < D; k += U::K) {
    const typename U::A a = U::load_a(left, PITCH, row, k);
#pragma unroll
    for (u32 n = 0; n < N; n += 16) {
      typename U::B b[2];
      U::load_b(b, right, PITCH, n, k);
      U::multiply(products[n / 8], a, b[0]);
      U::multiply(products[n / 8 + 1], a, b[1]);
    }
  }
}

// sums (16, C) += weights (16, N) times columns `column .. column + C` of the N rows of `right`.
template <typename T, u32 D, u32 N, u32 C>
__device__ __forceinline__ void weigh_rows(float (*sums)[4], const float (*weights)[4], const T* right, u32 column) {
  using U = Units<T>;
#pragma unroll
  for (u32 k = 0; k < N; k += U::K) {
    const typename U::A a = U::from_products(weights + k / 8);
#pragma unroll
    for (u32 c = 0; c < C; c += 16) {
      typename U::B b[2];
      U::load_b_upright(b, right, Shape<T, D>::PITCH, k, column + c);
      U::multiply(sums[c / 8], a, b[0]);
      U::multiply(sums[c / 8 + 1], a, b[1]);
    }
  }
}

// A walk over keys: first the shared prompt's, then the sequence's own.
struct Keys {
  u32 first, limit;
};

template <u32 KEYS>
__device__ __forceinline__ u32 key_tiles(const QueryTile& tile, u32 own_limit) {
  return (tile.prefix_end - tile.prefix_start + KEYS - 1) / KEYS + (own_limit - tile.start + KEYS - 1) / KEYS;
}

template <u32 KEYS>
__device__ __forceinline__ Keys keys_at(const QueryTile& tile, u32 own_limit, u32 index) {
  const u32 prefix_tiles = (tile.prefix_end - tile.prefix_start + KEYS - 1) / KEYS;
  if (index < prefix_tiles) return {tile.prefix_start + index * KEYS, tile.prefix_end};
  return {tile.start + (index - prefix_tiles) * KEYS, own_limit};
}

// The last own key that any query of the tile sees, and one.
__device__ __forceinline__ u32 own_keys_end(const QueryTile& tile, bool causal) {
  return causal ? min(tile.first + ROWS, tile.end) : tile.end;
}

template <typename T, u32 D>
__device__ void forward(T* out, float* log_sums, const T* qkv, const QueryTile* tiles, u32 tokens, u32 query_heads,
                        u32 key_heads, u32 width, float scale, bool causal) {
  using S = Shape<T, D>;
  constexpr u32 KEYS = S::KEYS, STAGES = S::KEY_STAGES, STAGE = KEYS * S::PITCH;
  DYNAMIC_SHARED(memory);
  T* q = reinterpret_cast<T*>(memory);
  T* k = q + ROWS * S::PITCH;
  T* v = k + STAGES * STAGE;
  const QueryTile tile = tiles[blockIdx.x];
  const u32 head = blockIdx.y, key_head = head / (query_heads / key_heads);
  const u64 stride = u64(query_heads + 2 * key_heads) * width;
  const T* k_head = qkv + (query_heads + key_head) * width;
  const T* v_head = k_head + key_heads * width;
  const u32 own_limit = own_keys_end(tile, causal);
  const u32 count = key_tiles<KEYS>(tile, own_limit);
  auto fetch = [&](u32 index) {
    const Keys keys = keys_at<KEYS>(tile, own_limit, index);
    copy_rows<T, D, KEYS>(k + index % STAGES * STAGE, k_head, stride, keys.first, keys.limit, width);
    copy_rows<T, D, KEYS>(v + index % STAGES * STAGE, v_head, stride, keys.first, keys.limit, width);
  };

  copy_rows<T, D, ROWS>(q, qkv + head * width, stride, tile.first, tile.end, width);
  fetch(0);
  copy_async_commit();

  const u32 row = threadIdx.x / WARP * 16, group = threadIdx.x % WARP / 4, column = threadIdx.x % 4 * 2;
  const u32 queries[2] = {tile.first + row + group, tile.first + row + group + 8};
  const float scale2 = scale * LOG2_E;
  float sums[D / 8][4] = {};
  float peak[2] = {-INFINITY, -INFINITY}, total[2] = {0.0f, 0.0f};

  for (u32 index = 0; index < count; ++index) {
    if (STAGES > 1) {
      if (index + 1 < count) fetch(index + 1);
      copy_async_commit();
    }
    copy_async_wait<STAGES - 1>();
    __syncthreads();
    const Keys keys = keys_at<KEYS>(tile, own_limit, index);
    float scores[KEYS / 8][4] = {};
    multiply_rows<T, D, KEYS>(scores, q, row, k + index % STAGES * STAGE);
    float highest[2] = {peak[0], peak[1]};
#pragma unroll
    for (u32 n = 0; n < KEYS / 8; ++n) {
#pragma unroll
      for (u32 i = 0; i < 4; ++i) {
        const u32 key = keys.first + n * 8 + column + i % 2;
        const bool seen = key < keys.limit && (!causal || key <= queries[i / 2]);
        scores[n][i] = seen ? scores[n][i] * scale2 : -INFINITY;
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
      }
    }
    weigh_rows<T, D, KEYS, D>(sums, scores, v + index % STAGES * STAGE, 0);
    __syncthreads();
    if (STAGES == 1 && index + 1 < count) {
      fetch(index + 1);
      copy_async_commit();
    }
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
  constexpr u32 KEYS = S::PASSING, STAGES = S::STAGES, STAGE = KEYS * S::PITCH;
  DYNAMIC_SHARED(memory);
  T* q = reinterpret_cast<T*>(memory);
  T* d_out = q + ROWS * S::PITCH;
  T* k = d_out + ROWS * S::PITCH;
  T* v = k + STAGES * STAGE;
  const QueryTile tile = tiles[blockIdx.x];
  const u32 head = blockIdx.y, key_head = head / (query_heads / key_heads);
  const u64 stride = u64(query_heads + 2 * key_heads) * width;
  const T* k_head = qkv + (query_heads + key_head) * width;
  const T* v_head = k_head + key_heads * width;
  const u32 own_limit = own_keys_end(tile, causal);
  const u32 count = key_tiles<KEYS>(tile, own_limit);
  auto fetch = [&](u32 index) {
    const Keys keys = keys_at<KEYS>(tile, own_limit, index);
    copy_rows<T, D, KEYS>(k + index % STAGES * STAGE, k_head, stride, keys.first, keys.limit, width);
    copy_rows<T, D, KEYS>(v + index % STAGES * STAGE, v_head, stride, keys.first, keys.limit, width);
  };

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
    if (STAGES > 1) {
      if (index + 1 < count) fetch(index + 1);
      copy_async_commit();
    }
    copy_async_wait<STAGES - 1>();
    __syncthreads();
    const Keys keys = keys_at<KEYS>(tile, own_limit, index);
    float scores[KEYS / 8][4] = {}, slopes[KEYS / 8][4] = {};
    multiply_rows<T, D, KEYS>(scores, q, row, k + index % STAGES * STAGE);
    multiply_rows<T, D, KEYS>(slopes, d_out, row, v + index % STAGES * STAGE);
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
    weigh_rows<T, D, KEYS, D>(d_q, slopes, k + index % STAGES * STAGE, 0);
    __syncthreads();
    if (STAGES == 1 && index + 1 < count) {
      fetch(index + 1);
      copy_async_commit();
    }
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
    if (STAGES > 1) {
      if (index + 1 < count) fetch(index + 1);
      copy_async_commit();
    }
    copy_async_wait<STAGES - 1>();
    __syncthreads();
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
    __syncthreads();
    if (STAGES == 1 && index + 1 < count) {
      fetch(index + 1);
      copy_async_commit();
    }
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
  extern "C" __global__ void __launch_bounds__(128, 1) attention_forward_##type##_##D(                                    \
      T* out, float* log_sums, const T* qkv, const void* tiles, u32 tokens, u32 query_heads, u32 key_heads, u32 width, \
      float scale, u32 causal) {                                                                                       \
    forward<T, D>(out, log_sums, qkv, static_cast<const QueryTile*>(tiles), tokens, query_heads, key_heads, width,     \
                  scale, causal);                                                                                      \
  }                                                                                                                    \
  KERNEL(attention_forward_##type##_##D);                                                                              \
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
  ATTENTION_KERNELS(T, type, 64);                                                                                      \
  ATTENTION_KERNELS(T, type, 80);                                                                                      \
  ATTENTION_KERNELS(T, type, 96);                                                                                      \
  ATTENTION_KERNELS(T, type, 128);                                                                                     \
  ATTENTION_KERNELS(T, type, 256)

ATTENTION_WIDTHS(float, f32);
ATTENTION_WIDTHS(bf16, bf16);
