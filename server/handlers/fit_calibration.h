// FittingService.FitCalibration.
#ifndef LOGITD_SERVER_HANDLERS_FIT_CALIBRATION_H_
#define LOGITD_SERVER_HANDLERS_FIT_CALIBRATION_H_

#include "absl/status/status.h"
#include "logitd/v1/calibration.pb.h"
#include "server/request_context.h"
#include "server/server_env.h"

namespace logitd::server {

// Waits for a slot (server/fit_slots.h), and blocks until the fit is done, or `context` is given up between two of its
// products. Memory besides the request: 8 bytes for each sample and label, and 80 for each parameter.
absl::Status FitCalibration(const v1::FitCalibrationRequest& request, const ServerEnv& env,
                            const RequestContext& context, v1::FitCalibrationResponse& response);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_FIT_CALIBRATION_H_
