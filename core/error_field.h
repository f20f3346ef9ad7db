// An error about one thing, said of the field where the reader finds that thing.
#ifndef LOGITD_CORE_ERROR_FIELD_H_
#define LOGITD_CORE_ERROR_FIELD_H_

#include <string_view>

#include "absl/status/status.h"

namespace logitd {

// The same error with `field` instead of the field that it names, in its message too. OK stays OK.
absl::Status WithField(const absl::Status& status, std::string_view field);

}  // namespace logitd

#endif  // LOGITD_CORE_ERROR_FIELD_H_
