#include "client/http/fields.h"

#include <cmath>
#include <limits>
#include <utility>

#include "base/status_macros.h"
#include "base/suggestion.h"
#include "client/http/request_error.h"

namespace logitd::http {
namespace {

// Shown bytes of a name that the client chose.
constexpr size_t kMaxShownNameBytes = 64;

std::string Joined(std::string_view path, std::string_view name) {
  return path.empty() ? std::string(name) : std::string(path) + "." + std::string(name);
}

bool IsNeutral(const Json& value, const Field& field) {
  if (value.is_null()) return true;
  const Json neutral = Json::parse(field.neutral);
  for (const Json& one : neutral) {
    // 1.0 and 1 are the same number, true and 1 are not.
    if (one == value && one.is_boolean() == value.is_boolean()) return true;
  }
  return false;
}

// The names of what is served.
std::vector<std::string> NamesOf(FieldTable table) {
  std::vector<std::string> names;
  for (const Field& field : table) {
    if (field.use == Use::kServed) names.emplace_back(field.name);
  }
  return names;
}

// A whole number within int64. Unset: it is none.
std::optional<int64_t> WholeNumber(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
    return static_cast<int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double number = value.get<double>();
  // From here on a double stands for several whole numbers.
  constexpr double kAmbiguous = 9007199254740992.0;
  if (std::nearbyint(number) != number || std::abs(number) >= kAmbiguous) return std::nullopt;
  return static_cast<int64_t>(number);
}

}  // namespace

const char* UseName(Use use) { return use == Use::kServed ? "served" : use == Use::kRefused ? "refused" : "ignored"; }

std::string ShownName(std::string_view name) {
  std::string out;
  for (const char c : name.substr(0, kMaxShownNameBytes)) out += c > 0x20 && c < 0x7f ? c : '?';
  return out;
}

absl::Status CheckFields(const Json& object, FieldTable table, std::string_view path) {
  if (!object.is_object()) {
    if (!path.empty()) return InvalidType(path, "an object", KindOf(object));
    return HttpError(400, "invalid_type", "", std::string("the body must be an object, got ") + KindOf(object));
  }
  for (const auto& [name, value] : object.items()) {
    const Field* found = nullptr;
    for (const Field& field : table) {
      if (name == field.name) found = &field;
    }
    if (found == nullptr)
      return UnknownField(Joined(path, ShownName(name)), DidYouMean(ShownName(name), NamesOf(table)));
    if (found->use == Use::kRefused && !IsNeutral(value, *found)) {
      return UnsupportedField(Joined(path, name), found->note);
    }
  }
  return absl::OkStatus();
}

std::string FieldReader::PathOf(std::string_view name) const { return Joined(path_, name); }

void FieldReader::Fail(absl::Status status) {
  if (status_.ok()) status_ = std::move(status);
}

const Json* FieldReader::Find(std::string_view name) const {
  const auto found = object_.find(std::string(name));
  return found == object_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<bool> FieldReader::Bool(std::string_view name) {
  const Json* value = Find(name);
  if (value == nullptr || !status_.ok()) return std::nullopt;
  if (value->is_boolean()) return value->get<bool>();
  Fail(InvalidType(PathOf(name), "a boolean", KindOf(*value)));
  return std::nullopt;
}

std::optional<int64_t> FieldReader::Int(std::string_view name, int64_t least, int64_t most) {
  const Json* value = Find(name);
  if (value == nullptr || !status_.ok()) return std::nullopt;
  const std::optional<int64_t> number = WholeNumber(*value);
  if (!number) {
    Fail(InvalidType(PathOf(name), "an integer", value->is_number_unsigned() ? "one above 2^63 - 1" : KindOf(*value)));
    return std::nullopt;
  }
  // Only the bound that is missed: the other one may be that of the type, and the server's own be narrower.
  if (*number < least || *number > most) {
    const std::string bound = *number < least ? "at least " + std::to_string(least) : "at most " + std::to_string(most);
    Fail(InvalidValue(PathOf(name), "must be " + bound + ", got " + std::to_string(*number)));
    return std::nullopt;
  }
  return number;
}

std::optional<double> FieldReader::Number(std::string_view name) {
  const Json* value = Find(name);
  if (value == nullptr || !status_.ok()) return std::nullopt;
  if (value->is_number()) return value->get<double>();
  Fail(InvalidType(PathOf(name), "a number", KindOf(*value)));
  return std::nullopt;
}

std::optional<std::string> FieldReader::String(std::string_view name) {
  const Json* value = Find(name);
  if (value == nullptr || !status_.ok()) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  Fail(InvalidType(PathOf(name), "a string", KindOf(*value)));
  return std::nullopt;
}

std::optional<std::vector<int32_t>> FieldReader::TokenIds(std::string_view name) {
  const Json* value = Find(name);
  if (value == nullptr || !status_.ok()) return std::nullopt;
  auto ids = TokenIdsOf(*value, PathOf(name));
  if (ids.ok()) return *std::move(ids);
  Fail(ids.status());
  return std::nullopt;
}

std::optional<std::vector<std::string>> FieldReader::Strings(std::string_view name) {
  const Json* value = Find(name);
  if (value == nullptr || !status_.ok()) return std::nullopt;
  if (value->is_string()) return std::vector<std::string>{value->get<std::string>()};
  if (!value->is_array()) {
    Fail(InvalidType(PathOf(name), "a string or a list of strings", KindOf(*value)));
    return std::nullopt;
  }
  std::vector<std::string> strings;
  for (size_t i = 0; i < value->size(); ++i) {
    const Json& one = (*value)[i];
    if (!one.is_string()) {
      Fail(InvalidType(PathOf(name) + "[" + std::to_string(i) + "]", "a string", KindOf(one)));
      return std::nullopt;
    }
    strings.push_back(one.get<std::string>());
  }
  return strings;
}

absl::StatusOr<std::vector<int32_t>> TokenIdsOf(const Json& list, std::string_view path) {
  if (!list.is_array()) return InvalidType(path, "a list of token ids", KindOf(list));
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const auto where = [&] { return std::string(path) + "[" + std::to_string(i) + "]"; };
    const std::optional<int64_t> id = WholeNumber(list[i]);
    if (!id && !list[i].is_number_integer()) return InvalidType(where(), "a token id", KindOf(list[i]));
    if (!id || *id < 0 || *id > std::numeric_limits<int32_t>::max()) {
      return InvalidValue(where(), "must be a token id in [0, 2147483647]");
    }
    ids.push_back(static_cast<int32_t>(*id));
  }
  return ids;
}

}  // namespace logitd::http
