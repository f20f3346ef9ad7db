#include "host/safetensors.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/status_macros.h"

namespace logitd::host {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers in the format are little endian");

constexpr uint64_t kPieceBytes = uint64_t{1} << 20;
constexpr int kAskMs = 100;
constexpr uintmax_t kMaxIndexBytes = uintmax_t{16} << 20;

bool IsSame(const timespec& a, const timespec& b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

}  // namespace

SafetensorsReader::SafetensorsReader(SafetensorsReader&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      name_(std::move(other.name_)),
      patience_(std::move(other.patience_)),
      header_(std::move(other.header_)),
      file_bytes_(other.file_bytes_),
      modified_(other.modified_),
      changed_(other.changed_),
      place_(other.place_) {}

SafetensorsReader& SafetensorsReader::operator=(SafetensorsReader&& other) noexcept {
  std::swap(fd_, other.fd_);
  name_ = std::move(other.name_);
  patience_ = std::move(other.patience_);
  header_ = std::move(other.header_);
  file_bytes_ = other.file_bytes_;
  modified_ = other.modified_;
  changed_ = other.changed_;
  place_ = other.place_;
  return *this;
}

SafetensorsReader::~SafetensorsReader() {
  if (fd_ >= 0) ::close(fd_);
}

absl::StatusOr<SafetensorsReader> SafetensorsReader::Open(const std::string& path, const StreamPatience& patience) {
  const std::string name = "file " + path;
  // Does not wait for the other end of a named pipe.
  SafetensorsReader reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK), name, patience);
  if (reader.fd_ < 0 && errno == ENOENT) return absl::NotFoundError(name + " does not exist");
  if (reader.fd_ < 0) return reader.Error(std::string("cannot be opened: ") + std::strerror(errno));
  struct stat facts = {};
  if (::fstat(reader.fd_, &facts) != 0) return reader.Error(std::string("cannot be read: ") + std::strerror(errno));
  if (!S_ISREG(facts.st_mode)) return reader.Error("is no regular file");
  reader.file_bytes_ = static_cast<uint64_t>(facts.st_size);
  reader.modified_ = facts.st_mtim;
  reader.changed_ = facts.st_ctim;
  RETURN_IF_ERROR(reader.ReadHeader());
  return reader;
}

absl::StatusOr<SafetensorsReader> SafetensorsReader::FromPipe(int fd, const std::string& name,
                                                              const StreamPatience& patience) {
  SafetensorsReader reader(fd, name, patience);
  ::fcntl(fd, F_SETFL, O_NONBLOCK);
  RETURN_IF_ERROR(reader.ReadHeader());
  return reader;
}

absl::Status SafetensorsReader::Error(const std::string& what) const {
  return absl::InvalidArgumentError(name_ + " " + what);
}

absl::Status SafetensorsReader::Damaged(const std::string& what) const {
  return Error("is truncated or damaged, or no safetensors file: " + what);
}

absl::Status SafetensorsReader::ReadHeader() {
  constexpr uint64_t kLengthBytes = 8;
  if (file_bytes_ && *file_bytes_ < kLengthBytes) {
    return Damaged("it has " + std::to_string(*file_bytes_) + " bytes, fewer than 8");
  }
  uint64_t header_bytes = 0;
  RETURN_IF_ERROR(ReadExactly(reinterpret_cast<char*>(&header_bytes), sizeof(header_bytes)));
  if (header_bytes > kMaxSafetensorsHeaderBytes) {
    return Damaged("its first 8 bytes give a header of " + std::to_string(header_bytes) + " bytes, at most " +
                   std::to_string(kMaxSafetensorsHeaderBytes) + " are allowed");
  }
  if (file_bytes_ && header_bytes > *file_bytes_ - kLengthBytes) {
    return Damaged("its first 8 bytes give a header of " + std::to_string(header_bytes) + " bytes, it has " +
                   std::to_string(*file_bytes_) + " bytes in all");
  }
  std::string json(header_bytes, '\0');
  RETURN_IF_ERROR(ReadExactly(json.data(), json.size()));
  absl::StatusOr<SafetensorsHeader> header = ParseSafetensorsHeader(json);
  if (!header.ok()) return Damaged(std::string(header.status().message()));
  header_ = *std::move(header);
  uint64_t needed = 0;
  const bool is_too_large = __builtin_add_overflow(kLengthBytes + header_bytes, header_.data_bytes, &needed);
  if (is_too_large || (file_bytes_ && needed != *file_bytes_)) {
    return Damaged("it has " + (file_bytes_ ? std::to_string(*file_bytes_) : "other") +
                   " bytes, its header describes " + std::to_string(header_.data_bytes) + " bytes of tensors after " +
                   std::to_string(kLengthBytes + header_bytes));
  }
  place_ = 0;
  return absl::OkStatus();
}

