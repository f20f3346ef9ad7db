// How long a file of lines is, and a hash of it, by which a changed file is told from an unchanged one.
#ifndef LOGITD_CLIENT_LOGITD_FILE_SURVEY_H_
#define LOGITD_CLIENT_LOGITD_FILE_SURVEY_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace logitd::client {

struct FileSurvey {
  int64_t bytes = 0;
  // A last line without its end counts.
  int64_t lines = 0;
  // SHA-256 of all bytes, 64 hexadecimal digits.
  std::string hash;
};

// Reads the file once, front to back. Errors: InputError with the field "in" (it cannot be read, or is no regular
// file).
absl::StatusOr<FileSurvey> SurveyFile(const std::string& path);

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_FILE_SURVEY_H_
