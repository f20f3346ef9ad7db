// `logit calibrate IN.jsonl`: probabilities of labels, fitted to labelled scores or features.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/calibration_input.h"
#include "client/cli/calibration_view.h"
#include "client/cli/commands.h"
#include "client/cli/filled_text.h"
#include "client/cli/flags.h"
#include "client/cli/json_lines.h"
#include "client/cli/request_fields.h"
#include "client/cli/session.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

// Writes a file whole, or leaves the one that was there. Returns why it could not be written; "": it was.
std::string WriteFile(const std::string& path, const std::string& content) {
  const std::string temporary = absl::StrCat(path, ".", ::getpid(), ".tmp");
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file << content;
  file.close();
  if (file && std::rename(temporary.c_str(), path.c_str()) == 0) return "";
  const int error = errno;
  std::remove(temporary.c_str());
  return absl::StrCat("cannot write ", path, ": ", std::strerror(error));
}

absl::StatusOr<std::ifstream> OpenFile(const std::string& field, const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return UsageError(field, absl::StrCat(field, ": ", EscapeText(path), " is a folder"));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return UsageError(field, absl::StrCat(field, ": cannot read ", EscapeText(path), ": ", std::strerror(errno)));
  }
  return file;
}

absl::Status Read(const Arguments& arguments, Environment& environment, v1::FitCalibrationRequest& request) {
  const std::vector<std::string>& files = arguments.positionals();
  if (files.size() > 1) return UsageError("IN.jsonl", files[1], "one file", "calibrate takes one IN.jsonl");
  if (files.empty() && environment.in_is_terminal) {
    return UsageError("IN.jsonl", "IN.jsonl is missing: give a file, or - for standard input");
  }
  std::ifstream label_file;
  if (arguments.Has("--labels")) {
    ASSIGN_OR_RETURN(label_file, OpenFile("--labels", arguments.Value("--labels")));
  }
  std::istream* const labels = arguments.Has("--labels") ? &label_file : nullptr;
  if (files.empty() || files[0] == "-") return ReadSamples(environment.in, "standard input", labels, request);
  ASSIGN_OR_RETURN(std::ifstream file, OpenFile("IN.jsonl", files[0]));
  return ReadSamples(file, EscapeText(files[0]), labels, request);
}

absl::StatusOr<int> Run(const Arguments& arguments, Session& session) {
  session.needs_model = false;
  v1::FitCalibrationRequest request;
  RETURN_IF_ERROR(SetFields(arguments, request));
  if (!arguments.Has("--kind")) request.set_kind(v1::CALIBRATION_KIND_TEMPERATURE);
  if (arguments.Has("--svg") && request.has_folds() && request.folds() == 0) {
    return UsageError("--svg", "--svg does not go with --folds 0: there is nothing held out to draw");
  }
  RETURN_IF_ERROR(Read(arguments, session.environment, request));
  ASSIGN_OR_RETURN(const v1::FitCalibrationResponse response, session.client->FitCalibration(request));
  const v1::Calibration& calibration = response.calibration();
  int exit_code = kExitOk;
  const auto write = [&](const char* flag, const std::string& content) {
    if (!arguments.Has(flag)) return;
    const std::string failure = WriteFile(arguments.Value(flag), content);
    if (failure.empty()) return;
    session.environment.err << Filled(absl::StrCat("logit calibrate: ", failure), 0) << "\n";
    exit_code = kExitNotWritten;
  };
  write("--out", ToJson(calibration) + "\n");
  if (arguments.Has("--svg")) write("--svg", ReliabilitySvg(calibration));
  session.out() << (session.json ? ToJson(response) + "\n" : CalibrationView(calibration, session.style()));
  if (!session.json && !arguments.Has("--out")) {
    session.out() << Filled("Nothing is kept: --out FILE writes the file that logitd --calibration NAME=FILE reads.",
                            session.style().width)
                  << "\n";
  }
  return exit_code;
}

}  // namespace

Command CalibrateCommand() {
  return {
      .name = "calibrate",
      .purpose = "fit probabilities to labelled scores or features",
      .positionals = "IN.jsonl",
      .summary =
          "Fits a softmax regression to labelled samples, one a line: {\"scores\": [...], \"label\": K}, or "
          "{\"features\": [...], \"label\": K}, or an answer of logit rank or logit decide. Shows negative "
          "log-likelihood, Brier score, calibration error and accuracy on parts of the samples that were held out, "
          "before and after, with 95 % bootstrap intervals. Without IN.jsonl, or with -, reads standard input.",
      .examples =
          "logit calibrate scores.jsonl --out sentiment.json --svg sentiment.svg\n"
          "logit calibrate scores.jsonl --kind vector-scaling --l2 1 --label-names no --label-names yes\n"
          "logit calibrate ranks.jsonl --labels labels.txt --score per-token --out choice.json\n"
          "logit calibrate features.jsonl --kind multinomial --l2 1 --json\n"
          "logitd --model model.gguf --calibration sentiment=sentiment.json\n",
      .groups = {{"Fit",
                  {{"--kind", "kind", "KIND",
                    "temperature, vector-scaling (a scale and an offset for each label), or multinomial; default "
                    "temperature"},
                   {"--l2", "l2", "L", "penalty on the weights, in [0, 1e9]; default 0"},
                   {"--score", "score", "NORM",
                    "the score that is calibrated: sum, per-token, per-byte, per-character, gnmt, pmi or combined; "
                    "default sum"},
                   {"--gnmt-alpha", "gnmt_alpha", "A", "of --score gnmt, in [0, 10]"},
                   {"--label-names", "label_names", "NAME", "the name of a label, in their order; once for each", true},
                   {"--labels", "", "FILE", "the labels, one a line, instead of those in the samples"}}},
                 {"Evaluation",
                  {{"--folds", "folds", "N", "parts that are held out in turns, in [2, 100]; 0: none; default 5"},
                   {"--bootstrap-count", "bootstrap_count", "N", "bootstrap samples; 0: no intervals; default 1000"},
                   {"--bin-count", "bin_count", "N", "bins of the calibration error, in [1, 100]; default 15"},
                   {"--seed", "seed", "S", "of parts and bootstrap; default 0"}}},
                 {"Output",
                  {{"--out", "", "FILE", "write the calibration, for logitd --calibration NAME=FILE"},
                   {"--svg", "", "FILE", "write the reliability diagram as a picture"}}}},
      .request = v1::FitCalibrationRequest::descriptor(),
      .needs_model = false,
      .run = Run};
}

}  // namespace logitd::cli
