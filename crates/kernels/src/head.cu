// Log-softmax and gather over one chunk of logits, and back (the twin of head.rs).
//
// Layout: logits (R, V) f32, from cuBLAS; targets, logprobs, log_sums, seeds (R,). A block takes a row
// and reads it twice: the maximum and the sum in one pass (online softmax: Milakov and Gimelshein,
// 2018), and in the backward pass once more. The gradient is written as T for the two products that
// follow; logits never exist for more than a chunk.
//
// Launch: <<<R, 512>>>.
//
// Softened, with s the label smoothing and w the weight of the z-loss (`Softening` of head/rows.rs):
//   q = (1 - s) log p[target] + s mean(log p) - w log_sum^2
//   dq/dz = (1 - s) onehot + s / V - (1 + 2 w log_sum) p

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

// What is learned besides the target word.
struct Softening {
  float label_smoothing, z_loss;
};

// logprobs[r] = logits[r][targets[r]] - log_sums[r]; log_sums[r] = log sum exp(logits[r]); softened[r] = q,
// if it is asked for.
template <bool softens>
__device__ void score(float* softened, float* logprobs, float* log_sums, const float* logits, const u32* targets,
                      u32 vocabulary, Softening softening) {
  SHARED(float, peaks, THREADS / WARP);
  SHARED(float, sums, THREADS / WARP);
  const u64 row = blockIdx.x;
  logits += row * vocabulary;
  const bool aligned = in_packs<float>(vocabulary);
  Share share{-INFINITY, 0.0f};
  float total = 0.0f;
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
    if (softens) {
#pragma unroll
      for (u32 i = 0; i < PACK<float>; ++i) total += v + i < vocabulary ? values[i] : 0.0f;
    }
  }
  if (softens) total = block_sum(total, sums);
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
    const float logprob = logits[targets[row]] - log_sum;
    log_sums[row] = log_sum;
    logprobs[row] = logprob;
    if (softens) {
      const float mean = total / float(vocabulary) - log_sum;
      softened[row] = (1.0f - softening.label_smoothing) * logprob + softening.label_smoothing * mean -
                      softening.z_loss * log_sum * log_sum;
    }
  }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(THREADS) head_logprob(
    float* logprobs, float* log_sums, const float* logits, const u32* targets, u32 vocabulary) {
  score<false>(nullptr, logprobs, log_sums, logits, targets, vocabulary, {});
}
KERNEL(head_logprob);

extern "C" __global__ void __launch_bounds__(THREADS) head_softened(
    float* softened, float* logprobs, float* log_sums, const float* logits, const u32* targets, u32 vocabulary,
    float label_smoothing, float z_loss) {
  score<true>(softened, logprobs, log_sums, logits, targets, vocabulary, {label_smoothing, z_loss});
}
KERNEL(head_softened);

namespace {

// d logits[r][v] = seeds[r] dq/dz. Where nothing is softened, the same bits as without the two numbers.
template <typename T>
__device__ void gradient(T* out, const float* logits, const float* log_sums, const float* seeds,
                         const u32* targets, u32 vocabulary, Softening softening) {
  const u64 row = blockIdx.x;
  logits += row * vocabulary;
  out += row * vocabulary;
  const bool aligned = in_packs<float>(vocabulary);
  const float log_sum = log_sums[row], seed = seeds[row];
  const u32 target = targets[row];
  const float of_target = 1.0f - softening.label_smoothing, even = softening.label_smoothing / float(vocabulary);
  const float drift = 1.0f + 2.0f * softening.z_loss * log_sum;
  for (u32 v = threadIdx.x * PACK<float>; v < vocabulary; v += THREADS * PACK<float>) {
    float values[PACK<float>];
    load_pack(values, logits + v, vocabulary - v, aligned);
#pragma unroll
    for (u32 i = 0; i < PACK<float>; ++i) {
      if (v + i < vocabulary) {
        const float wanted = v + i == target ? of_target + even : even;
        out[v + i] = from_float<T>(seed * (wanted - drift * expf(values[i] - log_sum)));
      }
    }
  }
}

}  // namespace

#define HEAD_KERNELS(T, type)                                                                                \
  extern "C" __global__ void __launch_bounds__(THREADS) head_gradient_##type(                                \
      T* out, const float* logits, const float* log_sums, const float* seeds, const u32* targets,            \
      u32 vocabulary, float label_smoothing, float z_loss) {                                                 \
    gradient(out, logits, log_sums, seeds, targets, vocabulary, {label_smoothing, z_loss});                  \
  }                                                                                                          \
  KERNEL(head_gradient_##type)

HEAD_KERNELS(float, f32);
HEAD_KERNELS(bf16, bf16);
