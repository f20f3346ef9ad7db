#include "server/calibration_files.h"

#include <google/protobuf/util/json_util.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "base/model_name.h"
#include "base/status_macros.h"

namespace logitd::server {
namespace {

// 131,072 numbers of 25 characters, and the reliability diagram.
constexpr std::uintmax_t kMaxFileBytes = 8 << 20;

absl::StatusOr<ServedCalibration> ReadFile(const std::string& origin, const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    return absl::UnavailableError(origin + ": there is no file " + path);
  }
  if (const std::uintmax_t bytes = std::filesystem::file_size(path, error); error || bytes > kMaxFileBytes) {
    return absl::InvalidArgumentError(origin + ": " + path + " must be at most " + std::to_string(kMaxFileBytes) +
                                      " bytes, a file that logit calibrate has written");
  }
  std::ifstream file(path, std::ios::binary);
  std::string text;
  // A file that grows while it is read is cut here, and refused below.
  text.resize(kMaxFileBytes + 1);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || !file.eof()) return absl::UnavailableError(origin + ": cannot read " + path);
  text.resize(static_cast<size_t>(file.gcount()));
  v1::Calibration message;
  const auto parsed = google::protobuf::util::JsonStringToMessage(text, &message);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(origin + ": " + path + " is no calibration, which logit calibrate writes: " +
                                      std::string(parsed.message().substr(0, 300)));
  }
  auto calibration = FromProto(message);
  if (calibration.ok()) return calibration;
  return absl::InvalidArgumentError(origin + ": " + path + ": " + std::string(calibration.status().message()));
}

}  // namespace

absl::StatusOr<Calibrations> ReadCalibrations(const std::string& origin, const std::vector<std::string>& words) {
  Calibrations calibrations;
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos || equals + 1 == word.size()) {
      return absl::InvalidArgumentError(origin + " must be NAME=FILE, got " + word);
    }
    const std::string name = word.substr(0, equals);
    if (!IsModelName(name)) {
      return absl::InvalidArgumentError(origin + ": a name must be " + kModelNameRule + ", got " + name);
    }
    if (calibrations.count(name) > 0) {
      return absl::InvalidArgumentError(origin + ": the name " + name + " is given twice");
    }
    ASSIGN_OR_RETURN(ServedCalibration calibration, ReadFile(origin, word.substr(equals + 1)));
    calibrations.emplace(name, std::move(calibration));
  }
  return calibrations;
}

}  // namespace logitd::server
