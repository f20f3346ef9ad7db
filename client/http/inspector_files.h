// The files of the inspector (client/http/inspector), as the build put them into the program.
#ifndef LOGITD_CLIENT_HTTP_INSPECTOR_FILES_H_
#define LOGITD_CLIENT_HTTP_INSPECTOR_FILES_H_

#include <string_view>

#include "absl/types/span.h"

namespace logitd::http {

// All views are of string literals.
struct InspectorFile {
  // "index.html"
  std::string_view name;
  // "text/html; charset=utf-8"
  std::string_view content_type;
  // With its quotes. Equal contents have equal tags.
  std::string_view entity_tag;
  std::string_view content;
};

absl::Span<const InspectorFile> InspectorFiles();

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_INSPECTOR_FILES_H_
