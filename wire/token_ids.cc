#include "wire/token_ids.h"

#include <string>

#include "core/errors.h"

namespace logitd::wire {

absl::Status CheckTokenIds(std::span<const TokenId> ids, std::string_view field, int32_t vocab_size) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab_size) {
      return errors::TokenIdOutOfRange(std::string(field) + "[" + std::to_string(i) + "]", ids[i], vocab_size);
    }
  }
  return absl::OkStatus();
}

}  // namespace logitd::wire
