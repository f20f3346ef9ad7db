#include "client/http/framing_scan.h"

#include <string>

#include "gmock/gmock.h"

namespace logitd::http {
namespace {

constexpr int64_t kMaxBodyBytes = 1000;

struct Case {
  std::string name;
  std::string bytes;
  int status = 0;
};

// The status after all bytes, whether they come at once or one by one.
int StatusOf(const std::string& bytes) {
  FramingScan at_once(kMaxBodyBytes);
  const int status = at_once.Add(bytes.data(), bytes.size());
  FramingScan one_by_one(kMaxBodyBytes);
  for (const char c : bytes) {
    if (const int found = one_by_one.Add(&c, 1); found != 0) {
      EXPECT_EQ(found, status);
      return found;
    }
  }
  EXPECT_EQ(status, 0);
  return status;
}

TEST(FramingScanTest, Heads) {
  const std::string line = "POST /tokenize HTTP/1.1\r\n";
  for (const Case& one : std::vector<Case>{
           {"plain", line + "Host: a\r\nContent-Length: 3\r\n\r\nabc\n\0\r", 0},
           {"no headers", line + "\r\n", 0},
           {"an empty value", line + "X-A:\r\n\r\n", 0},
           {"tabs and bytes above 127 in a value", line + "X-A:\t\xc3\xa4\tb \r\n\r\n", 0},
           {"every byte of a token", line + "!#$%&'*+-.^_`|~09azAZ: 1\r\n\r\n", 0},
           {"a space before the colon", line + "Transfer-Encoding : chunked\r\n\r\n", 400},
           {"a continued line", line + "X-A: b\r\n c\r\n\r\n", 400},
           {"a continued first line", line + " X-A: b\r\n\r\n", 400},
           {"no name", line + ": b\r\n\r\n", 400},
           {"no colon", line + "abc\r\n\r\n", 400},
           {"a line feed alone", line + "X-A: b\nC: d\r\n\r\n", 400},
           {"a carriage return alone", line + "X-A: b\rC: d\r\n\r\n", 400},
           {"a line feed alone after the first line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
           {"NUL in a value", line + std::string("X-A: b\0c\r\n\r\n", 13), 400},
           {"an empty encoding", line + "Transfer-Encoding: \r\n\r\n", 400},
           {"an empty length", line + "content-LENGTH:\t\r\n\r\n", 400},
           {"two spaces", "GET  / HTTP/1.1\r\n\r\n", 400},
           {"three words and one", "GET / a HTTP/1.1\r\n\r\n", 400},
           {"one word", "GET\r\n\r\n", 400},
           {"NUL in the first line", std::string("GET /\0 HTTP/1.1\r\n\r\n", 19), 400},
           {"an empty line first", "\r\nGET / HTTP/1.1\r\n\r\n", 400},
       }) {
    SCOPED_TRACE(one.name);
    EXPECT_EQ(StatusOf(one.bytes), one.status);
  }
}

TEST(FramingScanTest, Chunks) {
  const std::string head = "POST / HTTP/1.1\r\nTransfer-Encoding:  Chunked\r\n\r\n";
  for (const Case& one : std::vector<Case>{
           {"two chunks", "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", 0},
           {"zeros before the size", "00000003\r\nabc\r\n0\r\n\r\n", 0},
           {"an extension", "3;a=\"b\"\r\nabc\r\n0;c\r\n\r\n", 0},
           {"as much as there may be", "3e8\r\n" + std::string(1000, 'x') + "\r\n0\r\n\r\n", 0},
           {"one more", "3e9\r\n", 413},
           {"one more in the second", "3e8\r\n" + std::string(1000, 'x') + "\r\n1\r\n", 413},
           {"a size that overflows", "7fffffffffffffff\r\n", 413},
           {"nine digits", "000000003\r\nabc\r\n", 400},
           {"no digits", "\r\nabc\r\n", 400},
           {"a sign", "+3\r\nabc\r\n", 400},
           {"a negative size", "-1\r\n", 400},
           {"a prefix", "0x3\r\nabc\r\n", 400},
           {"a space before the size", " 3\r\nabc\r\n", 400},
           {"more than the size", "3g\r\nabc\r\n", 400},
           {"a line feed alone", "3\nabc\n0\n\n", 400},
           {"more than the chunk", "3\r\nabcd\r\n", 400},
           {"a trailer", "3\r\nabc\r\n0\r\nX: y\r\n\r\n", 400},
           {"bytes after the end", "0\r\n\r\nG", 400},
       }) {
    SCOPED_TRACE(one.name);
    EXPECT_EQ(StatusOf(head + one.bytes), one.status);
  }
}

TEST(FramingScanTest, TheHeadEndsWithTheBlankLine) {
  FramingScan scan(kMaxBodyBytes);
  const std::string head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  for (const char c : head) {
    EXPECT_TRUE(scan.in_head());
    EXPECT_EQ(scan.Add(&c, 1), 0);
  }
  EXPECT_FALSE(scan.in_head());
}

}  // namespace
}  // namespace logitd::http