absl::Status SafetensorsReader::AwaitBytes() const {
  for (int waited_ms = 0; waited_ms < patience_.silence_limit_ms; waited_ms += kAskMs) {
    if (patience_.give_up()) return absl::CancelledError(name_ + " is no longer wanted");
    pollfd pipe = {fd_, POLLIN, 0};
    const int ready = ::poll(&pipe, 1, std::min(kAskMs, patience_.silence_limit_ms));
    if (ready > 0) return absl::OkStatus();
  }
  return absl::UnavailableError(name_ + " has sent nothing for " + std::to_string(patience_.silence_limit_ms) + " ms");
}

absl::Status SafetensorsReader::ReadExactly(char* bytes, uint64_t size) {
  uint64_t done = 0;
  while (done < size) {
    if (!file_bytes_) RETURN_IF_ERROR(AwaitBytes());
    const ssize_t read = ::read(fd_, bytes + done, std::min(size - done, kPieceBytes));
    if (read < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (read < 0) return absl::UnavailableError(name_ + " cannot be read: " + std::strerror(errno));
    if (read == 0) {
      return Damaged("it ends " + std::to_string(size - done) + " bytes early" +
                     (file_bytes_ ? "; it was changed while it was read" : ""));
    }
    done += static_cast<uint64_t>(read);
  }
  return absl::OkStatus();
}

absl::Status SafetensorsReader::SkipTo(uint64_t place) {
  if (place < place_) return absl::InternalError(name_ + ": tensors are read in the wrong order");
  if (file_bytes_) {
    if (::lseek(fd_, static_cast<off_t>(place - place_), SEEK_CUR) < 0) {
      return absl::UnavailableError(name_ + " cannot be read: " + std::strerror(errno));
    }
    place_ = place;
    return absl::OkStatus();
  }
  std::vector<char> ignored(std::min(place - place_, kPieceBytes));
  while (place_ < place) {
    const uint64_t size = std::min<uint64_t>(place - place_, ignored.size());
    RETURN_IF_ERROR(ReadExactly(ignored.data(), size));
    place_ += size;
  }
  return absl::OkStatus();
}

absl::Status SafetensorsReader::Read(const SafetensorsTensor& tensor, uint64_t unit_bytes,
                                     absl::FunctionRef<absl::Status(std::string_view bytes)> take) {
  RETURN_IF_ERROR(SkipTo(tensor.begin));
  const uint64_t piece_bytes = std::max<uint64_t>(1, kPieceBytes / unit_bytes) * unit_bytes;
  std::vector<char> piece(std::min(piece_bytes, tensor.bytes()));
  while (place_ < tensor.end) {
    if (patience_.give_up()) return absl::CancelledError(name_ + " is no longer wanted");
    const uint64_t size = std::min<uint64_t>(piece.size(), tensor.end - place_);
    RETURN_IF_ERROR(ReadExactly(piece.data(), size));
    place_ += size;
    RETURN_IF_ERROR(take({piece.data(), size}));
  }
  return absl::OkStatus();
}

absl::Status SafetensorsReader::CheckUnchanged() {
  if (!file_bytes_) {
    RETURN_IF_ERROR(SkipTo(header_.data_bytes));
    RETURN_IF_ERROR(AwaitBytes());
    char more;
    return ::read(fd_, &more, 1) == 0 ? absl::OkStatus() : Damaged("it goes on after its last tensor");
  }
  struct stat facts = {};
  const bool is_same = ::fstat(fd_, &facts) == 0 && static_cast<uint64_t>(facts.st_size) == *file_bytes_ &&
                       IsSame(facts.st_mtim, modified_) && IsSame(facts.st_ctim, changed_);
  return is_same ? absl::OkStatus() : Error("was changed while it was read; read it again");
}

absl::StatusOr<std::map<std::string, std::string, std::less<>>> ReadSafetensorsIndex(const std::string& path) {
  const auto error = [&path](const std::string& what) {
    return absl::InvalidArgumentError("file " + path + " " + what);
  };
  std::error_code no_file;
  if (!std::filesystem::exists(path, no_file)) return absl::NotFoundError("file " + path + " does not exist");
  if (!std::filesystem::is_regular_file(path, no_file)) return error("is no regular file");
  if (std::filesystem::file_size(path, no_file) > kMaxIndexBytes) {
    return error("must be an index of at most " + std::to_string(kMaxIndexBytes) + " bytes");
  }
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxIndexBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (file.bad() || text.size() > kMaxIndexBytes) return error("cannot be read");
  // The places of a weight map are two levels deep; deeper JSON is none.
  const auto is_shallow = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) { return depth <= 2; };
  const nlohmann::json index = nlohmann::json::parse(text, is_shallow, /*allow_exceptions=*/false);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    return error("is no index of a sharded safetensors model: it has no weight_map");
  }
  std::map<std::string, std::string, std::less<>> files;
  for (const auto& [name, value] : index["weight_map"].items()) {
    const std::string shard = value.is_string() ? value.get<std::string>() : "";
    if (shard.empty() || shard.find('/') != std::string::npos || shard == "." || shard == "..") {
      return error("names a file for a tensor that is none of its own folder");
    }
    files.emplace(name, shard);
  }
  return files;
}

}  // namespace logitd::host
