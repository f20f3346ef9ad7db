// Addresses as people write them, HOST:PORT and unix:PATH: the grammar of --listen, --runner-listen, --attach and
// --server.
//
//   ASSIGN_OR_RETURN(const HostAddress address, ParseHostAddress("[::1]:50051", PortUse::kConnect));
//
// HOST is a name, an IPv4 address, or an IPv6 address in brackets. It holds no '/', no space and no scheme such as
// http://. PATH is not empty and fits the name of a socket (107 bytes).
//
// Thread-safe: free functions without state.
#ifndef LOGITD_BASE_ADDRESS_H_
#define LOGITD_BASE_ADDRESS_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace logitd {

// The use of the port. kListen: 0 means any free port. kConnect: 0 is an error.
enum class PortUse { kListen, kConnect };

struct HostAddress {
  // Set for unix:PATH alone.
  std::string path;
  // As written, an IPv6 address with its brackets.
  std::string host;
  int port = 0;

  bool is_unix() const { return !path.empty(); }
  // Whether only processes of this machine can be at the other end: a Unix socket, "localhost", [::1], or 127.x.x.x.
  bool IsLocal() const;
};

// Errors: kInvalidArgument: "must be HOST:PORT or unix:PATH, got TEXT: why". The caller puts the flag's name before it.
absl::StatusOr<HostAddress> ParseHostAddress(std::string_view text, PortUse use);

}  // namespace logitd

#endif  // LOGITD_BASE_ADDRESS_H_
