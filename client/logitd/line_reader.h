// Lines of a file or of standard input, each of bounded length.
//
//   LineReader reader(std::cin);
//   for (std::vector<InputLine> lines = reader.NextChunk(32, 256 << 10); !lines.empty(); ...) ...
#ifndef LOGITD_CLIENT_LOGITD_LINE_READER_H_
#define LOGITD_CLIENT_LOGITD_LINE_READER_H_

#include <cstdint>
#include <istream>
#include <string>
#include <string_view>
#include <vector>

#include "client/logitd/options.h"

namespace logitd::client {

// The longest line in bytes: an item must fit one message.
inline constexpr int64_t kMaxLineBytes = kMaxMessageBytes;

struct InputLine {
  // Empty if the line is longer than kMaxLineBytes.
  std::string text;
  // From 1, blank lines counted.
  int64_t number = 0;
  // Without its end.
  int64_t byte_count = 0;

  bool is_too_long() const { return byte_count > kMaxLineBytes; }
  // It holds nothing but white space.
  bool is_blank() const { return !is_too_long() && text.find_first_not_of(" \t\r") == std::string::npos; }
};

// Whether `text` begins with a byte order mark, which marks a file as UTF-8 and is no part of its text.
bool BeginsWithByteOrderMark(std::string_view text);

// Reads lines in chunks of bounded size. Lines may end with CR LF. A byte order mark in front of the first line is left
// out. One thread.
class LineReader {
 public:
  enum Blanks { kSkipBlanks, kKeepBlanks };

  // REQUIRES: `in` outlives this.
  explicit LineReader(std::istream& in, Blanks blanks = kSkipBlanks) : in_(in), blanks_(blanks) {}

  // The next lines: at most `max_lines`, and none after they hold `max_bytes`. Empty: the end.
  std::vector<InputLine> NextChunk(int max_lines, int64_t max_bytes);

  // Bytes read so far.
  int64_t byte_count() const { return byte_count_; }

 private:
  // Reads the next line, without its end. False: there is none. A line longer than kMaxLineBytes is read and dropped.
  bool NextLine(InputLine& line);

  std::istream& in_;
  const Blanks blanks_;
  int64_t line_count_ = 0;
  int64_t byte_count_ = 0;
};

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_LINE_READER_H_
