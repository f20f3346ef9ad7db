// Why a server cannot listen on an address: what to put right, by its own name.
//
// Thread-safe: free functions without state.
#ifndef LOGITD_SERVER_LISTEN_FAILURE_H_
#define LOGITD_SERVER_LISTEN_FAILURE_H_

#include <string>

namespace logitd::server {

// Tries to bind `address` again, which gRPC has failed to do without saying why, and names the cause: "there is no
// folder /run/logitd", "the port is in use; choose another, e.g. --listen 127.0.0.1:0". Leaves nothing bound behind.
// REQUIRES: CheckListenAddress(address) is OK.
std::string WhyNotListening(const std::string& address);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_LISTEN_FAILURE_H_
