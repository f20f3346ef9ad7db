#include "client/logitd/file_survey.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "client/logitd/client_error.h"

namespace logitd::client {
namespace {

constexpr size_t kBlockBytes = 1 << 20;

absl::Status Unreadable(const std::string& path, const std::string& reason) {
  return InputError("in", path, "a regular file", absl::StrCat("cannot read ", path, ": ", reason));
}

}  // namespace

absl::StatusOr<FileSurvey> SurveyFile(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return Unreadable(path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) {
    return Unreadable(path, "it must be a regular file, because it is read twice");
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) return Unreadable(path, std::strerror(errno));
  absl::uint128 hash = absl::MakeUint128(0x6c62272e07bb0142, 0x62b821756295c58d);
  const absl::uint128 prime = absl::MakeUint128(0x0000000001000000, 0x000000000000013b);
  FileSurvey survey;
  std::vector<char> block(kBlockBytes);
  char last = '\n';
  while (file.read(block.data(), static_cast<std::streamsize>(block.size())), file.gcount() > 0) {
    for (std::streamsize i = 0; i < file.gcount(); ++i) {
      last = block[static_cast<size_t>(i)];
      survey.lines += last == '\n';
      hash = (hash ^ static_cast<unsigned char>(last)) * prime;
    }
    survey.bytes += file.gcount();
  }
  if (file.bad()) return Unreadable(path, std::strerror(errno));
  survey.lines += last != '\n';
  survey.hash = absl::StrCat(absl::Hex(absl::Uint128High64(hash), absl::kZeroPad16),
                             absl::Hex(absl::Uint128Low64(hash), absl::kZeroPad16));
  return survey;
}

}  // namespace logitd::client
