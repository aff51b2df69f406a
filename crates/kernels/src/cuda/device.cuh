// What every kernel file shares: number types, 16-byte accesses, reductions, tensor-core products.
//
// Rules of the house: activations are T = bf16 or f32; sums are f32; no atomics on floats, so that
// a launch gives the same bits every time; sizes that multiply are 64 bits wide.
//
// The same files compile for an ordinary CPU with -DALBACORE_EMULATED, for the tests.

#pragma once

#ifdef ALBACORE_EMULATED
#include "warp_ops.h"
#else
#include <cuda_bf16.h>
#include <stdint.h>
#define KERNEL(name) static_assert(true, "")
#define SHARED(type, name, count) __shared__ type name[count]
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

using bf16 = __nv_bfloat16;
using u32 = uint32_t;
using u64 = unsigned long long;

constexpr u32 WARP = 32;
constexpr u32 ALL_LANES = 0xffffffffu;

// Numbers.

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(bf16 value) { return __bfloat162float(value); }

template <typename T>
__device__ __forceinline__ T from_float(float value);
template <>
__device__ __forceinline__ float from_float<float>(float value) { return value; }
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float value) { return __float2bfloat16(value); }

// Packs: as many neighbours as one 16-byte access moves.

template <typename T>
constexpr u32 PACK = 16 / sizeof(T);

template <typename T>
struct alignas(16) Pack {
  T numbers[PACK<T>];
};

// Whether rows of `columns` numbers begin at multiples of 16 bytes.
template <typename T>
__device__ __forceinline__ bool in_packs(u64 columns) { return columns % PACK<T> == 0; }

// Reads the numbers from `from` on, `left` of them at most; zeros where there are none.
template <typename T>
__device__ __forceinline__ void load_pack(float (&to)[PACK<T>], const T* from, u64 left, bool aligned) {
  if (aligned) {
    const Pack<T> pack = *reinterpret_cast<const Pack<T>*>(from);
#pragma unroll
    for (u32 i = 0; i < PACK<T>; ++i) to[i] = to_float(pack.numbers[i]);
  } else {
#pragma unroll
    for (u32 i = 0; i < PACK<T>; ++i) to[i] = i < left ? to_float(from[i]) : 0.0f;
  }
}

template <typename T>
__device__ __forceinline__ void store_pack(T* to, const float (&from)[PACK<T>], u64 left, bool aligned) {
  if (aligned) {
    Pack<T> pack;
#pragma unroll
    for (u32 i = 0; i < PACK<T>; ++i) pack.numbers[i] = from_float<T>(from[i]);
    *reinterpret_cast<Pack<T>*>(to) = pack;
  } else {
#pragma unroll
    for (u32 i = 0; i < PACK<T>; ++i) {
      if (i < left) to[i] = from_float<T>(from[i]);
    }
  }
}

// Numbers beside those of a narrower type: N of them, in as many packs as it takes. `aligned` is about all N.
template <u32 N, typename T>
__device__ __forceinline__ void load_packs(float (&to)[N], const T* from, u64 left, bool aligned) {
#pragma unroll
  for (u32 at = 0; at < N; at += PACK<T>) {
    float pack[PACK<T>];
    load_pack(pack, from + at, left > at ? left - at : 0, aligned);
#pragma unroll
    for (u32 i = 0; i < PACK<T>; ++i) to[at + i] = pack[i];
  }
}

template <u32 N, typename T>
__device__ __forceinline__ void store_packs(T* to, const float (&from)[N], u64 left, bool aligned) {
#pragma unroll
  for (u32 at = 0; at < N; at += PACK<T>) {
    float pack[PACK<T>];
#pragma unroll
    for (u32 i = 0; i < PACK<T>; ++i) pack[i] = from[at + i];
    store_pack(to + at, pack, left > at ? left - at : 0, aligned);
  }
}

// Reductions: every lane, or thread, receives the result, which does not depend on timing.

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (u32 bits = WARP / 2; bits > 0; bits /= 2) value += __shfl_xor_sync(ALL_LANES, value, bits);
  return value;
}

__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
  for (u32 bits = WARP / 2; bits > 0; bits /= 2) {
    value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, bits));
  }
  return value;
}

// `scratch` has room for one float a warp. Ends with a barrier: `scratch` may be used again.
__device__ __forceinline__ float block_sum(float value, float* scratch) {
  value = warp_sum(value);
  if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = value;
  __syncthreads();
  float sum = 0.0f;
  for (u32 warp = 0; warp < blockDim.x / WARP; ++warp) sum += scratch[warp];
  __syncthreads();
  return sum;
}

__device__ __forceinline__ float block_max(float value, float* scratch) {
  value = warp_max(value);
  if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = value;
  __syncthreads();
  float result = scratch[0];
  for (u32 warp = 1; warp < blockDim.x / WARP; ++warp) result = fmaxf(result, scratch[warp]);
  __syncthreads();
  return result;
}

#ifndef ALBACORE_EMULATED
// Tensor cores and asynchronous copies. Layouts: PTX manual, "Matrix fragments for mma.m16n8k16".

__device__ __forceinline__ u32 shared_address(const void* pointer) {
  return static_cast<u32>(__cvta_generic_to_shared(pointer));
}

// Four 8 x 8 matrices of 16-bit numbers; lane `8 j + r` points at row `r` of matrix `j`.
__device__ __forceinline__ void load_matrices(u32* registers, const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(shared_address(row))
               : "memory");
}

__device__ __forceinline__ void load_matrices_transposed(u32* registers, const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(shared_address(row))
               : "memory");
}

// D (16, 8) += A (16, 16) B (16, 8), bf16 in, f32 out.
__device__ __forceinline__ void mma_bf16(float* d, const u32* a, const u32* b) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// D (16, 8) += A (16, 8) B (8, 8), tf32 in, f32 out.
__device__ __forceinline__ void mma_tf32(float* d, const u32* a, const u32* b) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ u32 to_tf32(float value) {
  u32 result;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(result) : "f"(value));
  return result;
}

// 16 bytes from global to shared memory, or zeros where `valid` is false; done once waited for.
__device__ __forceinline__ void copy_async_16(void* to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int groups_left>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(groups_left) : "memory");
}
#endif
