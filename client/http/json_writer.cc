#include "client/http/json_writer.h"

#include <charconv>
#include <cmath>

#include "base/utf8.h"

namespace logitd::http {
namespace {

// More than the longest text of a double ("-2.2250738585072014e-308") and of an int64.
constexpr size_t kNumberBytes = 32;

void AppendEscaped(std::string_view text, std::string& out) {
  constexpr char kHex[] = "0123456789abcdef";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += "\\u00";
          out += kHex[static_cast<unsigned char>(c) >> 4];
          out += kHex[static_cast<unsigned char>(c) & 15];
        } else {
          out += c;
        }
    }
  }
}

}  // namespace

std::string ShortestText(double value) {
  char buffer[kNumberBytes];
  const auto end = std::to_chars(buffer, buffer + kNumberBytes, value);
  std::string text(buffer, end.ptr);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

void JsonWriter::Separate() {
  if (needs_comma_) text_ += ',';
  needs_comma_ = true;
}

void JsonWriter::Open(char bracket) {
  Separate();
  text_ += bracket;
  needs_comma_ = false;
}

void JsonWriter::Close(char bracket) {
  text_ += bracket;
  needs_comma_ = true;
}

void JsonWriter::Key(std::string_view name) {
  String(name);
  text_ += ':';
  needs_comma_ = false;
}

void JsonWriter::String(std::string_view text) {
  Separate();
  text_ += '"';
  if (IsUtf8(text)) {
    AppendEscaped(text, text_);
  } else {
    AppendEscaped(ToUtf8(text), text_);
  }
  text_ += '"';
}

void JsonWriter::Int(int64_t value) {
  Separate();
  char buffer[kNumberBytes];
  text_.append(buffer, std::to_chars(buffer, buffer + kNumberBytes, value).ptr);
}

void JsonWriter::Double(double value) {
  if (!std::isfinite(value)) return Null();
  Separate();
  text_ += ShortestText(value);
}

void JsonWriter::Double(const std::optional<double>& value) {
  if (value) {
    Double(*value);
  } else {
    Null();
  }
}

void JsonWriter::Bool(bool value) {
  Separate();
  text_ += value ? "true" : "false";
}

void JsonWriter::Null() {
  Separate();
  text_ += "null";
}

void JsonWriter::Raw(std::string_view json) {
  Separate();
  text_ += json;
}

void JsonWriter::Field(std::string_view name, std::string_view text) {
  Key(name);
  String(text);
}

void JsonWriter::Field(std::string_view name, int64_t value) {
  Key(name);
  Int(value);
}

void JsonWriter::Field(std::string_view name, bool value) {
  Key(name);
  Bool(value);
}

void JsonWriter::Field(std::string_view name, double value) {
  Key(name);
  Double(value);
}

void JsonWriter::Field(std::string_view name, const std::optional<double>& value) {
  Key(name);
  Double(value);
}

void JsonWriter::NullField(std::string_view name) {
  Key(name);
  Null();
}

}  // namespace logitd::http
