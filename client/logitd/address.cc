#include "client/logitd/address.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace logitd::client {
namespace {

absl::Status Malformed(std::string_view text, const char* what) {
  return absl::InvalidArgumentError(
      absl::StrCat("address must be HOST:PORT or unix:PATH, got \"", std::string(text), "\" (", what, ")"));
}

bool IsLoopback(std::string_view host) { return host == "localhost" || host == "[::1]" || host.substr(0, 4) == "127."; }

}  // namespace

absl::StatusOr<Address> ParseAddress(std::string_view text) {
  if (text.substr(0, 5) == "unix:") {
    if (text.size() == 5) return Malformed(text, "no path");
    return Address{.target = std::string(text), .is_local = true};
  }
  for (const std::string_view scheme : {"http://", "https://", "grpc://"}) {
    if (text.substr(0, scheme.size()) == scheme) {
      return Malformed(text, absl::StrCat("leave out ", std::string(scheme)).c_str());
    }
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return Malformed(text, "no port");
  const std::string_view host = text.substr(0, colon);
  const std::string port_text(text.substr(colon + 1));
  if (host.empty()) return Malformed(text, "no host");
  if (host.front() != '[' && host.find(':') != std::string_view::npos) {
    return Malformed(text, "an IPv6 address stands in brackets: [::1]:50051");
  }
  if (host.find_first_of("/ \t\n") != std::string_view::npos) return Malformed(text, "not a host name");
  int port = 0;
  const bool all_digits = !port_text.empty() &&
                          std::all_of(port_text.begin(), port_text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!all_digits || !absl::SimpleAtoi(port_text, &port) || port < 1 || port > 65535) {
    return Malformed(text, "the port must be in [1, 65535]");
  }
  return Address{.target = absl::StrCat("dns:///", std::string(text)), .is_local = IsLoopback(host)};
}

}  // namespace logitd::client
