// Nothing in a request is ever ignored: a field or an enum value that this server does not know is refused, so that an
// old server cannot silently do something else than a new client asked for.
#ifndef LOGITD_SERVER_CONVERTERS_STRICTNESS_H_
#define LOGITD_SERVER_CONVERTERS_STRICTNESS_H_

#include <google/protobuf/message.h>

#include "absl/status/status.h"

namespace logitd::server {

// Looks through `message` and all messages in it.
// Errors: UNKNOWN_FIELD, UNKNOWN_ENUM_VALUE, with the path of the message or field.
absl::Status CheckKnown(const google::protobuf::Message& message);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_STRICTNESS_H_
