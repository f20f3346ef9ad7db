#include "server/models/text_outcomes.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/errors.h"

namespace logitd::server {
namespace {

// The index of the text that a runner's error is about: 3 for "texts[3]".
std::optional<size_t> FailedText(const absl::Status& status, size_t count) {
  if (status.code() != absl::StatusCode::kInvalidArgument && status.code() != absl::StatusCode::kResourceExhausted) {
    return std::nullopt;
  }
  const ErrorDetail detail = DetailOf(status);
  constexpr std::string_view kBegin = "texts[";
  if (!detail.field.starts_with(kBegin)) return std::nullopt;
  size_t index = 0;
  const char* end = detail.field.data() + detail.field.size();
  const auto parsed = std::from_chars(detail.field.data() + kBegin.size(), end, index);
  if (parsed.ec != std::errc() || parsed.ptr + 1 != end || *parsed.ptr != ']' || index >= count) return std::nullopt;
  return index;
}

absl::Status TooManyFailedTexts(const absl::Status& status) {
  ErrorDetail detail = DetailOf(status);
  detail.message = "more than " + std::to_string(kMaxFailedTexts) +
                   " texts of this request have ended the model's tokenizer, which is as many as one request may "
                   "have; send such texts in requests of their own";
  detail.field.clear();
  detail.value.clear();
  return ToStatus(detail);
}

}  // namespace

absl::StatusOr<std::vector<TextOutcome>> TextOutcomes::Tokenize(const std::vector<std::string>& texts,
                                                                const TokenizationOptions& options) {
  std::vector<std::optional<TextOutcome>> known(texts.size());
  const auto is_known = [](const auto& outcome) { return outcome.has_value(); };
  while (true) {
    // The first run of texts without an outcome.
    const auto first = std::find_if_not(known.begin(), known.end(), is_known);
    if (first == known.end()) break;
    const auto last = std::find_if(first, known.end(), is_known);
    const auto text = texts.begin() + (first - known.begin());
    auto lists = model_.Tokenize({text, text + (last - first)}, options, context_);
    if (lists.ok()) {
      std::move(lists->begin(), lists->end(), first);
      continue;
    }
    const std::optional<size_t> index = FailedText(lists.status(), static_cast<size_t>(last - first));
    if (!index) return lists.status();
    if (DetailOf(lists.status()).reason == ErrorReason::kTokenizerFailed && ++failed_ > kMaxFailedTexts) {
      return TooManyFailedTexts(lists.status());
    }
    first[static_cast<ptrdiff_t>(*index)] = lists.status();
  }
  std::vector<TextOutcome> outcomes;
  for (std::optional<TextOutcome>& outcome : known) outcomes.push_back(*std::move(outcome));
  return outcomes;
}

}  // namespace logitd::server
