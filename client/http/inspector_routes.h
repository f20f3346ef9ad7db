// The inspector: a page that shows the tokens of a completion with their log-probs. It is static and calls this
// process's own API. docs/inspector.md is its manual.
//
//   GET /                   index.html
//   GET /inspector/NAME     the page's style and scripts
//
// The page runs on the origin that serves models, so its replies forbid all that it does not need: code and styles that
// are not files of this process, requests to other origins, frames, and the name of this page in requests of others.
#ifndef LOGITD_CLIENT_HTTP_INSPECTOR_ROUTES_H_
#define LOGITD_CLIENT_HTTP_INSPECTOR_ROUTES_H_

#include "client/http/http_server.h"

namespace logitd::http {

void AddInspectorRoutes(HttpServer& server);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_INSPECTOR_ROUTES_H_
