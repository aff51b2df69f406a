// What dropout drops, by place: the numbers of dropout.rs, bit for bit.

#pragma once

#include "device.cuh"

namespace {

// The random number of a counter: SplitMix64's output function (Steele, Lea and Flood, 2014).
__device__ __forceinline__ u64 mixed(u64 counter) {
  u64 z = (counter + 1) * 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

struct Mask {
  u64 key;
  u32 below;  // of the 2^32 values of a place's random number, those below this one drop it
  float keep;

  // What the number at a place is multiplied by.
  __device__ __forceinline__ float factor(u64 place) const { return u32(mixed(key + place) >> 32) < below ? 0.0f : keep; }
};

}  // namespace
