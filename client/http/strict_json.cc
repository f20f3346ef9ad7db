#include "client/http/strict_json.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "client/http/request_error.h"

namespace logitd::http {
namespace {

// Shown bytes of a key that occurs twice.
constexpr size_t kMaxShownKeyBytes = 64;

absl::Status Malformed(std::string_view code, const std::string& message) {
  return HttpError(400, code, "", "the body is not acceptable JSON: " + message);
}

using Members = std::vector<std::pair<std::string, Json>>;

// An object or a list whose end has not come.
struct Open {
  bool is_object = false;
  // Of an object; the last one may lack its value.
  Members members = {};
  Json list = Json::array();
};

// Null: there is none.
const std::string* KeyThatOccursTwice(const Members& members) {
  std::vector<const std::string*> keys;
  keys.reserve(members.size());
  for (const auto& member : members) keys.push_back(&member.first);
  std::sort(keys.begin(), keys.end(), [](const std::string* a, const std::string* b) { return *a < *b; });
  const auto found =
      std::adjacent_find(keys.begin(), keys.end(), [](const std::string* a, const std::string* b) { return *a == *b; });
  return found == keys.end() ? nullptr : *found;
}

// Builds the value from the parser's events, and ends the parse at the first fault.
class Builder : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(std::string_view text) : text_(text) {}

  bool null() override { return Add(Json(nullptr)); }
  bool boolean(bool value) override { return Add(Json(value)); }
  bool number_integer(number_integer_t value) override { return Add(Json(value)); }
  bool number_unsigned(number_unsigned_t value) override { return Add(Json(value)); }
  bool number_float(number_float_t value, const string_t& text) override {
    const std::string_view digits = std::string_view(text).substr(0, text.find_first_of("eE"));
    if (value == 0 && digits.find_first_of("123456789") != std::string_view::npos) {
      return Fail("number_underflow", "a number is too small for a double, and is not 0");
    }
    return Add(Json(value));
  }
  bool string(string_t& value) override { return Add(Json(std::move(value))); }
  bool binary(binary_t&) override { return Fail("malformed_json", "it has binary data"); }

  bool start_object(std::size_t) override { return Begin(/*is_object=*/true); }
  bool start_array(std::size_t) override { return Begin(/*is_object=*/false); }
  bool end_object() override { return EndObject(); }
  bool end_array() override {
    Json list = std::move(open_.back().list);
    open_.pop_back();
    Place(std::move(list));
    return true;
  }

  bool key(string_t& name) override {
    open_.back().members.emplace_back(std::move(name), nullptr);
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    return Fail(CodeOf(position, error.what()), Reason(position, error.what()));
  }

  absl::StatusOr<Json> Take() {
    if (!status_.ok()) return status_;
    return std::move(root_);
  }

 private:
  bool Fail(std::string_view code, const std::string& message) {
    if (status_.ok()) status_ = Malformed(code, message);
    return false;
  }

  // Whether the parser stopped at the first letter of `word`. Positions count from 1.
  bool StoppedAt(std::size_t position, std::string_view word) const {
    return position > 0 && position <= text_.size() && text_.substr(position - 1).starts_with(word);
  }

  std::string CodeOf(std::size_t position, std::string_view what) const {
    if (what.find("surrogate") != std::string_view::npos) return "unpaired_surrogate";
    if (what.find("ill-formed UTF-8") != std::string_view::npos) return "invalid_utf8";
    if (what.find("number overflow") != std::string_view::npos) return "number_overflow";
    if (StoppedAt(position, "NaN") || StoppedAt(position, "Infinity")) return "not_a_number";
    return "malformed_json";
  }

  std::string Reason(std::size_t position, std::string_view what) const {
    const std::string place = " (byte " + std::to_string(position) + ")";
    const std::string code = CodeOf(position, what);
    if (code == "unpaired_surrogate") return "a string has an unpaired surrogate" + place;
    if (code == "invalid_utf8") return "a string has bytes that are not UTF-8" + place;
    if (code == "number_overflow") return "a number is too large for a double" + place;
    if (code == "not_a_number") return "NaN and Infinity are not JSON" + place;
    return "it is malformed" + place;
  }

  bool Count() {
    if (++count_ <= kMaxJsonValues) return true;
    return Fail("too_many_values", "it has more than " + std::to_string(kMaxJsonValues) + " values");
  }

  // Puts the value where it belongs.
  void Place(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (open_.back().is_object) {
      open_.back().members.back().second = std::move(value);
    } else {
      open_.back().list.push_back(std::move(value));
    }
  }

  bool Add(Json value) {
    if (!Count()) return false;
    Place(std::move(value));
    return true;
  }

  bool Begin(bool is_object) {
    if (!Count()) return false;
    if (static_cast<int>(open_.size()) >= kMaxJsonDepth) {
      return Fail("too_deep", "it has more than " + std::to_string(kMaxJsonDepth) + " levels");
    }
    open_.push_back({.is_object = is_object});
    return true;
  }

  bool EndObject() {
    Members members = std::move(open_.back().members);
    open_.pop_back();
    if (const std::string* name = KeyThatOccursTwice(members)) {
      const std::string shown =
          Json(name->substr(0, kMaxShownKeyBytes)).dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
      return Fail("duplicate_key", "the key " + shown + " occurs twice in one object");
    }
    Json object = Json::object();
    auto& out = object.get_ref<Json::object_t&>();
    // A member is copied, and not moved, when the object grows. emplace() would look for its key in all others.
    out.reserve(members.size());
    for (auto& [name, value] : members) out.emplace_back(std::move(name), std::move(value));
    Place(std::move(object));
    return true;
  }

  const std::string_view text_;
  Json root_;
  std::vector<Open> open_;
  int64_t count_ = 0;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<Json> ParseJson(std::string_view text) {
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return Malformed("empty_body", "it is empty");
  // The parser reads over the one, and takes the other for the end of the text.
  if (text.starts_with("\xef\xbb\xbf")) return Malformed("malformed_json", "it begins with a byte order mark");
  if (text.find('\0') != std::string_view::npos) return Malformed("malformed_json", "it has a NUL byte");
  Builder builder(text);
  // Builder keeps the reason of a failure.
  (void)Json::sax_parse(text.begin(), text.end(), &builder, nlohmann::detail::input_format_t::json, /*strict=*/true,
                        /*ignore_comments=*/false);
  return builder.Take();
}

const char* KindOf(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "a list";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::boolean:
      return "a boolean";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return "an integer";
    case Json::value_t::number_float:
      if (std::trunc(value.get<double>()) != value.get<double>()) return "a number with a fraction";
      return std::abs(value.get<double>()) >= 9007199254740992.0
                 ? "a number of 2^53 or beyond that is no integer of 64 bits"
                 : "a number";
    default:
      return "something else";
  }
}

}  // namespace logitd::http
