// Log-softmax and gather over one chunk of logits, and back (the twin of head.rs).
//
// Layout: logits (R, V) f32, from cuBLAS; targets, logprobs, log_sums, seeds (R,). A block takes a row
// and reads it twice: the maximum and the sum in one pass (online softmax: Milakov and Gimelshein,
// 2018), and in the backward pass once more. The gradient is written as T for the two products that
// follow; logits never exist for more than a chunk.
//
// Launch: <<<R, 512>>>.

#include "cuda/device.cuh"

namespace {

constexpr u32 THREADS = 512;

// Sum of exp(x - peak) so far, and the peak. exp(-inf) = 0 joins an empty share.
struct Share {
  float peak, sum;
};

__device__ __forceinline__ Share join(Share a, Share b) {
  const float peak = fmaxf(a.peak, b.peak);
  const float from_a = a.sum == 0.0f ? 0.0f : a.sum * expf(a.peak - peak);
  const float from_b = b.sum == 0.0f ? 0.0f : b.sum * expf(b.peak - peak);
  return {peak, from_a + from_b};
}

}  // namespace

// logprobs[r] = logits[r][targets[r]] - log_sums[r]; log_sums[r] = log sum exp(logits[r]).
extern "C" __global__ void __launch_bounds__(THREADS) head_logprob(
    float* logprobs, float* log_sums, const float* logits, const u32* targets, u32 vocabulary) {
  SHARED(float, peaks, THREADS / WARP);
  SHARED(float, sums, THREADS / WARP);
  const u64 row = blockIdx.x;
  logits += row * vocabulary;
  const bool aligned = in_packs<float>(vocabulary);
  Share share{-INFINITY, 0.0f};
  for (u32 v = threadIdx.x * PACK<float>; v < vocabulary; v += THREADS * PACK<float>) {
    float values[PACK<float>];
    load_pack(values, logits + v, vocabulary - v, aligned);
    float peak = share.peak;
#pragma unroll
    for (u32 i = 0; i < PACK<float>; ++i) peak = v + i < vocabulary ? fmaxf(peak, values[i]) : peak;
    float sum = share.sum == 0.0f ? 0.0f : share.sum * expf(share.peak - peak);
#pragma unroll
    for (u32 i = 0; i < PACK<float>; ++i) sum += v + i < vocabulary ? expf(values[i] - peak) : 0.0f;
    share = {peak, sum};
  }
#pragma unroll
  for (u32 bits = WARP / 2; bits > 0; bits /= 2) {
    const float peak = __shfl_xor_sync(ALL_LANES, share.peak, bits);
    const float sum = __shfl_xor_sync(ALL_LANES, share.sum, bits);
    share = join(share, {peak, sum});
  }
  if (threadIdx.x % WARP == 0) {
    peaks[threadIdx.x / WARP] = share.peak;
    sums[threadIdx.x / WARP] = share.sum;
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    Share all{peaks[0], sums[0]};
    for (u32 warp = 1; warp < THREADS / WARP; ++warp) all = join(all, {peaks[warp], sums[warp]});
    const float log_sum = all.peak + logf(all.sum);
    log_sums[row] = log_sum;
    logprobs[row] = logits[targets[row]] - log_sum;
  }
}
KERNEL(head_logprob);

namespace {

// d logits[r][v] = seeds[r] ((v == targets[r]) - exp(logits[r][v] - log_sums[r])).
template <typename T>
__device__ void gradient(T* out, const float* logits, const float* log_sums, const float* seeds,
                         const u32* targets, u32 vocabulary) {
  const u64 row = blockIdx.x;
  logits += row * vocabulary;
  out += row * vocabulary;
  const bool aligned = in_packs<float>(vocabulary);
  const float log_sum = log_sums[row], seed = seeds[row];
  const u32 target = targets[row];
  for (u32 v = threadIdx.x * PACK<float>; v < vocabulary; v += THREADS * PACK<float>) {
    float values[PACK<float>];
    load_pack(values, logits + v, vocabulary - v, aligned);
#pragma unroll
    for (u32 i = 0; i < PACK<float>; ++i) {
      if (v + i < vocabulary) {
        out[v + i] = from_float<T>(seed * ((v + i == target ? 1.0f : 0.0f) - expf(values[i] - log_sum)));
      }
    }
  }
}

}  // namespace

#define HEAD_KERNELS(T, type)                                                                                \
  extern "C" __global__ void __launch_bounds__(THREADS) head_gradient_##type(                                \
      T* out, const float* logits, const float* log_sums, const float* seeds, const u32* targets,            \
      u32 vocabulary) {                                                                                      \
    gradient(out, logits, log_sums, seeds, targets, vocabulary);                                             \
  }                                                                                                          \
  KERNEL(head_gradient_##type)

HEAD_KERNELS(float, f32);
HEAD_KERNELS(bf16, bf16);
