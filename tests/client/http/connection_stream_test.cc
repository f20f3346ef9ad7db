#include "client/http/connection_stream.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>

#include "gmock/gmock.h"

namespace logitd::http {
namespace {

using namespace std::chrono_literals;

constexpr char kHead[] = "POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n";

// A stream and the socket of its client.
class Pair {
 public:
  explicit Pair(const ConnectionBounds& bounds, MemoryBudget* bodies = nullptr) {
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets_), 0);
    stream = std::make_unique<ConnectionStream>(sockets_[0], bounds, bodies);
    stream->BeginRequest();
  }
  Pair(const Pair&) = delete;
  Pair& operator=(const Pair&) = delete;
  ~Pair() {
    stream.reset();
    for (const int socket : sockets_) ::close(socket);
  }

  void Send(const std::string& bytes) const {
    EXPECT_EQ(::send(sockets_[1], bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  // Bytes that were read before a read failed, or until so many are there. Heads are read byte by byte.
  size_t Read(size_t count, size_t at_once) const {
    std::string buffer(at_once, '\0');
    size_t read = 0;
    while (read < count) {
      const ssize_t got = stream->read(buffer.data(), std::min(at_once, count - read));
      if (got <= 0) break;
      read += static_cast<size_t>(got);
    }
    return read;
  }
  void ReadHead() const { EXPECT_EQ(Read(sizeof(kHead) - 1, 1), sizeof(kHead) - 1); }

  std::unique_ptr<ConnectionStream> stream;

 private:
  int sockets_[2] = {};
};

TEST(ConnectionStreamTest, HeadsHaveATime) {
  const Pair pair({.header_time = 30ms});
  pair.Send("GET / HT");
  EXPECT_EQ(pair.Read(100, 1), 8);
  EXPECT_EQ(pair.stream->refusal(), 408);
  EXPECT_TRUE(pair.stream->must_close());
}

// A client that always has another byte is not given more time than one that has none.
TEST(ConnectionStreamTest, BodiesHaveATimeHoweverTheyCome) {
  const Pair pair({.body_time = 100ms});
  pair.Send(kHead);
  pair.ReadHead();
  std::jthread client([&pair](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pair.Send("x");
      std::this_thread::yield();
    }
  });
  const auto began = std::chrono::steady_clock::now();
  EXPECT_LT(pair.Read(1 << 30, 1), size_t{1} << 30);
  EXPECT_EQ(pair.stream->refusal(), 408);
  EXPECT_GE(std::chrono::steady_clock::now() - began, 99ms);
}

TEST(ConnectionStreamTest, BodiesTakeTheirMemoryAsTheyArrive) {
  MemoryBudget bodies(128 << 10);
  const Pair pair({}, &bodies);
  pair.Send(kHead);
  pair.ReadHead();
  const std::string part(32 << 10, 'x');
  for (int i = 0; i < 2; ++i) {
    pair.Send(part);
    EXPECT_EQ(pair.Read(part.size(), 4096), part.size());
  }
  // The first 64 KiB are not counted.
  EXPECT_EQ(bodies.taken(), 0);
  pair.Send("x");
  EXPECT_EQ(pair.Read(1, 1), 1);
  EXPECT_EQ(bodies.taken(), 128 << 10);
  pair.stream->EndRequest();
  EXPECT_EQ(bodies.taken(), 0);
}

TEST(ConnectionStreamTest, WithoutMemoryABodyIs503) {
  MemoryBudget bodies(128 << 10);
  MemoryBudget::Lease other(&bodies);
  ASSERT_TRUE(other.TryGrowTo(1));
  const Pair pair({}, &bodies);
  pair.Send(kHead);
  pair.ReadHead();
  const std::string part(65 << 10, 'x');
  pair.Send(part);
  EXPECT_LT(pair.Read(part.size(), 1024), part.size());
  EXPECT_EQ(pair.stream->refusal(), 503);
  EXPECT_EQ(bodies.taken(), 1);
}

TEST(ConnectionStreamTest, UnclearFramingIs400) {
  const Pair pair({});
  pair.Send("GET / HTTP/1.1\r\nHost : a\r\n\r\n");
  EXPECT_LT(pair.Read(100, 1), 30);
  EXPECT_EQ(pair.stream->refusal(), 400);
}

TEST(ConnectionStreamTest, EachRequestHasItsOwnBounds) {
  const Pair pair({.max_header_bytes = 64});
  for (int i = 0; i < 5; ++i) {
    const std::string head = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    pair.stream->BeginRequest();
    pair.Send(head);
    EXPECT_EQ(pair.Read(head.size(), 1), head.size());
    EXPECT_EQ(pair.stream->refusal(), 0);
    pair.stream->EndRequest();
  }
  pair.stream->BeginRequest();
  pair.Send("GET / HTTP/1.1\r\nHost: " + std::string(64, 'a'));
  EXPECT_LT(pair.Read(100, 1), 70);
  EXPECT_EQ(pair.stream->refusal(), 431);
}

}  // namespace
}  // namespace logitd::http
