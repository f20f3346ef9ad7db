// Addresses as people write them, HOST:PORT and unix:PATH, and as gRPC takes them.
#ifndef LOGITD_CLIENT_LOGITD_ADDRESS_H_
#define LOGITD_CLIENT_LOGITD_ADDRESS_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace logitd::client {

struct Address {
  // gRPC's target: "dns:///HOST:PORT" or "unix:PATH".
  std::string target;
  // This machine: a Unix socket, "localhost" or a loopback literal. Never reached through an HTTP proxy.
  bool is_local = false;
};

// The grammar is base/address.h's. Errors: kInvalidArgument, naming what is wrong: no port, no host, no path, ...
absl::StatusOr<Address> ParseAddress(std::string_view text);

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_ADDRESS_H_
