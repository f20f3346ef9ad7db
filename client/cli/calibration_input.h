// Labelled samples of `logit calibrate`, read from lines of JSON.
//
//   {"scores": [-1.2, -3.4, -2.2], "label": 0}
//   {"features": [5.1, 3.5], "label": "setosa"}       a name of --label-names
//   an answer of `logit rank --out` or `logit decide --out`: the values of its candidates or options are the scores
//
// A label may also come from a file with one label a line.
#ifndef LOGITD_CLIENT_CLI_CALIBRATION_INPUT_H_
#define LOGITD_CLIENT_CLI_CALIBRATION_INPUT_H_

#include <istream>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "logitd/v1/calibration.pb.h"

namespace logitd::cli {

// Adds the samples of `in` to `request`, whose score and label_names say how lines are read; sets input, width and
// label_count. `labels`: the labels' lines; null: each line has its own.
// Errors (usage errors, which name the line): no JSON, no scores or features, another number of them than in the first
// line, a score without a number, a label that is missing, no integer and no known name; another number of labels than
// of samples; more than a request can hold.
absl::Status ReadSamples(std::istream& in, const std::string& name, std::istream* labels,
                         v1::FitCalibrationRequest& request);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_CALIBRATION_INPUT_H_
