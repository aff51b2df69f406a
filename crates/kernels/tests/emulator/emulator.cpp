// Runs a program of kernel launches that it reads from standard input, and writes the buffers back.
//
//     emulator SEED < program > buffers
//
// Little-endian: u32 buffers; each: u64 length, bytes. u32 links; each: u32 buffer, u64 offset, u32
// target, u64 target's offset (an address stored in memory). u32 launches; each: u32 length, name,
// u32 grid[3], block[3], shared bytes, arguments; each: u8 kind (0 address: u32 buffer, u64 offset;
// 1 null; 2 u32; 3 u64; 4 f32), value. SEED 0 runs the warps in step and in order, 1 one after another in
// reverse as far as barriers let them, others shuffled.

#include "emulated.h"

#include <sanitizer/common_interface_defs.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdarg>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace emulation {

Kernel* kernels = nullptr;

namespace {

constexpr size_t STACK = 128 << 10;
constexpr unsigned WARP = 32;

struct Copy {
  void* to;
  const void* from;  // null: zeros
  size_t bytes;
};

enum class State { ready, in_warp, in_block, done };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  void* fake_stack = nullptr;
  uint3 index;
  State state = State::ready;
  const char* where = "";
  Meeting meeting = nullptr;
  void* payload = nullptr;
  std::vector<std::vector<Copy>> copies;
};

struct Block {
  uint3 index, size, grid;
  size_t dynamic_bytes;
  std::map<std::pair<std::string, int>, std::unique_ptr<char[]>> arrays;
  char* dynamic_array = nullptr;
  std::vector<std::unique_ptr<Fiber>> fibers;
};

const char* running_kernel = "";
Block block;
Fiber* current = nullptr;
ucontext_t scheduler;
void* scheduler_fake_stack = nullptr;
const void* scheduler_stack = nullptr;
size_t scheduler_stack_size = 0;
void (*thread_body)(void*) = nullptr;
uint64_t random_state = 0;

uint32_t random_below(uint32_t bound) {
  random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
  return uint32_t(random_state >> 33) % bound;
}

// The order in which `count` things are visited.
std::vector<uint32_t> order(uint32_t count, uint64_t seed) {
  std::vector<uint32_t> result(count);
  for (uint32_t i = 0; i < count; ++i) result[i] = seed == 1 ? count - 1 - i : i;
  for (uint32_t i = count; seed > 1 && i > 1; --i) std::swap(result[i - 1], result[random_below(i)]);
  return result;
}

void back_to_scheduler(bool finished) {
  Fiber* self = current;
  __sanitizer_start_switch_fiber(finished ? nullptr : &self->fake_stack, scheduler_stack, scheduler_stack_size);
  swapcontext(&self->context, &scheduler);
  __sanitizer_finish_switch_fiber(self->fake_stack, nullptr, nullptr);
}

void fiber_main() {
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_size);
  thread_body(nullptr);
  current->state = State::done;
  back_to_scheduler(true);
}

void resume(Fiber& fiber) {
  current = &fiber;
  __sanitizer_start_switch_fiber(&scheduler_fake_stack, fiber.stack.get(), STACK);
  swapcontext(&scheduler, &fiber.context);
  __sanitizer_finish_switch_fiber(scheduler_fake_stack, nullptr, nullptr);
}

size_t threads() { return size_t(block.size.x) * block.size.y * block.size.z; }

size_t number_of(const Fiber& fiber) {
  return fiber.index.x + block.size.x * (fiber.index.y + size_t(block.size.y) * fiber.index.z);
}

// Threads that will never meet: says where each of them is.
[[noreturn]] void report_deadlock() {
  std::map<std::string, size_t> places;
  for (auto& fiber : block.fibers) {
    const bool done = fiber->state == State::done;
    ++places[done ? "the end" : std::string(fiber->state == State::in_block ? "barrier " : "warp ") + fiber->where];
  }
  std::string text;
  for (auto& [place, count] : places) text += "\n  " + std::to_string(count) + " threads at " + place;
  fail("threads wait for others that never come:%s", text.c_str());
}

