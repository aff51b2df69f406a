// The next token of each row of logits (the twin of sample.rs): penalties, temperature, top-k, top-p, a draw.
//
// Layout: logits (B, V) f32, penalised in place; table: a Choice for each row, then the ids that rows have
// seen, and pairs of an id and its count; chosen (B,). A block takes a row and reads it a few times: for its
// largest logit; for top-k and for top-p once for each four bits of the least logit kept, and where that
// one's equals are not all kept, for the last of them; and for the draw. Nothing is sorted.
//
// Weights are integers, so their sums are exact in any order, and exp takes the steps of simd.rs: the twins
// choose the same tokens. Launch: <<<B, 256>>>.

#include "cuda/device.cuh"

namespace {

constexpr u32 THREADS = 256;
constexpr u32 BITS = 4, DIGITS = 1 << BITS;  // of a key, known after one more reading
constexpr u32 NONE = 0xffffffffu;            // as in sample.rs: the row has no finite largest logit

struct Choice {
  float repetition_penalty, temperature;
  u32 top_k;  // 0: all
  float top_p;
  u32 draw_low, draw_high;
  u32 first_seen, end_seen;  // in words of the table
  float presence_penalty, frequency_penalty;
  u32 first_counted, counted;  // the first in words of the table, then how many pairs
};

struct Row {
  const float* logits;
  u32 vocabulary;
};

// What the threads of a block tell each other.
struct Board {
  u64* bins;    // (DIGITS, THREADS): each thread has a column of its own
  u64* sums;    // (THREADS,)
  u64* totals;  // (DIGITS,)
  u64* left;    // one
  u32* found;   // one
};

// Candidates in order: the more probable the larger, and of equals the lower id. -0 equals 0, and a NaN is
// larger than all.

__device__ __forceinline__ u32 key_of(float logit) {
  const u32 bits = __float_as_uint(logit + 0.0f);
  if (logit != logit) return 0xffffffffu;
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float logit_of(u32 key) {
  return __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key);
}

__device__ __forceinline__ u64 order_of(u32 key, u32 id) { return u64(key) << 32 | u32(~id); }

// e^x for x <= 0, the steps of simd.rs.
__device__ __forceinline__ float falling_exp(float x) {
  const float rounded = fmaf(x, 1.44269504f, 12582912.0f);
  const float n = rounded - 12582912.0f;
  float r = fmaf(n, -0.693147182f, x);
  r = fmaf(n, 1.9046543e-9f, r);
  float tail = fmaf(0.001381454f, r, 0.008368745f);
  tail = fmaf(tail, r, 0.04166839f);
  tail = fmaf(tail, r, 0.16666521f);
  tail = fmaf(tail, r, 0.49999994f);
  const float e_r = fmaf(tail * r, r, r) + 1.0f;
  const float half = __uint_as_float((__float_as_uint(rounded) << 23) + (126u << 23));
  return x < -86.9f ? 0.0f : e_r * half * 2.0f;
}

// A probability over the largest one, in units of 2^-42.
__device__ __forceinline__ u64 weight_of(float logit, float largest, float temperature) {
  return __float2ull_rn(falling_exp((logit - largest) / temperature) * 4398046511104.0f);
}

// Calls f(id, logit) for this thread's share of the row: packs of neighbours, side by side with those of
// the other threads.
template <typename F>
__device__ __forceinline__ void for_each(const Row& row, F f) {
  const bool aligned = in_packs<float>(row.vocabulary) && reinterpret_cast<u64>(row.logits) % 16 == 0;
  for (u32 v = threadIdx.x * PACK<float>; v < row.vocabulary; v += THREADS * PACK<float>) {
    float values[PACK<float>];
    load_pack(values, row.logits + v, row.vocabulary - v, aligned);
#pragma unroll
    for (u32 i = 0; i < PACK<float>; ++i) {
      if (v + i < row.vocabulary) f(v + i, values[i]);
    }
  }
}

// The first candidate in order. Every thread receives it.
__device__ u64 first_of(const Row& row, const Board& board) {
  u64 best = 0;
  for_each(row, [&](u32 id, float logit) {
    const u64 order = order_of(key_of(logit), id);
    best = order > best ? order : best;
  });
  board.sums[threadIdx.x] = best;
  __syncthreads();
  if (threadIdx.x < DIGITS) {
    for (u32 i = threadIdx.x; i < THREADS; i += DIGITS) best = board.sums[i] > best ? board.sums[i] : best;
    board.totals[threadIdx.x] = best;
  }
  __syncthreads();
  for (u32 i = 0; i < DIGITS; ++i) best = board.totals[i] > best ? board.totals[i] : best;
  return best;
}

// Where in the order of ids the sum of measure(id, logit) grows beyond target(the whole sum). Every thread
// receives that id.
template <typename Measure, typename Target>
__device__ u32 locate(const Row& row, const Board& board, Measure measure, Target target_of) {
  u32 first = 0, end = row.vocabulary, part = 0;
  u64 left = 0;
  // A run of neighbours for each thread, in whole packs; then the same within the run that is the one.
  for (bool whole = true; whole || part > PACK<float>; whole = false) {
    part = (end - first + THREADS * PACK<float> - 1) / (THREADS * PACK<float>) * PACK<float>;
    const u32 from = min(first + threadIdx.x * part, end), to = min(from + part, end);
    u64 sum = 0;
    for (u32 id = from; id < to; ++id) sum += measure(id, row.logits[id]);
    board.sums[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
      if (whole) {
        u64 total = 0;
        for (u32 i = 0; i < THREADS; ++i) total += board.sums[i];
        left = target_of(total);
      }
      u32 run = 0;
      while (run < THREADS - 1 && left >= board.sums[run]) left -= board.sums[run++];
      *board.left = left;
      *board.found = run;
    }
    __syncthreads();
    first = min(first + *board.found * part, end);
    end = min(first + part, end);
    left = *board.left;
  }
  for (; first + 1 < end; ++first) {
    const u64 step = measure(first, row.logits[first]);
    if (left < step) break;
    left -= step;
  }
  return first;
}

// The least candidate, in order, of those that are kept: from the first on, and until the sum of
// measure(logit) reaches wanted(the sum of all). Those below `floor` are none.
template <typename Measure, typename Wanted>
__device__ u64 least_kept(const Row& row, const Board& board, u64 floor, Measure measure, Wanted wanted_of) {
  u32 key = 0, digit = 0;  // the bits of its key that are known, and the last of them
  u64 wanted = 0, above = 0;
  for (u32 shift = 32; shift > 0;) {
    const bool all = shift == 32;
    const u32 known = all ? 0 : key >> shift;
    shift -= BITS;
    for (u32 i = 0; i < DIGITS; ++i) board.bins[i * THREADS + threadIdx.x] = 0;
    for_each(row, [&](u32 id, float logit) {
      const u32 here = key_of(logit);
      const bool inside = all || here >> (shift + BITS) == known;
      if (inside && order_of(here, id) >= floor) {
        board.bins[(here >> shift) % DIGITS * THREADS + threadIdx.x] += measure(logit);
      }
    });
    __syncthreads();
    // DIGITS threads for each bin, then one.
    u64 sum = 0;
    const u64* bin = board.bins + threadIdx.x / DIGITS * THREADS;
    for (u32 i = threadIdx.x % DIGITS; i < THREADS; i += DIGITS) sum += bin[i];
    board.sums[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x < DIGITS) {
      sum = 0;
      for (u32 i = 0; i < DIGITS; ++i) sum += board.sums[threadIdx.x * DIGITS + i];
      board.totals[threadIdx.x] = sum;
    }
    __syncthreads();
    if (all) {
      u64 total = 0;
      for (u32 i = 0; i < DIGITS; ++i) total += board.totals[i];
      wanted = wanted_of(total);
    }
    for (digit = DIGITS - 1; digit > 0 && above + board.totals[digit] < wanted; --digit) above += board.totals[digit];
    key |= digit << shift;
  }
  // All of the last bin are equals.
  const u64 each = measure(logit_of(key)), equals = (wanted - above + each - 1) / each;
  if (equals * each >= board.totals[digit]) return max(floor, u64(key) << 32);
  // The first of all equals are above the floor.
  const auto is_equal = [&](u32, float logit) { return u64(key_of(logit) == key); };
  return order_of(key, locate(row, board, is_equal, [&](u64) { return equals - 1; }));
}

}  // namespace

