#include "client/cli/json_object.h"

#include <cmath>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/json_lines.h"

namespace logitd::cli {

std::string JsonNumber(double value) {
  if (std::isfinite(value)) return absl::StrFormat("%.17g", value);
  return std::isnan(value) ? "\"NaN\"" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
}

std::string JsonText(std::string_view text) {
  const std::string list = ToJsonArray({std::string(text)});
  return list.substr(1, list.size() - 2);
}

std::string JsonArray(const std::vector<std::string>& items) {
  return absl::StrCat("[", absl::StrJoin(items, ","), "]");
}

std::string JsonNumbers(const std::vector<double>& values) {
  std::vector<std::string> items;
  for (const double value : values) items.push_back(JsonNumber(value));
  return JsonArray(items);
}

JsonObject& JsonObject::Number(std::string_view name, std::optional<double> value) {
  return value ? Number(name, *value) : *this;
}

JsonObject& JsonObject::Integer(std::string_view name, int64_t value) { return Json(name, absl::StrCat(value)); }

JsonObject& JsonObject::Bytes(std::string_view name, std::string_view value) {
  return Json(name, absl::StrCat("\"", absl::Base64Escape(std::string(value)), "\""));
}

JsonObject& JsonObject::Json(std::string_view name, std::string_view value) {
  absl::StrAppend(&members_, members_.empty() ? "" : ",", "\"", std::string(name), "\":", std::string(value));
  return *this;
}

}  // namespace logitd::cli
