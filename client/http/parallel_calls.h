// Makes the calls of one request at once: a request of 16 prompts is 16 calls to the server, which batches them.
//
//   RETURN_IF_ERROR(ForEachAtOnce(prompts.size(), caller, [&](size_t i, const Caller& each) { return Complete(i, each);
//   }));
//
// At most kCallsAtOnce calls run, on threads of their own, of which all requests together have a bounded number; the
// calling thread makes some of them. After the first failure no further call begins, and those that run are cancelled.
// Returns the first failure.
#ifndef LOGITD_CLIENT_HTTP_PARALLEL_CALLS_H_
#define LOGITD_CLIENT_HTTP_PARALLEL_CALLS_H_

#include <cstddef>
#include <functional>

#include "absl/status/status.h"
#include "client/http/upstream.h"

namespace logitd::http {

// More do not make a batch faster, and leave nothing to other requests.
inline constexpr size_t kCallsAtOnce = 32;

absl::Status ForEachAtOnce(size_t count, const Caller& caller,
                           const std::function<absl::Status(size_t index, const Caller& caller)>& call);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_PARALLEL_CALLS_H_
