// A calibration as `logit calibrate` shows it: tables, and its reliability diagram in text and as a picture.
#ifndef LOGITD_CLIENT_CLI_CALIBRATION_VIEW_H_
#define LOGITD_CLIENT_CLI_CALIBRATION_VIEW_H_

#include <string>

#include "client/cli/terminal.h"
#include "logitd/v1/calibration.pb.h"

namespace logitd::cli {

// The parameters, the metrics before and after, and the reliability diagram; each line ends with a newline.
std::string CalibrationView(const v1::Calibration& calibration, const Style& style);

// The reliability diagram as a self-contained SVG: for each bin the accuracy over the mean confidence, before and
// after, with the diagonal of a calibrated prediction, and the share of samples below. REQUIRES: has_evaluation().
std::string ReliabilitySvg(const v1::Calibration& calibration);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_CALIBRATION_VIEW_H_
