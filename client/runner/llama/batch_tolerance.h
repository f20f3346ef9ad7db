// How far a token's log-prob moves with what it is batched with, measured on the loaded model itself.
//
// A model's kernels add up in another order for another batch, and what they round on the way (an f16 cache, quantised
// activations) makes a small difference large: 1e-5 nats for f32 weights and cache, tenths for 4-bit weights. What it
// is depends on the weights, the precision, the number of threads and the CPU, so it is measured and not promised.
//
//   const std::optional<double> nats = MeasureBatchTolerance(context, budget);
//
// Thread-safe: free functions without state.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_BATCH_TOLERANCE_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_BATCH_TOLERANCE_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "llama.h"

namespace logitd::runner {

// The bound, nats, > 0: kToleranceMargin times the largest difference that was seen, rounded up to two digits, and at
// least kLeastTolerance. A few tokens are evaluated one by one (the reference), as one prompt, in parts of many sizes,
// beside other sequences, and after a fork; a text of up to 128 tokens in parts of 32 and at once; every token of a row
// counts whose log-prob is above -20, and the token that comes next. Clears the context's memory before and after.
// REQUIRES: nothing else uses `context`; n_batch tokens fit one llama_decode.
//
// `budget`: how long it may take; fewer tokens and shapes are tried in less, but not fewer than a call of 64 tokens,
// and of 4 tokens the reference, one prompt, and halves. nullopt: there is no time for that call (some 30 ms a token of
// a prompt, and no tenth of a load that is long), or the model could not be evaluated.
std::optional<double> MeasureBatchTolerance(llama_context* context, std::chrono::milliseconds budget);

// The measurement takes the largest of some hundred thousand log-probs, of a few rows. Fifty other shapes and texts
// came to 0.4 to 1.6 of that on eleven models; twice covers them, and stays near what is seen.
inline constexpr double kToleranceMargin = 2;
// The log-prob itself is rounded by less; no sum of f32 logits is reproduced better.
inline constexpr double kLeastTolerance = 1e-6;

// What a load may spend on it: this, or a tenth of what the load has taken if that is more.
inline constexpr std::chrono::milliseconds kToleranceTime{2000};

// Names what a measurement depends on: the weights, the precision, the number of threads, the build of llama.cpp (its
// version, its sources and flags) and the instruction sets that it uses here. 64 hexadecimal digits.
std::string ToleranceKey(const std::string& model_fingerprint, const std::string& precision, int threads);

// `measure`'s value, kept in `cache_dir` under `key`, so that a restarted runner states the same number without
// measuring again. A file that cannot be read or written is measured again and again: never an error.
std::optional<double> CachedBatchTolerance(const std::string& cache_dir, const std::string& key,
                                           const std::function<std::optional<double>()>& measure);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_BATCH_TOLERANCE_H_
