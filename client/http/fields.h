// The fields of a JSON object: which there are, and their values.
//
//   constexpr Field kFields[] = {{"top_k", Use::kServed, "..."},
//                                {"suffix", Use::kRefused, "text after the completion", R"([""])"}, ...};
//   RETURN_IF_ERROR(CheckFields(body, kFields));        // no unknown field, none that is refused
//   FieldReader fields(body);
//   const std::optional<int64_t> top_k = fields.Int("top_k", -1, 1 << 20);
//   ...
//   RETURN_IF_ERROR(fields.status());                   // the first fault
//
// One table for each route is the only list of its fields: CheckFields enforces it, and the tables of docs/openai.md
// are printed from it. null means that a field is unset, everywhere.
//
// One thread.
#ifndef LOGITD_CLIENT_HTTP_FIELDS_H_
#define LOGITD_CLIENT_HTTP_FIELDS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/http/strict_json.h"

namespace logitd::http {

enum class Use {
  kServed,
  // A request with the field is refused, unless the value is one of Field.neutral.
  kRefused,
  // Accepted, whatever its value: it has no effect on the result.
  kIgnored,
};

struct Field {
  const char* name;
  Use use;
  // For docs/openai.md. Of a refused field also the end of the error's message.
  const char* note;
  // The values of a refused field that ask for nothing: a JSON list. null is always one.
  const char* neutral = "[]";
};

using FieldTable = std::span<const Field>;

// Errors: unknown_parameter, unsupported_parameter, invalid_type (not an object). They name the field with its path:
// "stream_options.include".
absl::Status CheckFields(const Json& object, FieldTable table, std::string_view path = "");

// A name that the client chose, for errors: printable ASCII, cut short.
std::string ShownName(std::string_view name);

// "served", "refused", "ignored".
const char* UseName(Use use);

// Typed values. The first fault is kept; after a fault all values are unset.
class FieldReader {
 public:
  // `path`: the object's own, for errors. REQUIRES: object.is_object(); it outlives the reader.
  explicit FieldReader(const Json& object, std::string path = "") : object_(object), path_(std::move(path)) {}

  // Null if unset or null.
  const Json* Find(std::string_view name) const;
  bool Has(std::string_view name) const { return Find(name) != nullptr; }

  std::optional<bool> Bool(std::string_view name);
  bool BoolOr(std::string_view name, bool otherwise) { return Bool(name).value_or(otherwise); }
  // A whole number, also one that is written as 3.0.
  std::optional<int64_t> Int(std::string_view name, int64_t least, int64_t most);
  std::optional<double> Number(std::string_view name);
  std::optional<std::string> String(std::string_view name);
  // Ids in [0, 2^31).
  std::optional<std::vector<int32_t>> TokenIds(std::string_view name);
  // A list of strings, or one string.
  std::optional<std::vector<std::string>> Strings(std::string_view name);

  void Fail(absl::Status status);
  const absl::Status& status() const { return status_; }
  // The field's path: "stream_options.include_usage".
  std::string PathOf(std::string_view name) const;

 private:
  const Json& object_;
  const std::string path_;
  absl::Status status_;
};

// Ids in [0, 2^31) of a list, also those that are written as 3.0. Errors name `path` and the index.
absl::StatusOr<std::vector<int32_t>> TokenIdsOf(const Json& list, std::string_view path);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_FIELDS_H_
