#include "client/logitd/address.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/address.h"

namespace logitd::client {

absl::StatusOr<Address> ParseAddress(std::string_view text) {
  const auto parsed = ParseHostAddress(text, PortUse::kConnect);
  if (!parsed.ok()) return absl::InvalidArgumentError(absl::StrCat("address ", std::string(parsed.status().message())));
  const char* scheme = parsed->is_unix() ? "" : "dns:///";
  return Address{.target = scheme + std::string(text), .is_local = parsed->IsLocal()};
}

}  // namespace logitd::client
