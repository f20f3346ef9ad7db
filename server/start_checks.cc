#include "server/start_checks.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <system_error>

#include "host/file_hash.h"
#include "host/file_kind.h"
#include "host/gguf_header.h"

namespace logitd::server {
namespace {

namespace fs = std::filesystem;

// The size of the file that scripts/fetch-model downloads, which `auto` converts. (The runner knows it by its hash.)
constexpr std::uintmax_t kDefaultModelBytes = 98'362'432;

// Why no file can be made in the folder; if the folder is missing, in a new one in its nearest existing ancestor.
// Empty: a file was made and removed. (Permissions do not tell: root has all of them, even in /proc.)
std::string WhyNotWritable(const fs::path& folder) {
  std::error_code error;
  fs::path at = fs::absolute(folder, error);
  const fs::path whole = at;
  while (!fs::exists(at, error) && at.has_relative_path()) at = at.parent_path();
  if (!fs::is_directory(at, error)) return at.string() + " is not a folder";
  const auto why = [&](const char* what) {
    return std::string(what) + " in " + at.string() + ": " + std::strerror(errno);
  };
  std::string made = (at / ".logitd-check-XXXXXX").string();
  if (at != whole) {
    if (::mkdtemp(made.data()) == nullptr) return why("no folder can be made");
    ::rmdir(made.c_str());
    return "";
  }
  const int file = ::mkostemp(made.data(), O_CLOEXEC);
  if (file < 0) return why("no file can be made");
  ::close(file);
  ::unlink(made.c_str());
  return "";
}

std::string Hex(const std::string& bytes) {
  std::string text;
  for (const unsigned char byte : bytes) {
    for (const int digit : {byte >> 4, byte & 0xf}) text += "0123456789abcdef"[digit];
  }
  return text;
}

// Whether the folder holds this model's weights in this precision, under logitd-llama's name: HASH-llama.cpp-VERSION-
// f32.gguf. Reads the model only if a file of such a name exists.
bool HoldsConvertedWeights(const fs::path& folder, const std::string& model_file, const std::string& precision) {
  const std::string end = precision == "f16" ? "-f16.gguf" : "-f32.gguf";
  std::error_code error;
  std::string begin;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(end)) continue;
    if (begin.empty()) {
      const absl::StatusOr<std::string> hash = host::HashModelFile(model_file);
      if (!hash.ok()) return false;
      begin = Hex(*hash) + "-llama.cpp-";
    }
    if (name.starts_with(begin) && host::CheckModelFile(entry.path().string()).ok()) return true;
  }
  return false;
}

}  // namespace

absl::Status CheckModelFile(const std::string& origin, const std::string& path) {
  const absl::Status status = host::CheckModelFile(path);
  if (status.ok()) return absl::OkStatus();
  return absl::UnavailableError(origin + ": " + std::string(status.message()));
}

absl::Status CheckContextLength(const std::string& origin, int32_t context_length, const std::string& model_file) {
  const absl::StatusOr<host::GgufHeader> header = host::ReadGgufHeader(model_file);
  if (!header.ok()) return absl::OkStatus();
  const std::optional<int64_t> trained = header->Number(header->Text("general.architecture") + ".context_length");
  if (!trained || *trained <= 0 || context_length <= *trained) return absl::OkStatus();
  return absl::InvalidArgumentError(origin + " must be at most " + std::to_string(*trained) +
                                    ", the length that the model was trained with, got " +
                                    std::to_string(context_length));
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
  if (why.empty() || HoldsConvertedWeights(cache_dir, model_file, precision)) return absl::OkStatus();
  return absl::UnavailableError(origin + ": converted weights cannot be written to " + cache_dir + " (" + why +
                                "); choose another --cache-dir, or --precision native");
}

}  // namespace logitd::server
