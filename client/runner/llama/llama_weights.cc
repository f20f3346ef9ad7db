#include "client/runner/llama/llama_weights.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/escaping.h"
#include "base/status_macros.h"
#include "client/runner/llama/llama_log.h"
#include "host/file_hash.h"
#include "llama.h"

namespace logitd::runner {
namespace {

// SHA-256 of the file that scripts/fetch-model downloads.
constexpr char kDefaultModel[] = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

namespace fs = std::filesystem;

bool IsWanted(const ModelFile& file, Precision precision) {
  return precision == Precision::kF32 ? file.all_f32 : file.all_f32_or_f16;
}

// Holds the lock until it is destroyed. The kernel releases the lock if the process dies.
class FileLock {
 public:
  explicit FileLock(const std::string& path) : fd_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    if (fd_ < 0) return;
    while (flock(fd_, LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  ~FileLock() {
    if (fd_ >= 0) close(fd_);
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

  bool ok() const { return fd_ >= 0; }

 private:
  const int fd_;
};

// Removes files that killed processes have left behind. REQUIRES: the lock is held.
void RemoveLeftovers(const fs::path& target) {
  std::error_code error;
  const std::string prefix = target.filename().string() + ".tmp.";
  for (const fs::directory_entry& entry : fs::directory_iterator(target.parent_path(), error)) {
    if (entry.path().filename().string().rfind(prefix, 0) == 0) fs::remove(entry.path(), error);
  }
}

absl::Status Convert(const ModelFile& file, Precision precision, const fs::path& target) {
  const char* name = precision == Precision::kF32 ? "f32" : "f16";
  const fs::path temporary = target.string() + ".tmp." + std::to_string(getpid());
  std::fprintf(stderr, "logitd-llama: converting %s to %s, once: %s\n", file.path.c_str(), name, target.c_str());
  llama_model_quantize_params params = llama_model_quantize_default_params();
  params.ftype = precision == Precision::kF32 ? LLAMA_FTYPE_ALL_F32 : LLAMA_FTYPE_MOSTLY_F16;
  params.allow_requantize = true;
  QuietLlamaLog quiet;
  TakeLastLlamaError();
  std::error_code error;
  if (llama_model_quantize(file.path.c_str(), temporary.c_str(), &params) != 0) {
    fs::remove(temporary, error);
    const std::string reason = TakeLastLlamaError();
    const fs::space_info space = fs::space(target.parent_path(), error);
    return absl::UnavailableError("cannot convert " + file.path + " to " + name + " in " +
                                  target.parent_path().string() + " (" + std::to_string(space.available >> 20) +
                                  " MiB free): " + (reason.empty() ? "writing failed" : reason) +
                                  "; free some space, choose another --cache-dir, or use --precision native");
  }
  absl::StatusOr<ModelFile> converted = InspectModelFile(temporary.string());
  if (!converted.ok() || !IsWanted(*converted, precision)) {
    fs::remove(temporary, error);
    return absl::InvalidArgumentError("llama.cpp cannot convert every matrix of " + file.path + " to " + name +
                                      "; use --precision native");
  }
  // The data reaches the disk before the name: after a power cut there is the whole file or none.
  if (const int fd = open(temporary.c_str(), O_RDONLY | O_CLOEXEC); fd >= 0) {
    fsync(fd);
    close(fd);
  }
  fs::rename(temporary, target, error);
  if (error) {
    return absl::UnavailableError("cannot rename " + temporary.string() + " to " + target.string() + ": " +
                                  error.message());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Weights> PrepareWeights(const ModelFile& file, Precision precision, const std::string& cache_dir) {
  Weights weights{.path = file.path, .all_f32 = file.all_f32, .all_f32_or_f16 = file.all_f32_or_f16, .fingerprint = ""};
  ASSIGN_OR_RETURN(weights.fingerprint, host::HashModelFile(file.path));
  if (precision == Precision::kAuto) {
    precision = absl::BytesToHexString(weights.fingerprint) == kDefaultModel ? Precision::kF32 : Precision::kNative;
  }
  weights.precision = precision;
  if (precision == Precision::kNative || (precision == Precision::kF32 && file.all_f32) ||
      (precision == Precision::kF16 && file.all_f32_or_f16 && !file.all_f32)) {
    return weights;
  }
  weights.all_f32 = precision == Precision::kF32;
  if (cache_dir.empty()) {
    return absl::UnavailableError("no folder for converted weights: HOME is not set; set --cache-dir");
  }

  std::error_code error;
  fs::create_directories(cache_dir, error);
  const fs::path target =
      fs::path(cache_dir) / (absl::BytesToHexString(weights.fingerprint) + "-llama.cpp-" + llama_version() +
                             (precision == Precision::kF32 ? "-f32.gguf" : "-f16.gguf"));
  weights.path = target.string();
  const auto is_there = [&] {
    if (!fs::exists(target, error)) return false;
    absl::StatusOr<ModelFile> cached = InspectModelFile(target.string());
    return cached.ok() && IsWanted(*cached, precision);
  };
  if (is_there()) return weights;
  FileLock lock(target.string() + ".lock");
  if (!lock.ok()) {
    return absl::UnavailableError("cannot write to the cache folder " + cache_dir + ": " + std::strerror(errno) +
                                  "; choose another --cache-dir, or use --precision native");
  }
  if (is_there()) return weights;
  RemoveLeftovers(target);
  RETURN_IF_ERROR(Convert(file, precision, target));
  return weights;
}

}  // namespace logitd::runner
