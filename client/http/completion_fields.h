// The fields of /v1/completions.
#ifndef LOGITD_CLIENT_HTTP_COMPLETION_FIELDS_H_
#define LOGITD_CLIENT_HTTP_COMPLETION_FIELDS_H_

#include "client/http/fields.h"

namespace logitd::http {

FieldTable CompletionFields();

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_COMPLETION_FIELDS_H_
