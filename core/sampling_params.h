// How a row becomes a token: the parameters, their ranges and their defaults ("off").
#ifndef LOGITD_CORE_SAMPLING_PARAMS_H_
#define LOGITD_CORE_SAMPLING_PARAMS_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "core/vocab_subset.h"

namespace logitd {

// Thread-compatible value. The defaults draw from the model's own distribution.
struct SamplingParams {
  // 0: greedy. Else in [kMinTemperature, kMaxTemperature].
  double temperature = 1;
  // Keeps the k first tokens, >= 0. 0: off.
  int32_t top_k = 0;
  // Keeps the shortest prefix whose mass reaches p, [0, 1]. 1: off.
  double top_p = 1;
  // Keeps p_i >= min_p * p_max, [0, 1]. 0: off.
  double min_p = 0;
  // The tokens that may be chosen. Null: all. Shared, because many sequences of a stream have the same one.
  std::shared_ptr<const VocabSubset> subset;

  bool greedy() const { return temperature == 0; }
  // Nothing is on: the sampling distribution is the model's.
  bool neutral() const { return temperature == 1 && top_k == 0 && top_p == 1 && min_p == 0 && subset == nullptr; }
};

// Errors: FIELD_OUT_OF_RANGE naming the field as SamplingParams in the proto does ("temperature", "top_k", ...).
// REQUIRES: params.subset, if set, is of the vocabulary in use.
absl::Status Validate(const SamplingParams& params);

}  // namespace logitd

#endif  // LOGITD_CORE_SAMPLING_PARAMS_H_
