// Reads the calibrations that logitd is started with.
#ifndef LOGITD_SERVER_CALIBRATION_FILES_H_
#define LOGITD_SERVER_CALIBRATION_FILES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/converters/calibration.h"

namespace logitd::server {

// Reads each NAME=FILE of `words`; a file holds one v1.Calibration as JSON. The files are closed afterwards: changes to
// them have no effect. Errors begin with `origin`: INVALID_ARGUMENT for a word without "=", a malformed or double name,
// and a file whose content is no calibration; UNAVAILABLE for one that cannot be read.
// Thread-safe: a free function without state.
absl::StatusOr<Calibrations> ReadCalibrations(const std::string& origin, const std::vector<std::string>& words);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CALIBRATION_FILES_H_
