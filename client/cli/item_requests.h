// Sends items of standard input to the server so that one bad item, or a server with smaller limits or no room, does
// not spoil the others.
#ifndef LOGITD_CLIENT_CLI_ITEM_REQUESTS_H_
#define LOGITD_CLIENT_CLI_ITEM_REQUESTS_H_

#include <cstddef>
#include <functional>

#include "absl/status/status.h"
#include "client/cli/environment.h"
#include "google/protobuf/message.h"
#include "logitd/v1/error.pb.h"

namespace logitd::cli {

// Bounds of one request. The server's limits are at least these by default; where they are not, the request is split.
inline constexpr int kItemsPerRequest = 32;
inline constexpr int64_t kBytesPerRequest = 256 << 10;
// How often a request is sent again to a server that is full.
inline constexpr int kRetries = 8;

// Whether a request fits one message. Errors: one that SendItems takes for the items' own. (gRPC would refuse it here,
// and say nothing that a program can read.)
absl::Status CheckRequestSize(const google::protobuf::Message& request);

// Sends items [begin, end) with `send`. Where the server refuses the request because of its items (its error names
// `items` or a limit), the halves are sent each alone, down to single items; a single item that is refused goes to
// `refuse`. Where the server is full and names a delay, the request is sent again after it.
// Returns what concerns more than the items: the connection, the parameters, the model.
absl::Status SendItems(size_t begin, size_t end, const std::function<absl::Status(size_t begin, size_t end)>& send,
                       const std::function<void(size_t index, const v1::Error& error)>& refuse,
                       Environment& environment);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_ITEM_REQUESTS_H_
