#include "server/models/token_bound.h"

#include "core/errors.h"

namespace logitd::server {

int64_t LeastTokens(int64_t text_bytes, const TokenizationOptions& options, const RunnerCapabilities& capabilities,
                    const Vocabulary& vocabulary) {
  const int64_t longest = vocabulary.longest_token_bytes;
  if (!capabilities.tokens_spell_text || options.parse_special_tokens || longest == 0) return 0;
  return (text_bytes + longest - 1) / longest;
}

absl::Status CheckTextFits(std::string_view field, int64_t text_bytes, const TokenizationOptions& options,
                           const ServedModel& model, int64_t bound) {
  const int64_t least = LeastTokens(text_bytes, options, model.capabilities(), model.vocabulary());
  return least > bound ? errors::TextExceedsContext(field, text_bytes, least, bound) : absl::OkStatus();
}

}  // namespace logitd::server
