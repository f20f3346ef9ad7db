// Whether a runner and this server speak the same major version of the API.
#ifndef LOGITD_SERVER_CONVERTERS_API_VERSION_H_
#define LOGITD_SERVER_CONVERTERS_API_VERSION_H_

#include <google/protobuf/io/zero_copy_stream.h>

#include <cstdint>

#include "absl/status/status.h"

namespace logitd::server {

// Looks at a runner's first message while nothing in it has been parsed: of another major version, its fields may have
// other numbers and other types, and all that can be said of it is that. OK for what is no hello at all.
// `byte_count`: how many bytes of `bytes` are the message. REQUIRES: it fits an int.
// Errors: RUNNER_PROTOCOL, one sentence with both versions.
absl::Status CheckHelloVersion(google::protobuf::io::ZeroCopyInputStream& bytes, int64_t byte_count);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_API_VERSION_H_
