// Explains why a server cannot listen on an address.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_SERVER_LISTEN_FAILURE_H_
#define LOGITD_SERVER_LISTEN_FAILURE_H_

#include <string>

namespace logitd::server {

// The reason why `address` cannot be bound, and the remedy: "there is no folder /run/logitd", "the port is in use;
// choose another, e.g. --listen 127.0.0.1:0". gRPC gives no reason, so this tries to bind the address again; it leaves
// nothing bound.
// REQUIRES: CheckListenAddress(address) is OK.
std::string WhyNotListening(const std::string& address);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_LISTEN_FAILURE_H_
