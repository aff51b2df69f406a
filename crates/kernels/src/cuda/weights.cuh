// The weights that an optimizer changes: f32 masters with the rounded ones beside them, f32 alone, or bf16
// alone, which are rounded by chance (in proportion to the distance), so that small updates are not lost on
// average.

#pragma once

#include "device.cuh"

namespace {

constexpr u32 LANE = PACK<float>;  // neighbours that a lane takes

// Neighbours that one lane reads and writes at once, of smaller types than f32.
template <typename T>
struct alignas(LANE * sizeof(T)) Few {
  T numbers[LANE];
};

template <typename T>
__device__ __forceinline__ Few<T> load_few(const T* from, u64 left, bool aligned) {
  if (aligned) return *reinterpret_cast<const Few<T>*>(from);
  Few<T> few = {};
#pragma unroll
  for (u32 i = 0; i < LANE; ++i) {
    if (i < left) few.numbers[i] = from[i];
  }
  return few;
}

template <typename T>
__device__ __forceinline__ void store_few(T* to, const Few<T>& few, u64 left, bool aligned) {
  if (aligned) {
    *reinterpret_cast<Few<T>*>(to) = few;
    return;
  }
#pragma unroll
  for (u32 i = 0; i < LANE; ++i) {
    if (i < left) to[i] = few.numbers[i];
  }
}

// The finaliser of MurmurHash3.
__device__ __forceinline__ u32 mixed(u32 h) {
  h = (h ^ (h >> 16)) * 0x85ebca6bu;
  h = (h ^ (h >> 13)) * 0xc2b2ae35u;
  return h ^ (h >> 16);
}

// What a tensor's chances at a step are drawn from: a hash, so that a resumed run draws the same ones.
__device__ __forceinline__ u32 draw_of(u32 seed, u32 number) { return mixed(mixed(seed) ^ number); }

// A random 32-bit number for number `index` of a tensor at a step.
__device__ __forceinline__ u32 chance(u32 draw, u64 index) {
  return mixed(mixed(draw ^ u32(index)) + u32(index >> 32));
}

__device__ __forceinline__ bf16 round_by_chance(float value, u32 chance) {
  return from_float<bf16>(__uint_as_float((__float_as_uint(value) + (chance & 0xffffu)) & 0xffff0000u));
}

struct Weights {
  float* master;  // null: pure bf16
  bf16* rounded;  // null: f32 compute, the master is the weight

  // Whether neighbours begin where a lane may read or write them at once, from multiples of LANE on.
  __device__ __forceinline__ bool aligned() const {
    return reinterpret_cast<u64>(master) % 16 == 0 && reinterpret_cast<u64>(rounded) % 8 == 0;
  }

  // The neighbours from number `i` on, `left` of them at most; zeros where there are none.
  __device__ __forceinline__ void load(float (&to)[LANE], u64 i, u64 left, bool aligned) const {
    if (master) {
      load_pack(to, master + i, left, aligned);
      return;
    }
    const Few<bf16> few = load_few(rounded + i, left, aligned);
#pragma unroll
    for (u32 j = 0; j < LANE; ++j) to[j] = to_float(few.numbers[j]);
  }

  __device__ __forceinline__ void store(const float (&from)[LANE], u64 i, u64 left, bool aligned, u32 draw) const {
    if (master) store_pack(master + i, from, left, aligned);
    if (!rounded) return;
    Few<bf16> few;
#pragma unroll
    for (u32 j = 0; j < LANE; ++j) few.numbers[j] = nearest_or_by_chance(from[j], i + j, draw);
    store_few(rounded + i, few, left, aligned);
  }

  __device__ __forceinline__ bf16 nearest_or_by_chance(float weight, u64 index, u32 draw) const {
    return master ? from_float<bf16>(weight) : round_by_chance(weight, chance(draw, index));
  }
};

}  // namespace
