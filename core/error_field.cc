#include "core/error_field.h"

#include <string>

#include "core/error_detail.h"

namespace logitd {

absl::Status WithField(const absl::Status& status, std::string_view field) {
  if (status.ok()) return status;
  ErrorDetail detail = DetailOf(status);
  if (!detail.field.empty() && std::string_view(detail.message).starts_with(detail.field)) {
    detail.message.replace(0, detail.field.size(), field);
  } else {
    detail.message.insert(0, std::string(field) + ": ");
  }
  detail.field = field;
  return ToStatus(detail);
}

}  // namespace logitd
