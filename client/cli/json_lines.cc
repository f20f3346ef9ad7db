#include "client/cli/json_lines.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"

namespace logitd::cli {

std::string ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string out;
  // Fails only for well-known types with broken contents, which logitd.v1 has none of.
  if (!google::protobuf::util::MessageToJsonString(message, &out, options).ok()) return "{}";
  return out;
}

std::string ToJsonArray(const std::vector<std::string>& strings) {
  google::protobuf::ListValue list;
  for (const std::string& text : strings) list.add_values()->set_string_value(text);
  return ToJson(list);
}

std::optional<v1::Error> FromJson(const std::string& line, int64_t line_number, google::protobuf::Message* message) {
  const auto status = google::protobuf::util::JsonStringToMessage(line, message);
  if (status.ok()) return std::nullopt;
  v1::Error error;
  error.set_code(static_cast<int>(absl::StatusCode::kInvalidArgument));
  error.set_reason(v1::ERROR_REASON_MALFORMED_MESSAGE);
  error.set_message(absl::StrCat("line ", line_number, " of standard input is not a ", message->GetDescriptor()->name(),
                                 " in JSON: ", std::string(status.message().data(), status.message().size())));
  error.set_field("stdin");
  error.set_value(absl::StrCat("line ", line_number));
  return error;
}

std::vector<InputLine> LineReader::NextChunk(int max_lines, int64_t max_bytes) {
  std::vector<InputLine> lines;
  int64_t chunk_bytes = 0;
  std::string text;
  while (static_cast<int>(lines.size()) < max_lines && chunk_bytes < max_bytes && std::getline(in_, text)) {
    ++line_count_;
    byte_count_ += static_cast<int64_t>(text.size()) + 1;
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    chunk_bytes += static_cast<int64_t>(text.size());
    lines.push_back({std::move(text), line_count_});
  }
  return lines;
}

}  // namespace logitd::cli
