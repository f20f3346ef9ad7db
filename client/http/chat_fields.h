// The fields of /v1/chat/completions.
#ifndef LOGITD_CLIENT_HTTP_CHAT_FIELDS_H_
#define LOGITD_CLIENT_HTTP_CHAT_FIELDS_H_

#include "client/http/fields.h"

namespace logitd::http {

FieldTable ChatFields();
// Of a message.
FieldTable ChatMessageFields();
// Of a part of a message's content.
FieldTable ChatPartFields();

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_CHAT_FIELDS_H_