bool release_warp(size_t first) {
  Fiber& leader = *block.fibers[first];
  void* payloads[WARP];
  for (size_t lane = 0; lane < WARP; ++lane) {
    Fiber& fiber = *block.fibers[first + lane];
    if (fiber.state != State::in_warp) return false;
    if (fiber.where != leader.where && strcmp(fiber.where, leader.where) != 0) {
      fail("lanes of a warp meet at different places: %s and %s", leader.where, fiber.where);
    }
    payloads[lane] = fiber.payload;
  }
  leader.meeting(payloads);
  for (size_t lane = 0; lane < WARP; ++lane) block.fibers[first + lane]->state = State::ready;
  return true;
}

bool release_block() {
  for (auto& fiber : block.fibers) {
    if (fiber->state != State::in_block) return false;
  }
  for (auto& fiber : block.fibers) fiber->state = State::ready;
  return true;
}

void run_block(uint64_t seed) {
  block.fibers.clear();
  block.arrays.clear();
  std::unique_ptr<char[]> dynamic_array(new char[block.dynamic_bytes]);
  memset(dynamic_array.get(), 0xff, block.dynamic_bytes);
  block.dynamic_array = dynamic_array.get();
  for (size_t number = 0; number < threads(); ++number) {
    auto fiber = std::make_unique<Fiber>();
    const unsigned n = unsigned(number);
    fiber->index = {n % block.size.x, n / block.size.x % block.size.y, n / block.size.x / block.size.y};
    fiber->stack.reset(new char[STACK]);
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack.get();
    fiber->context.uc_stack.ss_size = STACK;
    fiber->context.uc_link = nullptr;
    makecontext(&fiber->context, fiber_main, 0);
    fiber->copies.emplace_back();
    block.fibers.push_back(std::move(fiber));
  }
  const auto warp_order = order(unsigned(threads() / WARP), seed), lane_order = order(WARP, seed);
  for (size_t done = 0; done < threads();) {
    bool moved = false;
    for (unsigned warp : warp_order) {
      // In schedule 0 the warps keep step; in the others each runs ahead as far as barriers let it.
      bool released = true;
      for (bool again = true; again; again = released && seed != 0) {
        for (unsigned lane : lane_order) {
          Fiber& fiber = *block.fibers[warp * WARP + lane];
          if (fiber.state != State::ready) continue;
          resume(fiber);
          moved = true;
          done += fiber.state == State::done;
        }
        released = release_warp(size_t(warp) * WARP);
        moved |= released;
      }
    }
    moved |= release_block();
    if (!moved) report_deadlock();
  }
  for (auto& fiber : block.fibers) {
    for (auto& group : fiber->copies) {
      if (!group.empty()) fail("a thread ended before it waited for its asynchronous copies");
    }
  }
}

}  // namespace

void fail(const char* format, ...) {
  fprintf(stderr, "kernel `%s`, block (%u, %u, %u): ", running_kernel, block.index.x, block.index.y, block.index.z);
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  fflush(stderr);
  _exit(3);
}

const uint3& thread_index() { return current->index; }
const uint3& block_index() { return block.index; }
const uint3& block_size() { return block.size; }
const uint3& grid_size() { return block.grid; }

void meet_in_warp(Meeting meeting, void* payload, const char* where) {
  current->state = State::in_warp;
  current->meeting = meeting;
  current->payload = payload;
  current->where = where;
  back_to_scheduler(false);
}

void meet_in_block(const char* where) {
  current->state = State::in_block;
  current->where = where;
  back_to_scheduler(false);
}

void* shared_array(const char* file, int line, size_t bytes) {
  auto& array = block.arrays[{file, line}];
  if (!array) {
    array.reset(new char[bytes]);
    memset(array.get(), 0xff, bytes);
  }
  return array.get();
}

void* dynamic_shared() { return block.dynamic_array; }

void copy_later(void* to, const void* from, size_t bytes) {
  memset(to, 0xff, bytes);  // what was there is lost from now on
  current->copies.back().push_back({to, from, bytes});
}

void close_copy_group() { current->copies.emplace_back(); }

void wait_for_copies(int groups_left) {
  auto& groups = current->copies;
  // The last group is the one that is still open.
  while (groups.size() > size_t(groups_left) + 1) {
    for (const Copy& copy : groups.front()) {
      copy.from ? memcpy(copy.to, copy.from, copy.bytes) : memset(copy.to, 0, copy.bytes);
    }
    groups.erase(groups.begin());
  }
}

