// Protobuf messages as lines of JSON, out and in.
#ifndef LOGITD_CLIENT_CLI_JSON_LINES_H_
#define LOGITD_CLIENT_CLI_JSON_LINES_H_

#include <cstdint>
#include <istream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/logitd/options.h"

#include "google/protobuf/message.h"
#include "logitd/v1/error.pb.h"

namespace logitd::cli {

// The message on one line, without a newline:
// - names as in the .proto files; zeros are written out, unset optional fields are left out;
// - doubles have as many digits as it takes to read back the same bits, -inf is "-Infinity";
// - 64-bit integers are strings, bytes are base64.
std::string ToJson(const google::protobuf::Message& message);

// An array of strings: ["a","b"].
std::string ToJsonArray(const std::vector<std::string>& strings);

// Reads a message from JSON. Returns nothing, or the error, which names the line (counted from 1).
std::optional<v1::Error> FromJson(const std::string& line, int64_t line_number, google::protobuf::Message* message);

// The longest line in bytes: an item must fit one message.
inline constexpr int64_t kMaxLineBytes = client::kMaxMessageBytes;

struct InputLine {
  // Empty if the line is longer than kMaxLineBytes.
  std::string text;
  // From 1, blank lines counted.
  int64_t number = 0;
  // Without its end.
  int64_t byte_count = 0;
};

// Reads a message from a line. The message must leave room for the rest of a request. Returns nothing, or the error,
// which names the line.
std::optional<v1::Error> FromLine(const InputLine& line, google::protobuf::Message* message);

// Whether `text` begins with a byte order mark, which marks a file as UTF-8 and is no part of its text.
bool BeginsWithByteOrderMark(std::string_view text);

// Reads lines in chunks of bounded size. Lines may end with CR LF. A byte order mark in front of the first line is left
// out. One thread.
class LineReader {
 public:
  explicit LineReader(std::istream& in) : in_(in) {}

  // The next lines without blank ones: at most `max_lines`, and none after they hold `max_bytes`. Empty: the end.
  std::vector<InputLine> NextChunk(int max_lines, int64_t max_bytes);

  // Bytes read so far.
  int64_t byte_count() const { return byte_count_; }

 private:
  std::istream& in_;
  // Reads the next line, without its end. False: there is none. A line longer than kMaxLineBytes is read and dropped.
  bool NextLine(InputLine& line);

  int64_t line_count_ = 0;
  int64_t byte_count_ = 0;
};

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_JSON_LINES_H_