// chosen[row] = the next token, or NONE.
extern "C" __global__ void __launch_bounds__(THREADS) choose(u32* chosen, float* logits, const u32* table,
                                                             u32 vocabulary) {
  static_assert(DIGITS * DIGITS == THREADS, "DIGITS threads add up a bin");
  SHARED(u64, bins, DIGITS * THREADS);
  SHARED(u64, sums, THREADS);
  SHARED(u64, totals, DIGITS);
  SHARED(u64, left, 1);
  SHARED(u32, found, 1);
  const Board board{bins, sums, totals, left, found};
  const Choice choice = reinterpret_cast<const Choice*>(table)[blockIdx.x];
  logits += u64(blockIdx.x) * vocabulary;
  // Each id once: no two threads write one place.
  for (u32 i = choice.first_seen + threadIdx.x; i < choice.end_seen; i += THREADS) {
    const float logit = logits[table[i]];
    logits[table[i]] = logit > 0.0f ? logit / choice.repetition_penalty : logit * choice.repetition_penalty;
  }
  __syncthreads();
  const u32* pairs = table + choice.first_counted;
  for (u32 i = threadIdx.x; i < choice.counted; i += THREADS) {
    logits[pairs[2 * i]] -= fmaf(choice.frequency_penalty, float(pairs[2 * i + 1]), choice.presence_penalty);
  }
  __syncthreads();
  const Row row{logits, vocabulary};
  const u64 first = first_of(row, board);
  const float largest = logit_of(u32(first >> 32)), temperature = choice.temperature;
  u32 id = isfinite(largest) ? ~u32(first) : NONE;
  if (id != NONE && temperature > 0.0f) {
    u64 least = 0;
    if (choice.top_k > 0) {
      least = least_kept(row, board, 0, [](float) { return u64(1); }, [&](u64) { return u64(choice.top_k); });
    }
    if (choice.top_p < 1.0f) {
      least = least_kept(
          row, board, least, [&](float logit) { return weight_of(logit, largest, temperature); },
          [&](u64 total) { return max(u64(1), u64(ceil(double(total) * choice.top_p))); });
    }
    const u64 draw = u64(choice.draw_high) << 32 | choice.draw_low;
    id = locate(
        row, board,
        [&](u32 id, float logit) {
          return order_of(key_of(logit), id) < least ? u64(0) : weight_of(logit, largest, temperature);
        },
        [&](u64 total) { return __umul64hi(draw, total); });
  }
  if (threadIdx.x == 0) chosen[blockIdx.x] = id;
}
KERNEL(choose);
