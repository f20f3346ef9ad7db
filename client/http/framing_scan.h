// Watches the bytes of a request as they are read, and finds what no client sends and what two readers could take for
// two different requests: a proxy in front and the server behind it would not agree on where the next request begins.
// cpp-httplib reads over all of it.
//
//   FramingScan scan(max_body_bytes);
//   if (const int status = scan.Add(bytes, size); status != 0) ... refuse with 400 or 413 ...
//
// In the head: lines that do not end in CR LF, control characters, spaces in the request line beyond two, names that
// are no token of RFC 9110 ("Transfer-Encoding : chunked"), continued lines, an empty Content-Length or
// Transfer-Encoding. In a chunked body: sizes that are not 1 to 8 hexadecimal digits, more than max_body_bytes in all,
// anything but CR LF after a chunk, trailers. What the values of the headers mean is checked by HttpServer.
//
// One thread.
#ifndef LOGITD_CLIENT_HTTP_FRAMING_SCAN_H_
#define LOGITD_CLIENT_HTTP_FRAMING_SCAN_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace logitd::http {

class FramingScan {
 public:
  explicit FramingScan(int64_t max_body_bytes) : max_body_bytes_(max_body_bytes) {}

  // The next bytes of the request. 0, or the status of HTTP with which it is to be refused.
  int Add(const char* bytes, size_t size);
  // The blank line has not come.
  bool in_head() const { return state_ < State::kPlainBody; }

 private:
  enum class State {
    kRequestLine,
    kLineEnd,
    kLineStart,
    kName,
    kValue,
    kHeadEnd,
    // A body without chunks, or none: its bytes are not looked at.
    kPlainBody,
    kSize,
    kExtension,
    kSizeEnd,
    kData,
    kDataEnd,
    kDataLineEnd,
    kBodyEnd,
    kBodyLineEnd,
    kDone,
  };

  // Of one byte of the head, or of a line of a chunked body.
  int AddToHead(char c);
  int AddToChunk(char c);
  int EndHeader();

  int64_t max_body_bytes_;
  State state_ = State::kRequestLine;
  int spaces_ = 0;
  // Of the header in work, in lower case; of the value only the first bytes.
  std::string name_;
  std::string value_;
  bool is_chunked_ = false;
  int size_digits_ = 0;
  int64_t chunk_left_ = 0;
  int64_t body_bytes_ = 0;
};

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_FRAMING_SCAN_H_
