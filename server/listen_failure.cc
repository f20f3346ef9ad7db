#include "server/listen_failure.h"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "server/listen_address.h"

namespace logitd::server {
namespace {

// The error number of binding a socket to `name` and listening on it; 0: both work.
int BindError(int family, const sockaddr* name, socklen_t size) {
  const int fd = ::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  // As gRPC does, so that a port in TIME_WAIT is no obstacle.
  const int on = 1;
  if (family != AF_UNIX) ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  const bool is_bound = ::bind(fd, name, size) == 0 && ::listen(fd, 1) == 0;
  const int error = is_bound ? 0 : errno;
  ::close(fd);
  return error;
}

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string WhyNoSocket(const std::string& path) {
  const std::string folder = FolderOf(path);
  struct stat info = {};
  if (::stat(folder.c_str(), &info) != 0) {
    if (errno == ENOENT) return "there is no folder " + folder + "; make it, or choose another path";
    if (errno == ENOTDIR) return folder + " is below a file, not a folder";
    return "the folder " + folder + " cannot be looked into: " + std::strerror(errno);
  }
  if (!S_ISDIR(info.st_mode)) return folder + " is not a folder";
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  const int error = BindError(AF_UNIX, reinterpret_cast<const sockaddr*>(&name), sizeof(name));
  switch (error) {
    case 0:
      ::unlink(path.c_str());
      return "it could not be bound just now, and could be a moment later; start again";
    case EACCES:
    case EPERM:
      return "this user may not make a socket in " + folder + "; choose another folder, or change its permissions";
    case EROFS:
      return folder + " is on a read-only file system";
    case EADDRINUSE:
      return path + " exists already";
    default:
      return std::string("a socket cannot be made in ") + folder + ": " + std::strerror(error);
  }
}

std::string WhyNoPort(const std::string& address) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  if (host.size() > 1 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  const std::string port = address.substr(colon + 1);
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found); error != 0) {
    return "the host " + host + " has no address: " + ::gai_strerror(error);
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);
  int error = 0;
  for (const addrinfo* at = addresses.get(); at != nullptr && error == 0; at = at->ai_next) {
    error = BindError(at->ai_family, at->ai_addr, at->ai_addrlen);
  }
  switch (error) {
    case 0:
      return "it could not be bound just now, and could be a moment later; start again";
    case EADDRINUSE:
      return "the port is in use; choose another, e.g. --listen 127.0.0.1:0";
    case EADDRNOTAVAIL:
      return "the address is not this machine's";
    case EACCES:
      return "this user may not listen on port " + port + "; choose one from 1024 on";
    case EAFNOSUPPORT:
      return "this machine has no addresses of that family";
    default:
      return std::strerror(error);
  }
}

}  // namespace

std::string WhyNotListening(const std::string& address) {
  const std::string path = SocketPath(address);
  return path.empty() ? WhyNoPort(address) : WhyNoSocket(path);
}

}  // namespace logitd::server
