#include "client/http/connection_stream.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace logitd::http {
namespace {

constexpr int kHeaderTimeout = 408;
constexpr int kBodyTooLarge = 413;
constexpr int kHeadersTooLarge = 431;
constexpr int kNoMemory = 503;
// Of a chunked body: the lines with the chunks' sizes, besides their contents.
constexpr int64_t kChunkOverhead = 2;
// Bytes of a body that are not counted: with so few, the number of connections is the bound. Beyond, the budget is
// asked for so many more at a time.
constexpr int64_t kFreeBodyBytes = 64 << 10;

// The address of one end of a connection; "" if it cannot be told.
void AddressOf(const sockaddr_storage& address, std::string& ip, int& port) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &address, sizeof(v4));
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
    port = ntohs(v4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &address, sizeof(v6));
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
    port = ntohs(v6.sin6_port);
  }
  ip = text;
}

}  // namespace

bool ConnectionStream::Wait(short events, Clock::time_point until) const {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd wanted{socket_, events, 0};
    const int ready = ::poll(&wanted, 1, static_cast<int>(std::max<int64_t>(left, 0)));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

bool ConnectionStream::WaitForRequest(std::chrono::milliseconds time) {
  if (begin_ < end_) return true;
  if (!Wait(POLLIN, Clock::now() + time)) return false;
  char byte = 0;
  return ::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

void ConnectionStream::BeginRequest() {
  scan_ = FramingScan(bounds_.max_body_bytes);
  header_bytes_ = body_bytes_ = 0;
  read_until_ = Clock::now() + bounds_.header_time;
}

bool ConnectionStream::Count(const char* bytes, size_t size) {
  const bool in_head = scan_.in_head();
  if (const int status = scan_.Add(bytes, size); status != 0) {
    refusal_ = status;
    return false;
  }
  if (!in_head) {
    body_bytes_ += static_cast<int64_t>(size);
    if (body_bytes_ > kChunkOverhead * bounds_.max_body_bytes + bounds_.max_header_bytes) refusal_ = kBodyTooLarge;
    // In whole steps.
    if (body_bytes_ > kFreeBodyBytes && !body_lease_.TryGrowTo((body_bytes_ | (kFreeBodyBytes - 1)) + 1)) {
      refusal_ = kNoMemory;
    }
    return refusal_ == 0;
  }
  // cpp-httplib reads headers byte by byte, so a read never reaches from the headers into the body.
  header_bytes_ += static_cast<int64_t>(size);
  if (!scan_.in_head()) read_until_ = Clock::now() + bounds_.body_time;
  if (header_bytes_ <= bounds_.max_header_bytes) return true;
  refusal_ = kHeadersTooLarge;
  return false;
}

ssize_t ConnectionStream::read(char* ptr, size_t size) {
  if (refusal_ != 0) return -1;
  if (begin_ == end_) {
    if (!Wait(POLLIN, read_until_)) {
      refusal_ = kHeaderTimeout;
      return -1;
    }
    ssize_t count = 0;
    do {
      count = ::recv(socket_, buffer_.data(), buffer_.size(), 0);
    } while (count < 0 && errno == EINTR);
    if (count <= 0) {
      is_broken_ = true;
      return count;
    }
    begin_ = 0;
    end_ = static_cast<size_t>(count);
  }
  // Time is a bound even for a client that always has another byte.
  if (Clock::now() > read_until_) {
    refusal_ = kHeaderTimeout;
    return -1;
  }
  const size_t count = std::min(size, end_ - begin_);
  std::memcpy(ptr, buffer_.data() + begin_, count);
  begin_ += count;
  return Count(ptr, count) ? static_cast<ssize_t>(count) : -1;
}

ssize_t ConnectionStream::write(const char* ptr, size_t size) {
  const Clock::time_point until = Clock::now() + bounds_.write_time;
  size_t written = 0;
  while (written < size && !is_broken_) {
    const ssize_t count = ::send(socket_, ptr + written, size - written, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      written += static_cast<size_t>(count);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!Wait(POLLOUT, until)) is_broken_ = true;
    } else if (errno != EINTR) {
      is_broken_ = true;
    }
  }
  return is_broken_ ? -1 : static_cast<ssize_t>(written);
}

bool ConnectionStream::is_readable() const { return begin_ < end_ || Wait(POLLIN, read_until_); }

bool ConnectionStream::is_writable() const { return !is_broken_; }

void ConnectionStream::LingerAndShutDown(std::chrono::milliseconds time) {
  ::shutdown(socket_, SHUT_WR);
  const Clock::time_point until = Clock::now() + time;
  while (!is_broken_ && Clock::now() < until && Wait(POLLIN, until)) {
    const ssize_t count = ::recv(socket_, buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) break;
  }
}

void ConnectionStream::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getpeername(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0) AddressOf(address, ip, port);
}

void ConnectionStream::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0) AddressOf(address, ip, port);
}

}  // namespace logitd::http
