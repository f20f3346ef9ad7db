#include "client/logitd/answer_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/logitd/client_error.h"

namespace logitd::client {
namespace {

constexpr char kWriteErrorUrl[] = "logitd.client/write-error";
constexpr char kFirstLine[] = "logitd checkpoint 1";
constexpr mode_t kMode = 0644;

absl::Status WriteError(const std::string& path, int error) {
  absl::Status status = absl::ErrnoToStatus(error, absl::StrCat("cannot write ", path));
  status.SetPayload(kWriteErrorUrl, absl::Cord());
  return status;
}

absl::Status Refused(const std::string& field, const std::string& value, const std::string& bound,
                     const std::string& message) {
  v1::Error error;
  error.set_code(static_cast<int>(absl::StatusCode::kFailedPrecondition));
  error.set_field(field);
  error.set_value(value);
  error.set_bound(bound);
  error.set_message(message);
  return InputError(std::move(error));
}

absl::Status WriteAll(const std::string& path, int descriptor, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return WriteError(path, errno);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

// Makes a file's name last, which its folder holds.
void SyncFolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  // A file system that cannot do this gives no more than that.
  (void)::fsync(descriptor);
  ::close(descriptor);
}

// The checkpoint is there whole, or not at all.
absl::Status WriteCheckpoint(const std::string& path, const Origin& origin) {
  std::string text = absl::StrCat(kFirstLine, "\n");
  for (const auto& [name, value] : origin) absl::StrAppend(&text, name, " ", value, "\n");
  const std::string temporary = path + ".new";
  const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kMode);
  if (descriptor < 0) return WriteError(temporary, errno);
  absl::Status status = WriteAll(temporary, descriptor, text);
  if (status.ok() && ::fsync(descriptor) != 0) status = WriteError(temporary, errno);
  ::close(descriptor);
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) status = WriteError(path, errno);
  if (status.ok()) SyncFolderOf(path);
  return status;
}

absl::StatusOr<Origin> ReadCheckpoint(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    return Refused("checkpoint", path, "a checkpoint",
                   absl::StrCat("the answers have no checkpoint ", path, ": nothing says on what they depend"));
  }
  std::string line;
  if (!std::getline(file, line) || line != kFirstLine) {
    return Refused("checkpoint", path, "a checkpoint",
                   absl::StrCat(path, " is no checkpoint: its first line must be \"", kFirstLine, "\""));
  }
  Origin origin;
  while (std::getline(file, line)) {
    const size_t space = std::min(line.find(' '), line.size());
    origin.emplace_back(line.substr(0, space), line.substr(std::min(space + 1, line.size())));
  }
  return origin;
}

std::optional<std::string> ValueOf(const Origin& origin, const std::string& name) {
  for (const auto& [key, value] : origin) {
    if (key == name) return value;
  }
  return std::nullopt;
}

// Errors: InputError with the name of the first difference as its field.
absl::Status CheckOrigin(const std::string& path, const Origin& kept, const Origin& origin) {
  const auto differs = [&path](const std::string& name, const std::string& there, const std::string& here) {
    return Refused(name, here, there,
                   absl::StrCat(path, " belongs to another ", name, ": ", there, " there, ", here,
                                " here; give the job's own, or another output"));
  };
  for (const auto& [name, value] : origin) {
    const std::string there = ValueOf(kept, name).value_or("none");
    if (there != value) return differs(name, there, value);
  }
  for (const auto& [name, value] : kept) {
    if (!ValueOf(origin, name)) return differs(name, value, "none");
  }
  return absl::OkStatus();
}

}  // namespace

std::string CheckpointOf(const std::string& path) { return path + ".checkpoint"; }

bool IsWriteError(const absl::Status& status) { return status.GetPayload(kWriteErrorUrl).has_value(); }

absl::Status WriteFile(const std::string& path, std::string_view bytes) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, kMode);
  if (descriptor < 0) return WriteError(path, errno);
  absl::Status status = WriteAll(path, descriptor, bytes);
  // Some file systems tell only here that the disk is full.
  if (::close(descriptor) != 0 && status.ok()) status = WriteError(path, errno);
  return status;
}

absl::StatusOr<std::unique_ptr<AnswerFile>> AnswerFile::Open(
    const std::string& path, const Origin& origin, bool resume,
    const std::function<absl::Status(int64_t index, std::string_view line)>& check_line) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, kMode);
  if (descriptor < 0) return WriteError(path, errno);
  std::unique_ptr<AnswerFile> file(new AnswerFile(path, descriptor));
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) return WriteError(path, errno);
  if (!S_ISREG(status.st_mode)) {
    return Refused("out", path, "a regular file", absl::StrCat(path, " must be a regular file"));
  }
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    return Refused("out", path, "a file that no other job writes", absl::StrCat("another job writes ", path));
  }
  const std::string checkpoint = CheckpointOf(path);
  if (status.st_size > 0 && !resume) {
    return Refused("out", path, "an empty file or none",
                   absl::StrCat(path, " has ", static_cast<int64_t>(status.st_size),
                                " bytes already: resume it, remove it, or name another output"));
  }
  if (status.st_size > 0) {
    ASSIGN_OR_RETURN(const Origin kept, ReadCheckpoint(checkpoint));
    RETURN_IF_ERROR(CheckOrigin(checkpoint, kept, origin));
    RETURN_IF_ERROR(file->KeepLines(check_line));
    return file;
  }
  RETURN_IF_ERROR(WriteCheckpoint(checkpoint, origin));
  return file;
}

AnswerFile::~AnswerFile() { ::close(descriptor_); }

absl::Status AnswerFile::KeepLines(
    const std::function<absl::Status(int64_t index, std::string_view line)>& check_line) {
  std::ifstream file(path_, std::ios::binary);
  if (!file) return WriteError(path_, errno);
  int64_t kept_bytes = 0;
  std::string line;
  // A last line without its end sets eof.
  while (std::getline(file, line) && !file.eof() && line.find('\0') == std::string::npos) {
    RETURN_IF_ERROR(check_line(line_count_, line));
    ++line_count_;
    kept_bytes += static_cast<int64_t>(line.size()) + 1;
  }
  if (::ftruncate(descriptor_, kept_bytes) != 0) return WriteError(path_, errno);
  return absl::OkStatus();
}

absl::Status AnswerFile::Append(std::string_view lines) {
  RETURN_IF_ERROR(WriteAll(path_, descriptor_, lines));
  line_count_ += std::count(lines.begin(), lines.end(), '\n');
  if (std::chrono::steady_clock::now() - synced_ < kSyncInterval) return absl::OkStatus();
  return Sync();
}

absl::Status AnswerFile::Sync() {
  synced_ = std::chrono::steady_clock::now();
  if (::fdatasync(descriptor_) != 0) return WriteError(path_, errno);
  return absl::OkStatus();
}

}  // namespace logitd::client
