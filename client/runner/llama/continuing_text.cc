#include "client/runner/llama/continuing_text.h"

#include <algorithm>
#include <iterator>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"

namespace logitd::runner {
namespace {

// A private-use character first: hardly any vocabulary has a token for it, so it never merges. Then some characters
// that nearly every vocabulary has.
constexpr const char* kLeads[] = {"\xEE\x80\x80", ".", "x", "1", "\n"};

}  // namespace

absl::StatusOr<std::vector<TokenId>> TokenizeContinuing(
    const std::string& text, const std::function<absl::StatusOr<std::vector<TokenId>>(const std::string&)>& tokenize,
    const std::function<std::string(TokenId)>& piece) {
  ASSIGN_OR_RETURN(std::vector<TokenId> whole, tokenize(text));
  std::string spelled;
  for (const TokenId id : whole) spelled += piece(id);
  // The tokenizer put nothing before the text.
  if (text.empty() || spelled == text) return whole;
  for (const std::string lead : kLeads) {
    if (lead.size() + text.size() > static_cast<size_t>(kMaxTextBytes)) continue;
    const absl::StatusOr<std::vector<TokenId>> alone = tokenize(lead);
    // A lead for which the vocabulary has no token may be an error. An error that ends the call, or the tokenizer, is
    // final.
    if (absl::IsInvalidArgument(alone.status()) && DetailOf(alone.status()).reason == ErrorReason::kMalformedMessage) {
      continue;
    }
    RETURN_IF_ERROR(alone.status());
    std::string spelled_lead;
    for (const TokenId id : *alone) spelled_lead += piece(id);
    if (!spelled_lead.ends_with(lead)) continue;
    ASSIGN_OR_RETURN(const std::vector<TokenId> after, tokenize(lead + text));
    if (after.size() < alone->size() || !std::equal(alone->begin(), alone->end(), after.begin())) continue;
    return std::vector<TokenId>(after.begin() + std::ssize(*alone), after.end());
  }
  return whole;
}

}  // namespace logitd::runner
