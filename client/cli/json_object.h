// JSON that is no message of the contract, on one line, with the members in the order in which they were added.
//
//   JsonObject object;
//   object.Integer("position", 3).Number("js", 0.25).Text("name", "a \"b\"");
//   object.Done();                                     // {"position":3,"js":0.25,"name":"a \"b\""}
//
// Numbers and texts look as those of ToJson (json_lines.h): doubles read back with the same bits, and -inf is
// "-Infinity". One thread.
#ifndef LOGITD_CLIENT_CLI_JSON_OBJECT_H_
#define LOGITD_CLIENT_CLI_JSON_OBJECT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace logitd::cli {

// A number that reads back with the same bits; "Infinity", "-Infinity" and "NaN" are strings.
std::string JsonNumber(double value);
// A string; `text` is UTF-8.
std::string JsonText(std::string_view text);
// [ITEM,ITEM], where each item is JSON.
std::string JsonArray(const std::vector<std::string>& items);
std::string JsonNumbers(const std::vector<double>& values);

class JsonObject {
 public:
  JsonObject& Number(std::string_view name, double value) { return Json(name, JsonNumber(value)); }
  // Left out if there is no value.
  JsonObject& Number(std::string_view name, std::optional<double> value);
  JsonObject& Integer(std::string_view name, int64_t value);
  JsonObject& Bool(std::string_view name, bool value) { return Json(name, value ? "true" : "false"); }
  JsonObject& Text(std::string_view name, std::string_view value) { return Json(name, JsonText(value)); }
  // As base64.
  JsonObject& Bytes(std::string_view name, std::string_view value);
  // A value that is JSON already.
  JsonObject& Json(std::string_view name, std::string_view value);

  std::string Done() const { return "{" + members_ + "}"; }

 private:
  std::string members_;
};

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_JSON_OBJECT_H_
