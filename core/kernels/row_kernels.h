// The passes over a row, once per instruction set: its maximum, its integer weights, and the searches of the truncation
// stages. The arithmetic is normative (docs/numerics.md, section 1). Each term is one fixed sequence of f32 operations,
// turned into a fixed-point integer; sums are integer sums. No order of lanes, blocks or threads changes a bit, and
// every target returns the same bits.
//
//   const RowKernels& kernels = ActiveKernels();  // once per row, not per element
//   RowScan scan = kernels.scan_row(row, n, nullptr, block_max);
//
// Plain pointers and sizes; nothing is checked, nothing is allocated. Thread-safe: functions without state.
// No alignment beyond a float's is assumed. The thread's floating-point mode is the one of float_mode.h.
//
// Throughout:
// - `logits` [n]; n in [1, 2^20]. Only scan_row takes NaN or +inf.
// - `mask`: a bitmap as TokenMask::bits(), [(n + 63) / 64]; bits beyond n mean nothing; null: every token.
// - `block_max` [(n + 255) / 256]: the largest logit of the mask's tokens in each block; -inf if it has none.
#ifndef LOGITD_CORE_KERNELS_ROW_KERNELS_H_
#define LOGITD_CORE_KERNELS_ROW_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "core/kernels/head_kernels.h"

namespace logitd::kernels {

// Tokens per block of `block_max`. Smaller blocks cost time in the first pass, larger ones in later passes.
inline constexpr size_t kBlockSize = 256;
inline constexpr size_t BlockCount(size_t n) { return (n + kBlockSize - 1) / kBlockSize; }

// The result of the first pass.
struct RowScan {
  // Largest value of the masked tokens, never -0; -inf if there is none.
  float max;
  // The lowest token id that has it (-0 equals +0); -1 if every masked value is -inf.
  int32_t argmax;
  // The lowest token id, masked or not, that is NaN or +inf; -1: there is none. If there is one, all other results and
  // `block_max` have no meaning.
  int32_t first_non_finite;
  // Number of masked tokens whose logit is not -inf.
  int32_t finite_count;
};

// Constants of exp((x - max) / temperature) for one temperature in [1e-4, 1e6].
struct ExpConstants {
  explicit ExpConstants(double temperature);
  // log2(e) / temperature as the sum of two floats.
  float scale_high;
  float scale_low;
  // -126 / scale: differences below it are clamped; they weigh nothing.
  float lowest_difference;
  // fl(1 / temperature), for the terms of the entropy.
  float inverse_temperature;
};

// The weight of the largest logit, and so the unit of all weights: a weight is rne(2^42 exp((x - max) / temperature)).
inline constexpr int kWeightBits = 42;

// The weight of one token, on any processor. 2^42 for logit == max; 0 for -inf and for anything below 2^-43 of the
// maximum's.
uint64_t Weight(float logit, float max, const ExpConstants& constants);

// Tokens per sum of `block_sums`: a draw adds up sums of blocks, then weighs one block again up to its token.
inline constexpr size_t kSumBlockSize = 1024;
inline constexpr size_t SumBlockCount(size_t n) { return (n + kSumBlockSize - 1) / kSumBlockSize; }

// A set of tokens: their number and the sum of their weights.
struct Mass {
  int32_t count;
  uint64_t weight;
};

// Bounds of a sum of weights.
struct WeightBounds {
  uint64_t at_least;
  uint64_t at_most;
};

// Sums for an entropy: ln(weights 2^-42) + terms / weights.
struct EntropySums {
  uint64_t weights;
  // Of A_i = rne(2^42 e_i d_i), e_i the token's exponential and d_i = (max - x_i) fl(1 / temperature).
  uint64_t terms;
};

// Sums for a standard deviation, of q_i = rne((max - x_i) scale).
struct SpreadSums {
  uint64_t values;
  uint64_t squares;
};
// q_i is at most 2^21, so that 2^20 squares fit 62 bits.
inline constexpr int kSpreadBits = 21;
inline constexpr float kLargestSpread = 1 << kSpreadBits;

// Bounds that one pass compares a row with.
inline constexpr size_t kBoundCount = 4;

// The code of -inf in LIN16.
inline constexpr int kLin16Excluded = 65535;

// Entries beyond the last result that `collect` may write to.
inline constexpr size_t kCollectPadding = 64;

// The functions of one target.
struct RowKernels {
  // "AVX512", "AVX2" or "SCALAR"; on 64-bit Arm "NEON" or "SCALAR".
  const char* target;

  // Pass 1. `block_max` is filled unless it is null.
  RowScan (*scan_row)(const float* logits, size_t n, const uint64_t* mask, float* block_max);

