// The tensor-core and asynchronous-copy instructions, lane by lane, as the PTX manual defines them.
// Included by `device.cuh` in place of its inline assembly.

#pragma once

#include "emulated.h"

namespace emulation {

// ldmatrix.x4: lane `8 j + r` gives the address of row `r` of the 8 x 8 matrix `j` of 16-bit
// numbers; lane `l` receives the numbers `2 (l mod 4)` and the next of row `l / 4` of each.
struct LoadMatrix {
  const void* row;
  uint32_t* registers;
};

template <bool transposed>
void load_matrix(void** payloads) {
  uint16_t matrices[4][8][8];
  for (int lane = 0; lane < 32; ++lane) {
    const void* row = static_cast<LoadMatrix*>(payloads[lane])->row;
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) fail("ldmatrix: a row is not aligned to 16 bytes");
    memcpy(matrices[lane / 8][lane % 8], row, 16);
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int j = 0; j < 4; ++j) {
      const int row = lane / 4, column = 2 * (lane % 4);
      const uint16_t low = transposed ? matrices[j][column][row] : matrices[j][row][column];
      const uint16_t high = transposed ? matrices[j][column + 1][row] : matrices[j][row][column + 1];
      static_cast<LoadMatrix*>(payloads[lane])->registers[j] = uint32_t(low) | uint32_t(high) << 16;
    }
  }
}

// mma.m16n8kK: D (16, 8) += A (16, K) B (K, 8).
struct Multiply {
  float* d;
  const uint32_t* a;
  const uint32_t* b;
};

inline float half_of(uint32_t pair, int which) {
  return __bfloat162float({uint16_t(which ? pair >> 16 : pair)});
}

inline void multiply_bf16(void** payloads) {  // K = 16
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    auto* here = static_cast<Multiply*>(payloads[lane]);
    const int group = lane / 4, in_group = lane % 4;
    for (int i = 0; i < 8; ++i) {
      const int row = group + (i / 2 % 2) * 8, column = in_group * 2 + i % 2 + (i / 4) * 8;
      a[row][column] = half_of(here->a[i / 2], i % 2);
    }
    for (int i = 0; i < 4; ++i) {
      b[in_group * 2 + i % 2 + (i / 2) * 8][group] = half_of(here->b[i / 2], i % 2);
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    auto* here = static_cast<Multiply*>(payloads[lane]);
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + (i / 2) * 8, column = (lane % 4) * 2 + i % 2;
      float sum = here->d[i];
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[k][column];
      here->d[i] = sum;
    }
  }
}

// The unit reads 19 bits of each number: sign, 8 of exponent, 10 of mantissa.
inline float tf32(uint32_t bits) { return __uint_as_float(bits & 0xffffe000u); }

inline void multiply_tf32(void** payloads) {  // K = 8
  float a[16][8], b[8][8];
  for (int lane = 0; lane < 32; ++lane) {
    auto* here = static_cast<Multiply*>(payloads[lane]);
    const int group = lane / 4, in_group = lane % 4;
    for (int i = 0; i < 4; ++i) a[group + (i % 2) * 8][in_group + (i / 2) * 4] = tf32(here->a[i]);
    for (int i = 0; i < 2; ++i) b[in_group + i * 4][group] = tf32(here->b[i]);
  }
  for (int lane = 0; lane < 32; ++lane) {
    auto* here = static_cast<Multiply*>(payloads[lane]);
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + (i / 2) * 8, column = (lane % 4) * 2 + i % 2;
      float sum = here->d[i];
      for (int k = 0; k < 8; ++k) sum += a[row][k] * b[k][column];
      here->d[i] = sum;
    }
  }
}

}  // namespace emulation

#define load_matrices(registers, row)                                              \
  do {                                                                             \
    emulation::LoadMatrix payload_{row, registers};                                \
    emulation::meet_in_warp(emulation::load_matrix<false>, &payload_, EMULATION_HERE); \
  } while (0)
#define load_matrices_transposed(registers, row)                                  \
  do {                                                                            \
    emulation::LoadMatrix payload_{row, registers};                               \
    emulation::meet_in_warp(emulation::load_matrix<true>, &payload_, EMULATION_HERE); \
  } while (0)
#define mma_bf16(d, a, b)                                                     \
  do {                                                                        \
    emulation::Multiply payload_{d, a, b};                                    \
    emulation::meet_in_warp(emulation::multiply_bf16, &payload_, EMULATION_HERE); \
  } while (0)
#define mma_tf32(d, a, b)                                                     \
  do {                                                                        \
    emulation::Multiply payload_{d, a, b};                                    \
    emulation::meet_in_warp(emulation::multiply_tf32, &payload_, EMULATION_HERE); \
  } while (0)

// To the nearest number of 10 mantissa bits, ties away from zero.
inline uint32_t to_tf32(float value) { return (__float_as_uint(value) + 0x1000u) & 0xffffe000u; }

inline void copy_async_16(void* to, const void* from, bool valid) {
  if (reinterpret_cast<uintptr_t>(to) % 16 || (valid && reinterpret_cast<uintptr_t>(from) % 16)) {
    emulation::fail("cp.async: an address is not aligned to 16 bytes");
  }
  emulation::copy_later(to, valid ? from : nullptr, 16);
}
inline void copy_async_commit() { emulation::close_copy_group(); }
template <int groups_left>
inline void copy_async_wait() {
  emulation::wait_for_copies(groups_left);
}
