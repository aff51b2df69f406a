// The part of CUDA that the kernels use, on an ordinary CPU: test only.
//
// A block's threads are fibers on one operating-system thread. A fiber runs until it reaches a
// point where threads meet (a barrier, a shuffle, `ldmatrix`, `mma`); the last to arrive does the
// work for all, by the definition in the PTX manual. Blocks run one after another.
//
// What this finds that a right-looking result hides:
// - reads and writes out of bounds: every buffer and every shared array has its exact size on the
//   heap, for AddressSanitizer to watch; misaligned 16-byte accesses: for UndefinedBehaviorSanitizer;
// - a missing barrier or wait: shared memory starts as NaNs, `cp.async` copies only when it is
//   waited for, and the order of fibers and blocks is that of the schedule's seed;
// - threads that do not meet: the kernel ends with a report of who waits where.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct uint3 {
  unsigned x, y, z;
};

namespace emulation {

[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// The thread that runs, and its block.
const uint3& thread_index();
const uint3& block_index();
const uint3& block_size();
const uint3& grid_size();

// The lanes' payloads, in the order of lanes; null where a lane has none.
using Meeting = void (*)(void** payloads);
// Waits until all 32 lanes of the warp have come to the same meeting.
void meet_in_warp(Meeting meeting, void* payload, const char* where);
// Waits until all threads of the block have come.
void meet_in_block(const char* where);

// The block's array of this place in the source; its bytes are 0xff at first.
void* shared_array(const char* file, int line, size_t bytes);
void* dynamic_shared();

// A copy that happens when its group is waited for.
void copy_later(void* to, const void* from, size_t bytes);
void close_copy_group();
void wait_for_copies(int groups_left);

// Kernels by name.
struct Arguments {
  virtual void* pointer() = 0;
  virtual uint64_t integer(size_t bytes) = 0;
  virtual float number() = 0;
  virtual ~Arguments() = default;
};

template <typename A>
A take(Arguments& from) {
  if constexpr (std::is_pointer_v<A>) {
    return static_cast<A>(from.pointer());
  } else if constexpr (std::is_same_v<A, float>) {
    return from.number();
  } else {
    static_assert(std::is_integral_v<A>, "kernels take pointers, integers and floats");
    return static_cast<A>(from.integer(sizeof(A)));
  }
}

struct Kernel {
  const char* name;
  size_t arguments;
  // Reads the arguments once and calls `run` with what one thread does.
  void (*launch)(void* function, Arguments&, void (*run)(void* context, void (*thread)(void*)), void* context);
  void* function;
  Kernel* next;
};
extern Kernel* kernels;

template <typename... A>
struct Register {
  Kernel kernel;
  Register(const char* name, void (*function)(A...))
      : kernel{name, sizeof...(A), launch, reinterpret_cast<void*>(function), kernels} {
    kernels = &kernel;
  }
  static void launch(void* function, Arguments& from, void (*run)(void*, void (*)(void*)), void* context) {
    // Braces take the arguments from left to right.
    static std::tuple<void (*)(A...), A...>* call;
    std::tuple<void (*)(A...), A...> values{reinterpret_cast<void (*)(A...)>(function), take<A>(from)...};
    call = &values;
    run(context, [](void*) {
      std::apply([](auto kernel, auto... arguments) { kernel(arguments...); }, *call);
    });
  }
};
template <typename... A>
Register(const char*, void (*)(A...)) -> Register<A...>;

}  // namespace emulation

#define threadIdx (emulation::thread_index())
#define blockIdx (emulation::block_index())
#define blockDim (emulation::block_size())
#define gridDim (emulation::grid_size())

#define KERNEL(name) static emulation::Register register_##name(#name, name)
#define SHARED(type, name, count) \
  type* name = static_cast<type*>(emulation::shared_array(__FILE__, __LINE__, sizeof(type) * (count)))
#define DYNAMIC_SHARED(name) unsigned char* name = static_cast<unsigned char*>(emulation::dynamic_shared())

#define EMULATION_TEXT_(line) #line
#define EMULATION_TEXT(line) EMULATION_TEXT_(line)
#define EMULATION_HERE __FILE__ ":" EMULATION_TEXT(__LINE__)
#define __syncthreads() emulation::meet_in_block(EMULATION_HERE)
#define __syncwarp() emulation::meet_in_warp([](void**) {}, nullptr, EMULATION_HERE)

// Numbers.

struct __nv_bfloat16 {
  uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 value) {
  uint32_t bits = uint32_t(value.bits) << 16;
  float result;
  memcpy(&result, &bits, 4);
  return result;
}

// To the nearest, ties to even; a NaN stays one.
inline __nv_bfloat16 __float2bfloat16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if (value != value) return {uint16_t(0x7fff)};
  return {uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

inline unsigned __float_as_uint(float value) {
  unsigned bits;
  memcpy(&bits, &value, 4);
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}
template <typename T>
T __ldg(const T* from) {
  return *from;
}
using std::isfinite;
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a < b ? b : a; }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a < b ? b : a; }
inline unsigned long long min(unsigned long long a, unsigned long long b) { return a < b ? a : b; }
inline unsigned long long max(unsigned long long a, unsigned long long b) { return a < b ? b : a; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
// To the nearest, ties to even.
inline unsigned long long __float2ull_rn(float value) { return static_cast<unsigned long long>(nearbyintf(value)); }
inline float rsqrtf(float value) { return 1.0f / sqrtf(value); }

// Shuffles.

namespace emulation {

struct Shuffle {
  uint32_t bits;
  unsigned source;
  uint32_t result;
};

inline void shuffle(void** payloads) {
  for (int lane = 0; lane < 32; ++lane) {
    auto* here = static_cast<Shuffle*>(payloads[lane]);
    here->result = static_cast<Shuffle*>(payloads[here->source % 32])->bits;
  }
}

template <typename T>
T shuffled(T value, unsigned source, const char* where) {
  static_assert(sizeof(T) == 4, "shuffles move 32 bits");
  Shuffle payload{0, source, 0};
  memcpy(&payload.bits, &value, 4);
  meet_in_warp(shuffle, &payload, where);
  memcpy(&value, &payload.result, 4);
  return value;
}

inline unsigned lane() {
  return (thread_index().x + thread_index().y * block_size().x) % 32;
}

}  // namespace emulation

#define __shfl_sync(mask, value, source) emulation::shuffled(value, source, EMULATION_HERE)
#define __shfl_xor_sync(mask, value, bits) \
  emulation::shuffled(value, emulation::lane() ^ unsigned(bits), EMULATION_HERE)
