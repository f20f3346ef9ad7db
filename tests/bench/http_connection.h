// One HTTP/1.1 connection of a benchmark's client, which stays open from one request to the next.
//
//   HttpConnection connection("127.0.0.1:8000");       // or the path of a Unix socket
//   connection.Post("/v1/completions", body);
//   connection.Take("\r\n\r\n");                       // the head
//
// Errors are std::runtime_error. One thread.
#ifndef LOGITD_TESTS_BENCH_HTTP_CONNECTION_H_
#define LOGITD_TESTS_BENCH_HTTP_CONNECTION_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace logitd::bench {

class HttpConnection {
 public:
  explicit HttpConnection(std::string address) : address_(std::move(address)) { Connect(); }
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;
  ~HttpConnection() { Close(); }

  // Sends a request of JSON, on a new connection if this one was closed.
  void Post(std::string_view path, const std::string& body);
  // The head of the reply, which must be 200.
  std::string TakeHead();
  // The body of a reply of stated length. REQUIRES: its head was taken.
  std::string TakeBody(const std::string& head);
  // The next chunk of a chunked reply. Empty: it was the last one.
  std::string TakeChunk();

  void Connect();
  void Close();

 private:
  void Send(const std::string& bytes) const;
  void Receive();
  // All before `end`, which is taken too.
  std::string Take(std::string_view end);
  std::string TakeBytes(size_t count);

  const std::string address_;
  int socket_ = -1;
  std::string received_;
};

}  // namespace logitd::bench

#endif  // LOGITD_TESTS_BENCH_HTTP_CONNECTION_H_
