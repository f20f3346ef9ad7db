// One connection's socket, as cpp-httplib reads and writes it, with the bounds that cpp-httplib does not have: bytes
// and time of a request's headers, bytes and time of its body, whether or not the client states its length.
//
//   ConnectionStream stream(socket, bounds);
//   while (stream.WaitForRequest(keep_alive)) {
//     stream.BeginRequest();
//     ... process_request(stream, ...) ...
//     stream.EndRequest();
//     if (stream.must_close()) break;
//   }
//
// A read beyond a bound fails, and `refusal` says with which status of HTTP the request is to be refused. The bytes of
// a body come out of a budget that all connections share, as they arrive: a client that only announces them takes none.
//
// One thread reads; `write` may be called from other threads, one at a time.
#ifndef LOGITD_CLIENT_HTTP_CONNECTION_STREAM_H_
#define LOGITD_CLIENT_HTTP_CONNECTION_STREAM_H_

#include <httplib.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include "client/http/framing_scan.h"
#include "client/http/memory_budget.h"

namespace logitd::http {

struct ConnectionBounds {
  // Request line and headers together.
  int64_t max_header_bytes = 32 << 10;
  int64_t max_body_bytes = 16 << 20;
  // From a request's first byte to the end of its headers.
  std::chrono::milliseconds header_time{10'000};
  // From the end of the headers to the end of the body.
  std::chrono::milliseconds body_time{60'000};
  // For which a client may leave a reply unread.
  std::chrono::milliseconds write_time{30'000};
};

class ConnectionStream final : public httplib::Stream {
 public:
  // `bodies`: the budget of all bodies. It outlives the stream.
  ConnectionStream(int socket, const ConnectionBounds& bounds, MemoryBudget* bodies)
      : socket_(socket), bounds_(bounds), scan_(bounds.max_body_bytes), body_lease_(bodies) {}

  // Waits for the first byte of a request. False: none came in this time, or the client has left.
  bool WaitForRequest(std::chrono::milliseconds time);
  // The bounds of a request count from now on.
  void BeginRequest();
  // Its body is no longer in memory.
  void EndRequest() { body_lease_.GiveBack(); }

  // 0, or the status with which the request that is being read is refused: 400, 408, 413, 431, 503.
  int refusal() const { return refusal_; }
  // The connection cannot be used for another request: bytes of this one may be left.
  void set_must_close() { must_close_ = true; }
  bool must_close() const { return must_close_ || refusal_ != 0 || is_broken_; }
  // Sends what is left of a reply and reads, for a moment, what the client still sends: a client that is in the middle
  // of its body would otherwise lose the reply.
  void LingerAndShutDown(std::chrono::milliseconds time);

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* ptr, size_t size) override;
  ssize_t write(const char* ptr, size_t size) override;
  using httplib::Stream::write;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  // cpp-httplib answers 500 if this number is 1,024 or more, because its own stream would call select() with it. This
  // stream calls poll(), and the number has no other use.
  int socket() const override { return 0; }
  int descriptor() const { return socket_; }

 private:
  using Clock = std::chrono::steady_clock;

  // Waits until `events` happen. False: not until then.
  bool Wait(short events, Clock::time_point until) const;
  // Counts bytes that the parser has taken. False: beyond a bound.
  bool Count(const char* bytes, size_t size);

  const int socket_;
  const ConnectionBounds bounds_;
  std::array<char, 16384> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  // Of the request that is being read.
  FramingScan scan_;
  int64_t header_bytes_ = 0;
  int64_t body_bytes_ = 0;
  MemoryBudget::Lease body_lease_;
  Clock::time_point read_until_;
  int refusal_ = 0;
  bool must_close_ = false;
  std::atomic<bool> is_broken_{false};
};

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_CONNECTION_STREAM_H_
