#include "core/sampling_params.h"

#include <string>

#include "core/errors.h"
#include "core/limits.h"

namespace logitd {

// Every test is written so that NaN fails it.
absl::Status Validate(const SamplingParams& params) {
  const double temperature = params.temperature;
  if (!(temperature == 0 || (temperature >= kMinTemperature && temperature <= kMaxTemperature))) {
    return errors::OutOfRange("temperature", temperature,
                              "0 or in [" + errors::Show(kMinTemperature) + ", " + errors::Show(kMaxTemperature) + "]");
  }
  if (params.top_k < 0) return errors::OutOfRange("top_k", int64_t{params.top_k}, ">= 0");
  if (!(params.top_p >= 0 && params.top_p <= 1)) return errors::OutOfRange("top_p", params.top_p, "[0, 1]");
  if (!(params.min_p >= 0 && params.min_p <= 1)) return errors::OutOfRange("min_p", params.min_p, "[0, 1]");
  return absl::OkStatus();
}

}  // namespace logitd
