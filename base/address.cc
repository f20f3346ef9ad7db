#include "base/address.h"

#include <arpa/inet.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>

namespace logitd {
namespace {

constexpr std::string_view kUnix = "unix:";
constexpr int kMaxPort = 65535;

absl::Status Malformed(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(
      std::string("must be HOST:PORT or unix:PATH, got \"").append(text).append("\": ").append(why));
}

bool IsIpv6(std::string_view host) {
  in6_addr address;
  return ::inet_pton(AF_INET6, std::string(host).c_str(), &address) == 1;
}

}  // namespace

bool HostAddress::IsLocal() const {
  if (is_unix()) return true;
  // A name such as 127.example.org may belong to any machine.
  in_addr ipv4;
  if (::inet_pton(AF_INET, host.c_str(), &ipv4) == 1) return (ntohl(ipv4.s_addr) >> 24) == 127;
  return host == "localhost" || host == "[::1]";
}

absl::StatusOr<HostAddress> ParseHostAddress(std::string_view text, PortUse use) {
  HostAddress address;
  if (text.starts_with(kUnix)) {
    address.path = text.substr(kUnix.size());
    if (address.path.empty()) return Malformed(text, "there is no path");
    if (address.path.size() >= sizeof(sockaddr_un::sun_path)) {
      return Malformed(text, "the path must be shorter than " + std::to_string(sizeof(sockaddr_un::sun_path)) +
                                 " bytes, got " + std::to_string(address.path.size()));
    }
    if (address.path.find('\0') != std::string::npos) return Malformed(text, "the path must not hold a zero byte");
    return address;
  }
  if (const size_t scheme = text.find("://"); scheme != std::string_view::npos) {
    return Malformed(text, std::string("leave out ").append(text.substr(0, scheme + 3)));
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return Malformed(text, "there is no port");
  address.host = text.substr(0, colon);
  if (address.host.empty()) return Malformed(text, "there is no host");
  const bool in_brackets = address.host.size() > 2 && address.host.front() == '[' && address.host.back() == ']';
  if (in_brackets) {
    if (!IsIpv6(std::string_view(address.host).substr(1, address.host.size() - 2))) {
      return Malformed(text, "what stands in brackets must be an IPv6 address");
    }
  } else if (address.host.find(':') != std::string::npos) {
    return Malformed(text, "an IPv6 address stands in brackets, as in [::1]:50051");
  } else if (std::any_of(address.host.begin(), address.host.end(), [](unsigned char c) {
               return c <= ' ' || c == '/' || c == '[' || c == ']' || c == '@' || c == 0x7f;
             })) {
    return Malformed(text, "that is not a host name");
  }
  const std::string_view port = text.substr(colon + 1);
  const int least = use == PortUse::kListen ? 0 : 1;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (port.empty() || error != std::errc() || end != port.data() + port.size() || address.port < least ||
      address.port > kMaxPort) {
    return Malformed(text, "the port must be in [" + std::to_string(least) + ", 65535]");
  }
  return address;
}

}  // namespace logitd
