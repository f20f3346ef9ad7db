#include "server/models/token_bound.h"

#include "core/errors.h"

namespace logitd::server {

TextSize SizeOf(std::string_view text) {
  constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581.
  int64_t marks = 0;
  for (size_t at = text.find(kSpaceMark); at != std::string_view::npos;
       at = text.find(kSpaceMark, at + kSpaceMark.size())) {
    ++marks;
  }
  const auto bytes = static_cast<int64_t>(text.size());
  return {bytes, bytes - marks * static_cast<int64_t>(kSpaceMark.size() - 1)};
}

int64_t LeastTokens(int64_t spelled_bytes, const TokenizationOptions& options, const RunnerCapabilities& capabilities,
                    const Vocabulary& vocabulary) {
  const int64_t longest = vocabulary.longest_token_bytes;
  if (!capabilities.tokens_spell_text || options.parse_special_tokens || longest == 0) return 0;
  return (spelled_bytes + longest - 1) / longest;
}

absl::Status CheckTextFits(std::string_view field, const TextSize& size, const TokenizationOptions& options,
                           const ServedModel& model, int64_t bound) {
  const int64_t least = LeastTokens(size.spelled_bytes, options, model.capabilities(), model.vocabulary());
  return least > bound ? errors::TextExceedsContext(field, size.bytes, least, bound) : absl::OkStatus();
}

}  // namespace logitd::server
