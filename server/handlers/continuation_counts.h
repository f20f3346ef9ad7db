// The numbers of bytes and characters by which a continuation's length normalisations divide.
#ifndef LOGITD_SERVER_HANDLERS_CONTINUATION_COUNTS_H_
#define LOGITD_SERVER_HANDLERS_CONTINUATION_COUNTS_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "server/handlers/item_tokens.h"

namespace logitd::server {

// Sets byte_count and character_count of `continuation`: those of the request, else those of `text` without its
// uncounted prefix. `text`: the continuation's text, or its tokens'; unset: not known.
// Errors: FIELD_OUT_OF_RANGE (fields "uncounted_prefix_bytes", "byte_count", "character_count").
absl::Status SetCounts(const ContinuationRequest& request, const std::optional<std::string>& text,
                       ContinuationInput& continuation);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_CONTINUATION_COUNTS_H_