  // Pass 2: the sum of the masked tokens' weights, which fits 63 bits for n <= 2^20. `block_sums` gets the sum of each
  // block, [(n + 1023) / 1024], unless it is null.
  uint64_t (*sum_weights)(const float* logits, size_t n, const uint64_t* mask, float max, const ExpConstants& constants,
                          uint64_t* block_sums);

  // sum_weights over every token. Prefetches `next` [n], the row that is read after this one.
  uint64_t (*sum_weights_ahead)(const float* logits, size_t n, float max, const ExpConstants& constants,
                                const float* next);

  // sum_weights over the masked tokens with low < logit < high only; low may be -inf, high +inf.
  // `block_sums` as above.
  Mass (*sum_between)(const float* logits, size_t n, const uint64_t* mask, const float* block_max, float low,
                      float high, float max, const ExpConstants& constants, uint64_t* block_sums);

  // Bounds of the sum of weights of the masked tokens with logit < high. They differ by at most 6.4 % of it and n, and
  // take a quarter of the sum's time. They are no part of any result, and may differ between targets.
  WeightBounds (*bound_below)(const float* logits, size_t n, const uint64_t* mask, float high, float max,
                              const ExpConstants& constants);

  // The weight of each logit, [n], and their sum.
  uint64_t (*weigh)(const float* logits, size_t n, float max, const ExpConstants& constants, uint64_t* weights);

  // The sum of weights again, and the terms of the entropy.
  EntropySums (*sum_entropy)(const float* logits, size_t n, const uint64_t* mask, float max,
                             const ExpConstants& constants);

  // Smallest logit of the masked tokens that is not -inf; +inf if there is none.
  float (*min_finite)(const float* logits, size_t n, const uint64_t* mask);
  // Over the masked tokens whose logit is not -inf. REQUIRES: scale is a power of two, (max - x) scale <= 2^21.
  SpreadSums (*sum_spread)(const float* logits, size_t n, const uint64_t* mask, float max, float scale);

  // Number of masked tokens with a logit strictly larger than `value`.
  int32_t (*count_greater)(const float* logits, size_t n, const uint64_t* mask, float value);

  // sums[j]: sum of weights[i] over logits[i] >= bounds[j]. bounds [kBoundCount], neither NaN nor
  // -inf; weights [n].
  void (*sum_at_least)(const float* logits, size_t n, const uint64_t* weights, const float* bounds, uint64_t* sums);

  // Writes the ids in [begin, end) of the masked tokens with lowest <= logit <= highest to `ids`, ascending, and
  // returns their number. REQUIRES: begin is a multiple of 64; end <= n; bounds are neither NaN nor -inf; ids has room
  // for end - begin + kCollectPadding.
  size_t (*collect)(const float* logits, size_t begin, size_t end, const uint64_t* mask, float lowest, float highest,
                    int32_t* ids);

  // Clears from `mask` every token whose logit is not in [low, high], and every bit beyond n; returns the number of
  // tokens that remain. low is not -inf. REQUIRES: no masked token is larger than its `block_max`.
  int32_t (*keep_between)(const float* logits, size_t n, const float* block_max, float low, float high, uint64_t* mask);

  // out[i] = logits[ids[i]], [count].
  void (*gather)(const float* logits, const int32_t* ids, size_t count, float* out);

  // Exactly the f32 values of n little-endian binary16 or bfloat16 values, at any address. A NaN stays one.
  void (*widen_f16)(const void* values, size_t n, float* out);
  void (*widen_bf16)(const void* values, size_t n, float* out);
  // x = fma(-q, step, max) of n little-endian uint16 q, at any address; q = 65535: -inf.
  void (*widen_lin16)(const void* values, size_t n, float linear_max, float linear_step, float* out);

  // The logits of a softmax head (head_kernels.h).
  void (*compute_logits)(const HeadProduct& product);
};

// The reference that every other target equals: plain C++, on any processor. Without FMA instructions, slow.
extern const RowKernels kScalarKernels;

// At most this many targets exist in one program.
inline constexpr size_t kMaxTargets = 4;
// Puts the targets that this processor can run and Highway provides into `targets`, the best first, and returns their
// number.
size_t VectorKernels(const RowKernels** targets);

// All targets of this processor, the best first, kScalarKernels last; `targets` has room for kMaxTargets.
size_t AvailableKernels(const RowKernels** targets);
// The target in use: the best, unless UseKernels said otherwise.
const RowKernels& ActiveKernels();
void UseKernels(const RowKernels& kernels);

}  // namespace logitd::kernels

#endif  // LOGITD_CORE_KERNELS_ROW_KERNELS_H_
