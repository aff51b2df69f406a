// What attention's kernels share: tiles, copies ahead of use, products of rows.
//
// See attention.cu for layouts and for what the host decides.

#pragma once

#include "mask.cuh"
#include "units.cuh"

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

// What is added to a score by how far the key lies behind its query: `values` (H, past + future + 1) f32, times
// log2(e), from `past` before it to `future` behind it; what lies further away takes the outermost value.
// Rows are positions here: a prompt that is shared has no bias.
struct Bias {
  const float* values;
  int past, future;

  __device__ __forceinline__ u32 span() const { return past + future + 1; }
  // The value of distance 0.
  __device__ __forceinline__ const float* of_head(u64 head) const { return values + head * span() + past; }
  __device__ __forceinline__ float at(const float* of_head, u32 key, u32 query) const {
    return __ldg(of_head + min(max(int(key - query), -past), future));
  }
};

// What is dropped of the weights of a head, by the rows of query and key (attention/dropped.rs).
struct DroppedHead {
  const Mask& mask;
  u64 head;

  __device__ __forceinline__ float factor(u32 query, u32 key) const {
    return mask.factor((head << 44) + (u64(query) << 22) + key);
  }
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

// The keys and values that pass by a query tile, in stages that are copied ahead of their use.
template <typename T, u32 D, u32 KEYS, u32 STAGES>
struct Passing {
  static constexpr u32 STAGE = KEYS * Shape<T, D>::PITCH;
  T* keys;  // (STAGES, KEYS, PITCH), and the values behind them
  const T* k_head;
  const T* v_head;
  u64 stride;
  u32 width, own_limit, count;
  const QueryTile& tile;

  __device__ __forceinline__ Passing(T* memory, const T* k_rows, u32 k_stride, const QueryTile& tile, u32 query_heads,
                                     u32 key_heads, u32 width, bool causal)
      : keys(memory), stride(k_stride), width(width), own_limit(own_keys_end(tile, causal)), tile(tile) {
    const u32 key_head = blockIdx.y / (query_heads / key_heads);
    k_head = k_rows + key_head * width;
    v_head = k_head + key_heads * width;
    count = key_tiles<KEYS>(tile, own_limit);
  }

  __device__ __forceinline__ Keys at(u32 index) const { return keys_at<KEYS>(tile, own_limit, index); }
  __device__ __forceinline__ const T* k(u32 index) const { return keys + index % STAGES * STAGE; }
  __device__ __forceinline__ const T* v(u32 index) const { return k(index) + STAGES * STAGE; }

  __device__ __forceinline__ void fetch(u32 index) const {
    const Keys range = at(index);
    T* to = keys + index % STAGES * STAGE;
    copy_rows<T, D, KEYS>(to, k_head, stride, range.first, range.limit, width);
    copy_rows<T, D, KEYS>(to + STAGES * STAGE, v_head, stride, range.first, range.limit, width);
  }
};

// Before a stage is used: the next one is on its way, and all threads' copies of this one are there.
template <u32 STAGES, typename Fetch>
__device__ __forceinline__ void begin_stage(u32 index, u32 count, const Fetch& fetch) {
  if (STAGES > 1) {
    if (index + 1 < count) fetch(index + 1);
    copy_async_commit();
  }
  copy_async_wait<STAGES - 1>();
  __syncthreads();
}

// After it: no thread reads it any more. With a single stage the next one starts only now.
template <u32 STAGES, typename Fetch>
__device__ __forceinline__ void end_stage(u32 index, u32 count, const Fetch& fetch) {
  __syncthreads();
  if (STAGES == 1 && index + 1 < count) {
    fetch(index + 1);
    copy_async_commit();
  }
}

}  // namespace
