// The fields of /v1/completions.
#ifndef LOGITD_CLIENT_HTTP_COMPLETION_FIELDS_H_
#define LOGITD_CLIENT_HTTP_COMPLETION_FIELDS_H_

#include "client/http/fields.h"

namespace logitd::http {

FieldTable CompletionFields();
// Of `stream_options`.
FieldTable StreamOptionFields();
// Of `logitd`, the extensions.
FieldTable ExtensionFields();

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_COMPLETION_FIELDS_H_
