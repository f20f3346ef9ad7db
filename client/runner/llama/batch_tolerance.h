// Measures on the loaded model how far a token's log-prob moves with its batch.
//
// A model's kernels add numbers in another order for another batch. Rounding on the way (an f16 cache, quantised
// activations) amplifies the difference: 1e-5 nats for f32 weights and cache, tenths for 4-bit weights. It depends on
// the weights, the precision, the number of threads and the CPU, and is therefore measured and not promised.
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

// Returns the bound in nats, > 0: kToleranceMargin times the largest difference seen, rounded up to two digits, and at
// least kLeastTolerance. nullopt: the budget is too small for the call of 64 tokens, or the model could not be
// evaluated. (A load's usual budget is too small if a prompt's token takes some 30 ms and a tenth of the load is not
// long either.)
//
// - A few tokens are evaluated one by one (the reference), as one prompt, in parts of many sizes, beside other
//   sequences, and after a fork.
// - A text of up to 128 tokens is evaluated in parts of 32 and at once.
// - In each row, all tokens with a log-prob above -20 count, and the token that comes next.
//
// `budget`: how long this may take. A small budget means fewer tokens and shapes, but at least one call of 64 tokens
// and, with 4 tokens, the reference, one prompt, and halves.
//
// Clears the context's memory before and after. REQUIRES: nothing else uses `context`; n_batch tokens fit one
// llama_decode.
std::optional<double> MeasureBatchTolerance(llama_context* context, std::chrono::milliseconds budget);

// The measurement takes the largest of some hundred thousand log-probs of a few rows. On eleven models fifty other
// shapes and texts came to 0.4 to 1.6 times that. Twice covers them and stays near the observed values.
inline constexpr double kToleranceMargin = 2;
// The log-prob itself is rounded by less, and no sum of f32 logits is reproduced better.
inline constexpr double kLeastTolerance = 1e-6;

// The time that a load may spend on the measurement: this, or a tenth of the load's time so far if that is longer.
inline constexpr std::chrono::milliseconds kToleranceTime{2000};

// A key for everything that a measurement depends on: the weights, the precision, the number of threads, the build of
// llama.cpp (version, sources and flags) and the instruction sets that it uses here. 64 hexadecimal digits.
std::string ToleranceKey(const std::string& model_fingerprint, const std::string& precision, int threads);

// Returns the value of `measure`, kept in `cache_dir` under `key`, so that a restarted runner states the same number
// without a new measurement. If the file cannot be read or written, the value is measured each time; that is not an
// error.
std::optional<double> CachedBatchTolerance(const std::string& cache_dir, const std::string& key,
                                           const std::function<std::optional<double>()>& measure);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_BATCH_TOLERANCE_H_
