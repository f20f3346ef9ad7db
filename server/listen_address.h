// Addresses that the server listens on: HOST:PORT or unix:PATH.
#ifndef LOGITD_SERVER_LISTEN_ADDRESS_H_
#define LOGITD_SERVER_LISTEN_ADDRESS_H_

#include <string>

#include "absl/status/status.h"

namespace logitd::server {

// Errors: INVALID_ARGUMENT, naming `flag` and what is expected.
absl::Status CheckListenAddress(const std::string& flag, const std::string& address);
// Whether only processes of this host can reach `address`. REQUIRES: CheckListenAddress(address) is OK.
bool IsLocal(const std::string& address);
// As CheckListenAddress. There is no TLS, so an address off loopback is an error, too, unless `allow_plaintext`.
absl::Status CheckClientAddress(const std::string& flag, const std::string& address, bool allow_plaintext);
absl::Status CheckRunnerAddress(const std::string& flag, const std::string& address, bool allow_plaintext);
// "127.0.0.1:0" and 43121 -> "127.0.0.1:43121"; a Unix socket stays as it is.
std::string WithPort(const std::string& address, int port);
// Removes the socket file that a dead server left behind. Errors: UNAVAILABLE if a server listens there, or if the path
// is not a socket.
absl::Status ClearStaleSocket(const std::string& flag, const std::string& address);
// The path of "unix:PATH"; "" for HOST:PORT.
std::string SocketPath(const std::string& address);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_LISTEN_ADDRESS_H_
