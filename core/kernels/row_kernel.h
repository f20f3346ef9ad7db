// The passes over a row: its maximum, and its integer weights. The arithmetic is normative (docs/numerics.md, section
// 1): each term is one fixed sequence of f32 operations turned into a fixed-point integer, and sums are integer sums,
// so that no order of lanes, blocks or threads changes a bit.
//
// Plain pointers and sizes; nothing is checked, nothing is allocated. Thread-safe: free functions without state.
// No alignment beyond a float's is assumed.
// `mask` is a bitmap as VocabSubset::words(), or null for "every token".
#ifndef LOGITD_CORE_KERNELS_ROW_KERNEL_H_
#define LOGITD_CORE_KERNELS_ROW_KERNEL_H_

#include <cstddef>
#include <cstdint>

namespace logitd::kernels {

// What the first pass finds.
struct RowScan {
  // Largest value of the masked tokens; -inf if there is none.
  float max;
  // The lowest token id that has it (-0 equals +0); -1 if every masked value is -inf.
  int32_t argmax;
  // The lowest token id, masked or not, that is NaN or +inf; -1 if there is none. Then `max` means nothing.
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

// Pass 1. n >= 1.
RowScan ScanRow(const float* logits, size_t n, const uint64_t* mask);

// The weight of one token. 2^42 for logit == max; 0 for -inf and for anything below 2^-43 of the maximum's.
uint64_t Weight(float logit, float max, const ExpConstants& constants);

// Pass 2: the sum of the masked tokens' weights, which fits 63 bits for n <= 2^20. If `weights` is not null, it gets
// each token's weight, [n], 0 for tokens that are not in the mask.
uint64_t SumWeights(const float* logits, size_t n, const uint64_t* mask, float max, const ExpConstants& constants,
                    uint64_t* weights);

// The sum of A_i = rne(2^42 e_i d_i), e_i the token's exponential and d_i = (max - x_i) fl(1 / temperature):
// entropy = ln(Z 2^-42) + sum / Z.
uint64_t SumEntropyTerms(const float* logits, size_t n, const uint64_t* mask, float max, const ExpConstants& constants);

// What a cut leaves: how many tokens, and their weights' sum.
struct Kept {
  int32_t count;
  uint64_t total_weight;
};

// Clears from `mask` every token after (cut_logit, cut_id) in the order (logit descending, id ascending), and sets its
// weight to 0. REQUIRES: cut_logit is finite; weights are those of the masked tokens. Shapes: mask [(n + 63) / 64],
// weights [n].
Kept ApplyCut(const float* logits, size_t n, float cut_logit, int32_t cut_id, uint64_t* mask, uint64_t* weights);

// Number of values strictly larger than `value`.
int32_t CountGreater(const float* logits, size_t n, float value);

}  // namespace logitd::kernels

#endif  // LOGITD_CORE_KERNELS_ROW_KERNEL_H_
