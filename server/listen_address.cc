#include "server/listen_address.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string_view>

#include "base/address.h"
#include "base/status_macros.h"

namespace logitd::server {
namespace {

constexpr std::string_view kUnix = "unix:";

}  // namespace

absl::Status CheckListenAddress(const std::string& flag, const std::string& address) {
  const auto parsed = ParseHostAddress(address, PortUse::kListen);
  if (parsed.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(flag + " " + std::string(parsed.status().message()));
}

bool IsLocal(const std::string& address) {
  const auto parsed = ParseHostAddress(address, PortUse::kListen);
  return parsed.ok() && parsed->IsLocal();
}

absl::Status CheckClientAddress(const std::string& flag, const std::string& address, bool allow_plaintext) {
  RETURN_IF_ERROR(CheckListenAddress(flag, address));
  if (allow_plaintext || IsLocal(address)) return absl::OkStatus();
  return absl::InvalidArgumentError(flag + " " + address +
                                    " is not on loopback, and there is no TLS: whoever reaches it can use the "
                                    "server. Listen on 127.0.0.1, or give --allow-plaintext");
}

absl::Status CheckRunnerAddress(const std::string& flag, const std::string& address, bool allow_plaintext) {
  RETURN_IF_ERROR(CheckListenAddress(flag, address));
  if (allow_plaintext || IsLocal(address)) return absl::OkStatus();
  return absl::InvalidArgumentError(flag + " " + address +
                                    " is not on loopback, and there is no TLS: whoever may attach can read prompts "
                                    "and forge scores. Use unix:PATH, or give --allow-plaintext");
}

std::string WithPort(const std::string& address, int port) {
  if (address.starts_with(kUnix)) return address;
  return address.substr(0, address.rfind(':') + 1) + std::to_string(port);
}

std::string SocketPath(const std::string& address) {
  return address.starts_with(kUnix) ? address.substr(kUnix.size()) : std::string();
}

absl::Status ClearStaleSocket(const std::string& flag, const std::string& address) {
  const std::string path = SocketPath(address);
  struct stat info;
  if (path.empty() || ::stat(path.c_str(), &info) != 0) return absl::OkStatus();
  if (!S_ISSOCK(info.st_mode)) {
    return absl::UnavailableError(flag + ": " + path + " exists and is not a socket; choose another path or remove it");
  }
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  const bool alive = ::connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof(name)) == 0;
  ::close(fd);
  if (alive) return absl::UnavailableError(flag + ": a server listens on " + path + " already");
  ::unlink(path.c_str());
  return absl::OkStatus();
}

}  // namespace logitd::server
