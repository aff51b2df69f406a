// Products of small tiles on tensor cores, the same for bf16 and f32.
//
// A warp multiplies A (16, K) by B (K, 8) into D (16, 8) f32: `Units<bf16>` with K = 16, `Units<float>`
// with K = 8 and three tf32 products, which together have nearly the precision of f32 (each number is
// the sum of two tf32; only the product of the two small parts is left out).
//
// D's numbers lie so: lane `4 g + t` holds (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1). They can be
// A of a next product without moving: for f32 the columns of A and the rows of B are taken in the
// order that makes this so.

#pragma once

#include "device.cuh"

template <typename T>
struct Units;

template <>
struct Units<bf16> {
  static constexpr u32 K = 16;
  struct A {
    u32 registers[4];
  };
  struct B {
    u32 registers[2];
  };

  // A = rows `row .. row + 16`, columns `k .. k + 16` of a tile in shared memory.
  static __device__ __forceinline__ A load_a(const bf16* tile, u32 pitch, u32 row, u32 k) {
    const u32 lane = threadIdx.x % WARP;
    A a;
    load_matrices(a.registers, tile + (row + lane % 16) * pitch + k + lane / 16 * 8);
    return a;
  }

  // A = the D of two products side by side.
  static __device__ __forceinline__ A from_products(const float (*d)[4]) {
    return {{pair(d[0][0], d[0][1]), pair(d[0][2], d[0][3]), pair(d[1][0], d[1][1]), pair(d[1][2], d[1][3])}};
  }

  // Two B next to each other, B[k][n] = tile[n][k]: rows `n .. n + 16` of the tile, columns `k ..`.
  static __device__ __forceinline__ void load_b(B (&b)[2], const bf16* tile, u32 pitch, u32 n, u32 k) {
    const u32 lane = threadIdx.x % WARP;
    u32 registers[4];
    load_matrices(registers, tile + (n + lane % 8 + lane / 16 * 8) * pitch + k + lane / 8 % 2 * 8);
    b[0] = {{registers[0], registers[1]}};
    b[1] = {{registers[2], registers[3]}};
  }

  // Two B next to each other, B[k][n] = tile[k][n]: rows `k ..`, columns `n .. n + 16`.
  static __device__ __forceinline__ void load_b_upright(B (&b)[2], const bf16* tile, u32 pitch, u32 k, u32 n) {
    const u32 lane = threadIdx.x % WARP;
    u32 registers[4];
    load_matrices_transposed(registers, tile + (k + lane % 16) * pitch + n + lane / 16 * 8);
    b[0] = {{registers[0], registers[1]}};
    b[1] = {{registers[2], registers[3]}};
  }

  static __device__ __forceinline__ void multiply(float* d, const A& a, const B& b) {
    mma_bf16(d, a.registers, b.registers);
  }

 private:
  static __device__ __forceinline__ u32 pair(float low, float high) {
    const bf16 both[2] = {from_float<bf16>(low), from_float<bf16>(high)};
    u32 bits;
    memcpy(&bits, both, sizeof bits);
    return bits;
  }
};

template <>
struct Units<float> {
  static constexpr u32 K = 8;
  struct A {
    u32 high[4], low[4];
  };
  struct B {
    u32 high[2], low[2];
  };

  static __device__ __forceinline__ A load_a(const float* tile, u32 pitch, u32 row, u32 k) {
    const u32 group = threadIdx.x % WARP / 4, first = k + threadIdx.x % 4 * 2;
    const float* upper = tile + (row + group) * pitch + first;
    const float* lower = upper + 8 * pitch;
    return split(upper[0], lower[0], upper[1], lower[1]);
  }

  static __device__ __forceinline__ A from_products(const float (*d)[4]) {
    return split(d[0][0], d[0][2], d[0][1], d[0][3]);
  }

  static __device__ __forceinline__ void load_b(B (&b)[2], const float* tile, u32 pitch, u32 n, u32 k) {
    const u32 group = threadIdx.x % WARP / 4, first = k + threadIdx.x % 4 * 2;
#pragma unroll
    for (u32 i = 0; i < 2; ++i) {
      const float* row = tile + (n + 8 * i + group) * pitch + first;
      b[i] = split(row[0], row[1]);
    }
  }

  static __device__ __forceinline__ void load_b_upright(B (&b)[2], const float* tile, u32 pitch, u32 k, u32 n) {
    const u32 group = threadIdx.x % WARP / 4, first = k + threadIdx.x % 4 * 2;
#pragma unroll
    for (u32 i = 0; i < 2; ++i) {
      const float* column = tile + first * pitch + n + 8 * i + group;
      b[i] = split(column[0], column[pitch]);
    }
  }

  static __device__ __forceinline__ void multiply(float* d, const A& a, const B& b) {
    mma_tf32(d, a.low, b.high);
    mma_tf32(d, a.high, b.low);
    mma_tf32(d, a.high, b.high);
  }

 private:
  static __device__ __forceinline__ void part(u32& high, u32& low, float value) {
    high = to_tf32(value);
    low = to_tf32(value - __uint_as_float(high));
  }
  static __device__ __forceinline__ A split(float a, float b, float c, float d) {
    A result;
    part(result.high[0], result.low[0], a);
    part(result.high[1], result.low[1], b);
    part(result.high[2], result.low[2], c);
    part(result.high[3], result.low[3], d);
    return result;
  }
  static __device__ __forceinline__ B split(float a, float b) {
    B result;
    part(result.high[0], result.low[0], a);
    part(result.high[1], result.low[1], b);
    return result;
  }
};
