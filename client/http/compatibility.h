// The tables of docs/openai.md: for each route its fields, and whether they are served, refused or ignored.
#ifndef LOGITD_CLIENT_HTTP_COMPATIBILITY_H_
#define LOGITD_CLIENT_HTTP_COMPATIBILITY_H_

#include <string>

namespace logitd::http {

// Markdown.
std::string CompatibilityTables();

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_COMPATIBILITY_H_
