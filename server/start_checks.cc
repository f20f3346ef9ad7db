#include "server/start_checks.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "host/file_kind.h"

namespace logitd::server {
namespace {

namespace fs = std::filesystem;

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
  const absl::Status status = host::CheckModelFile(path);
  if (status.ok()) return absl::OkStatus();
  return absl::UnavailableError(origin + ": " + std::string(status.message()));
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
