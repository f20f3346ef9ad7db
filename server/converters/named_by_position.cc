#include "server/converters/named_by_position.h"

#include <string>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "server/converters/wire.h"

namespace logitd::server {

absl::StatusOr<NamedByPosition> NamedFromProto(const google::protobuf::RepeatedPtrField<v1::TokenIds>& lists,
                                               int64_t count, int32_t vocab_size) {
  NamedByPosition named;
  if (lists.empty()) return named;
  if (lists.size() != count) return errors::TargetCountMismatch("named_by_position", lists.size(), count);
  named.reserve(static_cast<size_t>(lists.size()));
  for (int i = 0; i < lists.size(); ++i) {
    const auto& ids = lists[i].token_ids();
    const std::string field = Element("named_by_position", i, ".token_ids");
    if (ids.size() > kMaxNamedTokens) {
      return errors::AboveLimit(field, ids.size(), kMaxNamedTokens);
    }
    RETURN_IF_ERROR(CheckTokenIds(ids, field, vocab_size));
    named.emplace_back(ids.begin(), ids.end());
  }
  return named;
}

int64_t CountOf(const NamedByPosition& named) {
  int64_t count = 0;
  for (const std::vector<TokenId>& ids : named) count += std::ssize(ids);
  return count;
}

}  // namespace logitd::server
