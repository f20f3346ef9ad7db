#include "tests/bench/http_connection.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <stdexcept>

namespace logitd::bench {
namespace {

int ConnectUnix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) throw std::runtime_error("the socket's path is too long");
  path.copy(address.sun_path, path.size());
  const int descriptor = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (descriptor >= 0 && ::connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return descriptor;
  }
  throw std::runtime_error("no connection to " + path);
}

int ConnectTcp(const std::string& host, const std::string& port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(std::stoi(port)));
  const int descriptor = ::socket(AF_INET, SOCK_STREAM, 0);
  if (descriptor < 0 || ::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1 ||
      ::connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    throw std::runtime_error("no connection to " + host + ":" + port);
  }
  // As HTTP clients do.
  const int on = 1;
  ::setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return descriptor;
}

}  // namespace

void HttpConnection::Connect() {
  Close();
  const size_t colon = address_.rfind(':');
  socket_ = colon == std::string::npos ? ConnectUnix(address_)
                                       : ConnectTcp(address_.substr(0, colon), address_.substr(colon + 1));
}

void HttpConnection::Close() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
}

void HttpConnection::Post(std::string_view path, const std::string& body) {
  if (socket_ < 0) Connect();
  Send("POST " + std::string(path) +
       " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: " +
       std::to_string(body.size()) + "\r\n\r\n" + body);
}

std::string HttpConnection::TakeHead() {
  std::string head = Take("\r\n\r\n");
  if (!head.starts_with("HTTP/1.1 200")) throw std::runtime_error("the reply is: " + head);
  return head;
}

std::string HttpConnection::TakeBody(const std::string& head) {
  std::string lower = head;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  constexpr std::string_view kLength = "content-length:";
  const size_t at = lower.find(kLength);
  if (at == std::string::npos) throw std::runtime_error("a reply without a length: " + head);
  return TakeBytes(std::stoul(lower.substr(at + kLength.size())));
}

std::string HttpConnection::TakeChunk() {
  const size_t size = std::stoul(Take("\r\n"), nullptr, 16);
  return TakeBytes(size + 2).substr(0, size);
}

void HttpConnection::Send(const std::string& bytes) const {
  for (size_t sent = 0; sent < bytes.size();) {
    const ssize_t count = ::send(socket_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (count <= 0) throw std::runtime_error("the connection has ended");
    sent += static_cast<size_t>(count);
  }
}

void HttpConnection::Receive() {
  char bytes[16384];
  const ssize_t count = ::recv(socket_, bytes, sizeof(bytes), 0);
  if (count <= 0) throw std::runtime_error("the connection has ended");
  received_.append(bytes, static_cast<size_t>(count));
}

std::string HttpConnection::Take(std::string_view end) {
  size_t at = received_.find(end);
  for (; at == std::string::npos; at = received_.find(end)) Receive();
  std::string taken = received_.substr(0, at);
  received_.erase(0, at + end.size());
  return taken;
}

std::string HttpConnection::TakeBytes(size_t count) {
  while (received_.size() < count) Receive();
  std::string taken = received_.substr(0, count);
  received_.erase(0, count);
  return taken;
}

}  // namespace logitd::bench
