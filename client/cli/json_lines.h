// Protobuf messages as lines of JSON, out and in.
#ifndef LOGITD_CLIENT_CLI_JSON_LINES_H_
#define LOGITD_CLIENT_CLI_JSON_LINES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/logitd/line_reader.h"
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

using client::BeginsWithByteOrderMark;
using client::InputLine;
using client::kMaxLineBytes;
using client::LineReader;

// Where lines come from, as errors name it.
struct LineSource {
  // "line 3 of standard input".
  std::string name = "standard input";
  // Error.field.
  std::string field = "stdin";
  // The content of a line, "an item of eval". Empty: "a" and the message's name.
  std::string content = "";
};

// The content of the source's lines, as errors say it: "a ScoreItem".
std::string ContentOf(const LineSource& source, const google::protobuf::Message& message);

// Reads a message from JSON. Returns nothing, or the error, which names the line (counted from 1).
std::optional<v1::Error> FromJson(const std::string& line, int64_t line_number, google::protobuf::Message* message,
                                  const LineSource& source = {});

// Reads a message from a line. The message must leave room for the rest of a request. Returns nothing, or the error,
// which names the line.
std::optional<v1::Error> FromLine(const InputLine& line, google::protobuf::Message* message,
                                  const LineSource& source = {});

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_JSON_LINES_H_
