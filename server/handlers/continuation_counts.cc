#include "server/handlers/continuation_counts.h"

#include <string_view>

#include "base/utf8.h"
#include "core/errors.h"

namespace logitd::server {

absl::Status SetCounts(const ContinuationRequest& request, const std::optional<std::string>& text,
                       ContinuationInput& continuation) {
  if (text) {
    const int32_t uncounted = request.uncounted_prefix_bytes;
    if (uncounted < 0 || static_cast<size_t>(uncounted) > text->size()) {
      return errors::OutOfRange("uncounted_prefix_bytes", int64_t{uncounted},
                                "in [0, " + std::to_string(text->size()) + "]");
    }
    const std::string_view counted = std::string_view(*text).substr(static_cast<size_t>(uncounted));
    if (IsUtf8(*text) && !IsUtf8(counted)) {
      return errors::OutOfRange("uncounted_prefix_bytes", int64_t{uncounted}, "on a character border");
    }
    if (!counted.empty()) continuation.byte_count = static_cast<int64_t>(counted.size());
    if (!counted.empty()) continuation.character_count = CountCharacters(counted);
  } else if (request.uncounted_prefix_bytes != 0) {
    return errors::OutOfRange("uncounted_prefix_bytes", int64_t{request.uncounted_prefix_bytes},
                              "0 where the model's tokens have no bytes");
  }
  if (request.byte_count) {
    if (*request.byte_count < 1) return errors::OutOfRange("byte_count", int64_t{*request.byte_count}, ">= 1");
    continuation.byte_count = *request.byte_count;
  }
  if (request.character_count) {
    if (*request.character_count < 1)
      return errors::OutOfRange("character_count", int64_t{*request.character_count}, ">= 1");
    continuation.character_count = *request.character_count;
  }
  return absl::OkStatus();
}

}  // namespace logitd::server
