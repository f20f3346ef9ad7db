#include "client/cli/json_lines.h"

#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/token_text.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"

namespace logitd::cli {
namespace {

// A request holds more than its items: parameters, token sets.
constexpr int64_t kMaxItemBytes = kMaxLineBytes - (int64_t{1} << 20);

// The columns of protobuf's message, which quotes names and values of any length, and of the quoted place.
constexpr int kMostSaidColumns = 200;
constexpr int kQuotedColumns = 24;

}  // namespace

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string out;
  // This fails only for well-known types with broken contents, which logitd.v1 does not use.
  if (!google::protobuf::util::MessageToJsonString(message, &out, options).ok()) return "{}";
  return out;
}

std::string ToJsonArray(const std::vector<std::string>& strings) {
  google::protobuf::ListValue list;
  for (const std::string& text : strings) list.add_values()->set_string_value(text);
  return ToJson(list);
}

namespace {

// Protobuf's message about JSON, in one line. For text that is no JSON, its second and third line draw an arrow below
// the place; here that place is quoted instead.
std::string OnOneLine(std::string_view said) {
  const std::vector<std::string> lines = absl::StrSplit(std::string(said), '\n');
  std::string what = EscapeText(lines[0]);
  // An error about the whole message names no field.
  if (what.rfind(": ", 0) == 0) what.erase(0, 2);
  while (!what.empty() && what.back() == '.') what.pop_back();
  what = Shorten(what, kMostSaidColumns);
  if (lines.size() < 3) return what;
  const size_t arrow = lines.back().find('^');
  if (arrow == std::string::npos || arrow >= lines[1].size()) return what + ", at the end of the line";
  return absl::StrCat(what, ", at \"", Shorten(EscapeText(lines[1].substr(arrow)), kQuotedColumns), "\"");
}

}  // namespace

std::string ContentOf(const LineSource& source, const google::protobuf::Message& message) {
  return source.content.empty() ? absl::StrCat("a ", message.GetDescriptor()->name()) : source.content;
}

std::optional<v1::Error> FromJson(const std::string& line, int64_t line_number, google::protobuf::Message* message,
                                  const LineSource& source) {
  const auto status = google::protobuf::util::JsonStringToMessage(line, message);
  if (status.ok()) return std::nullopt;
  v1::Error error;
  error.set_code(static_cast<int>(absl::StatusCode::kInvalidArgument));
  error.set_reason(v1::ERROR_REASON_MALFORMED_MESSAGE);
  error.set_message(absl::StrCat("line ", line_number, " of ", source.name, " is not ", ContentOf(source, *message),
                                 " in JSON: ", OnOneLine({status.message().data(), status.message().size()})));
  error.set_field(source.field);
  error.set_value(absl::StrCat("line ", line_number));
  return error;
}

std::optional<v1::Error> FromLine(const InputLine& line, google::protobuf::Message* message, const LineSource& source) {
  const auto too_large = [&](const char* what, int64_t bytes, int64_t most) {
    v1::Error error;
    error.set_code(static_cast<int>(absl::StatusCode::kResourceExhausted));
    error.set_reason(v1::ERROR_REASON_LIMIT_EXCEEDED);
    error.set_field(source.field);
    error.set_value(absl::StrCat(bytes));
    error.set_bound(absl::StrCat("[0, ", most, "]"));
    error.set_limit("max_message_bytes");
    error.set_message(absl::StrCat("line ", line.number, " of ", source.name, " must ", what, " at most ", most,
                                   " bytes, got ", bytes));
    return error;
  };
  if (line.is_too_long()) return too_large("have", line.byte_count, kMaxLineBytes);
  if (std::optional<v1::Error> error = FromJson(line.text, line.number, message, source)) return error;
  // A number may take more bytes in a message than in JSON.
  const auto bytes = static_cast<int64_t>(message->ByteSizeLong());
  if (bytes > kMaxItemBytes) return too_large("give a message of", bytes, kMaxItemBytes);
  return std::nullopt;
}

}  // namespace logitd::cli
