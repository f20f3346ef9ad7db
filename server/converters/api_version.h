// Checks that a runner has the same major version of the API as this server.
#ifndef LOGITD_SERVER_CONVERTERS_API_VERSION_H_
#define LOGITD_SERVER_CONVERTERS_API_VERSION_H_

#include <google/protobuf/io/zero_copy_stream.h>

#include <cstdint>

#include "absl/status/status.h"

namespace logitd::server {

// Checks a runner's first message before it is parsed, because in another major version its fields may have other
// numbers and types. OK for a message that is no hello.
// `byte_count`: how many bytes of `bytes` are the message. REQUIRES: it fits an int.
// Errors: RUNNER_PROTOCOL, one sentence with both versions.
absl::Status CheckHelloVersion(google::protobuf::io::ZeroCopyInputStream& bytes, int64_t byte_count);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_API_VERSION_H_
