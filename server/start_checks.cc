#include "server/start_checks.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>

namespace logitd::server {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kGgufMagic = "GGUF";
// Bytes of the file that scripts/fetch-model downloads: the one that `auto` converts. (Its hash is what the runner
// knows it by.)
constexpr std::uintmax_t kDefaultModelBytes = 98'362'432;

// Why the folder, or where it is not there the nearest one above it that is, cannot be written. Empty: it can.
std::string WhyNotWritable(const fs::path& folder) {
  std::error_code error;
  fs::path at = fs::absolute(folder, error);
  while (!fs::exists(at, error) && at.has_relative_path()) at = at.parent_path();
  if (!fs::is_directory(at, error)) return at.string() + " is not a folder";
  if (::faccessat(AT_FDCWD, at.c_str(), W_OK | X_OK, AT_EACCESS) == 0) return "";
  return at.string() + ": " + std::strerror(errno);
}

bool HoldsConvertedWeights(const fs::path& folder) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with("-f32.gguf") || name.ends_with("-f16.gguf")) return true;
  }
  return false;
}

}  // namespace

absl::Status CheckModelFile(const std::string& origin, const std::string& path) {
  const auto bad = [&](const std::string& what) { return absl::UnavailableError(origin + ": " + what); };
  struct stat info = {};
  if (::stat(path.c_str(), &info) != 0) {
    if (errno != ENOENT && errno != ENOTDIR) return bad(path + " cannot be read: " + std::strerror(errno));
    return bad("there is no file " + path + "; give the path of a GGUF file");
  }
  if (!S_ISREG(info.st_mode)) {
    return bad(path + (S_ISDIR(info.st_mode) ? " is a folder" : " is not a regular file") +
               "; give the path of a GGUF file");
  }
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return bad(path + " cannot be read: " + std::strerror(errno));
  char start[kGgufMagic.size()] = {};
  const ssize_t count = ::pread(fd, start, sizeof(start), 0);
  const int error = errno;
  ::close(fd);
  if (count < 0) return bad(path + " cannot be read: " + std::strerror(error));
  if (std::string_view(start, static_cast<size_t>(count)) == kGgufMagic) return absl::OkStatus();
  return bad(path + (info.st_size == 0 ? " is empty" : " is not a GGUF file: its first four bytes are not GGUF") +
             "; convert a model to GGUF with llama.cpp's convert_hf_to_gguf.py");
}

absl::Status CheckCacheDir(const std::string& origin, const std::string& cache_dir, const std::string& model_file,
                           const std::string& precision) {
  if (precision == "native") return absl::OkStatus();
  std::error_code error;
  if (precision == "auto" && fs::file_size(model_file, error) != kDefaultModelBytes) return absl::OkStatus();
  if (cache_dir.empty()) {
    return absl::UnavailableError(
        "there is no folder for converted weights, for HOME is not set; give --cache-dir DIR");
  }
  const std::string why = WhyNotWritable(cache_dir);
  if (why.empty() || HoldsConvertedWeights(cache_dir)) return absl::OkStatus();
  return absl::UnavailableError(origin + ": converted weights cannot be written to " + cache_dir + " (" + why +
                                "); choose another --cache-dir, or --precision native");
}

}  // namespace logitd::server
