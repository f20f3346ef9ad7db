#include "server/models/text_outcomes.h"

#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/error_detail.h"

namespace logitd::server {
namespace {

// Which text a runner's error is about: 3 of "texts[3]".
std::optional<size_t> FailedText(const absl::Status& status, size_t count) {
  if (status.ok()) return std::nullopt;
  const ErrorDetail detail = DetailOf(status);
  constexpr std::string_view kBegin = "texts[";
  if (detail.reason != ErrorReason::kTokenizerFailed || !detail.field.starts_with(kBegin)) return std::nullopt;
  size_t index = 0;
  const char* end = detail.field.data() + detail.field.size();
  const auto parsed = std::from_chars(detail.field.data() + kBegin.size(), end, index);
  if (parsed.ec != std::errc() || parsed.ptr + 1 != end || *parsed.ptr != ']' || index >= count) return std::nullopt;
  return index;
}

// The runner's field names a text of a call that the client has not made.
absl::Status TooManyFailedTexts(const absl::Status& status) {
  ErrorDetail detail = DetailOf(status);
  detail.message = "more than " + std::to_string(kMaxFailedTexts) +
                   " texts of this request have ended the model's tokenizer; send them in requests of their own";
  detail.field.clear();
  detail.value.clear();
  return ToStatus(detail);
}

}  // namespace

absl::StatusOr<std::vector<std::optional<std::vector<TokenId>>>> TokenizeEach(ServedModel& model,
                                                                              std::vector<std::string> texts,
                                                                              const TokenizationOptions& options,
                                                                              const RequestContext& context) {
  std::vector<std::optional<std::vector<TokenId>>> outcomes(texts.size());
  // Where each text that is left stands among all.
  std::vector<size_t> places;
  for (size_t i = 0; i < texts.size(); ++i) places.push_back(i);
  for (int failed = 0; !texts.empty(); ++failed) {
    auto lists = model.Tokenize(texts, options, context);
    if (lists.ok()) {
      for (size_t i = 0; i < places.size(); ++i) outcomes[places[i]] = std::move((*lists)[i]);
      break;
    }
    const std::optional<size_t> index = FailedText(lists.status(), texts.size());
    if (!index) return lists.status();
    if (failed == kMaxFailedTexts) return TooManyFailedTexts(lists.status());
    texts.erase(texts.begin() + static_cast<ptrdiff_t>(*index));
    places.erase(places.begin() + static_cast<ptrdiff_t>(*index));
  }
  return outcomes;
}

}  // namespace logitd::server