namespace {

struct Input {
  template <typename T>
  T get() {
    T value;
    if (fread(&value, sizeof value, 1, stdin) != 1) fail("the program ends early");
    return value;
  }
};

struct Buffer {
  std::unique_ptr<char[]> bytes;
  size_t length;
};

struct Program : Arguments {
  Input input;
  std::vector<Buffer> buffers;
  uint32_t left = 0;

  void* address() {
    const uint32_t buffer = input.get<uint32_t>();
    const uint64_t offset = input.get<uint64_t>();
    return buffers.at(buffer).bytes.get() + offset;
  }

  uint8_t kind() {
    if (left-- == 0) fail("too few arguments");
    return input.get<uint8_t>();
  }

  void* pointer() override {
    const uint8_t found = kind();
    if (found == 1) return nullptr;
    if (found != 0) fail("found argument kind %u, wanted an address", found);
    return address();
  }

  uint64_t integer(size_t bytes) override {
    const uint8_t found = kind();
    if (found == 2 && bytes == 4) return input.get<uint32_t>();
    if (found == 3 && bytes == 8) return input.get<uint64_t>();
    fail("found argument kind %u, wanted an integer of %zu bytes", found, bytes);
  }

  float number() override {
    const uint8_t found = kind();
    if (found != 4) fail("found argument kind %u, wanted an f32", found);
    return input.get<float>();
  }

  uint3 size() {
    const unsigned x = input.get<uint32_t>(), y = input.get<uint32_t>();
    return {x, y, input.get<uint32_t>()};
  }

  void launch(uint64_t seed) {
    std::string name(input.get<uint32_t>(), ' ');
    for (char& letter : name) letter = input.get<char>();
    running_kernel = name.c_str();
    const uint3 grid = size();
    block.size = size();
    block.grid = grid;
    block.dynamic_bytes = input.get<uint32_t>();
    left = input.get<uint32_t>();
    const Kernel* kernel = kernels;
    while (kernel && name != kernel->name) kernel = kernel->next;
    if (!kernel) fail("no kernel has this name");
    if (kernel->arguments != left) fail("found %u arguments, wanted %zu", left, kernel->arguments);
    if (threads() == 0 || threads() > 1024 || threads() % WARP) fail("a block of %zu threads", threads());
    if (size_t(grid.x) * grid.y * grid.z == 0) fail("an empty grid");
    struct Run {
      uint3 grid;
      uint64_t seed;
    } run{grid, seed};
    kernel->launch(
        kernel->function, *this,
        [](void* context, void (*thread)(void*)) {
          const Run& run = *static_cast<Run*>(context);
          thread_body = thread;
          for (uint32_t number : order(run.grid.x * run.grid.y * run.grid.z, run.seed)) {
            block.index = {number % run.grid.x, number / run.grid.x % run.grid.y, number / run.grid.x / run.grid.y};
            run_block(run.seed);
          }
        },
        &run);
    block.fibers.clear();
  }

  void run(uint64_t seed) {
    buffers.resize(input.get<uint32_t>());
    for (Buffer& buffer : buffers) {
      buffer.length = input.get<uint64_t>();
      buffer.bytes.reset(new char[buffer.length]);
      if (fread(buffer.bytes.get(), 1, buffer.length, stdin) != buffer.length) fail("the program ends early");
    }
    std::vector<std::pair<void*, uint64_t>> before;
    for (uint32_t links = input.get<uint32_t>(); links > 0; --links) {
      void* place = address();
      void* target = address();
      memcpy(&before.emplace_back(place, 0).second, place, sizeof target);
      memcpy(place, &target, sizeof target);
    }
    for (uint32_t launches = input.get<uint32_t>(); launches > 0; --launches) launch(seed);
    // Large buffers lie elsewhere in each run: where they lie is no result.
    for (auto& [place, word] : before) memcpy(place, &word, sizeof word);
    for (const Buffer& buffer : buffers) fwrite(buffer.bytes.get(), 1, buffer.length, stdout);
  }
};

}  // namespace
}  // namespace emulation

int main(int count, char** arguments) {
  const uint64_t seed = count > 1 ? strtoull(arguments[1], nullptr, 10) : 0;
  emulation::random_state = seed;
  emulation::Program program;
  program.run(seed);
  return 0;
}
