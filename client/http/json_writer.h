// Writes JSON text.
//
//   JsonWriter out;
//   out.BeginObject();
//   out.Field("index", int64_t{0});
//   out.Key("logprob");
//   out.Double(-1.0914);
//   out.EndObject();
//   out.Take();                                     // {"index":0,"logprob":-1.0914}
//
// - A double has the fewest digits that read back as the same bits, and always a point or an exponent, so that no
//   reader takes it for an integer.
// - JSON has no infinity and no NaN: they are null.
// - Strings are UTF-8; bytes that are not become U+FFFD.
//
// One thread.
#ifndef LOGITD_CLIENT_HTTP_JSON_WRITER_H_
#define LOGITD_CLIENT_HTTP_JSON_WRITER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace logitd::http {

class JsonWriter {
 public:
  void BeginObject() { Open('{'); }
  void EndObject() { Close('}'); }
  void BeginArray() { Open('['); }
  void EndArray() { Close(']'); }
  void Key(std::string_view name);

  void String(std::string_view text);
  void Int(int64_t value);
  void Double(double value);
  // Unset: null.
  void Double(const std::optional<double>& value);
  void Bool(bool value);
  void Null();
  // Text that is JSON already.
  void Raw(std::string_view json);

  void Field(std::string_view name, std::string_view text);
  void Field(std::string_view name, const char* text) { Field(name, std::string_view(text)); }
  void Field(std::string_view name, int64_t value);
  void Field(std::string_view name, int value) { Field(name, int64_t{value}); }
  void Field(std::string_view name, bool value);
  void Field(std::string_view name, double value);
  void Field(std::string_view name, const std::optional<double>& value);
  void NullField(std::string_view name);

  size_t size() const { return text_.size(); }
  const std::string& text() const { return text_; }
  std::string Take() { return std::move(text_); }

 private:
  void Open(char bracket);
  void Close(char bracket);
  // The comma before a value or a key.
  void Separate();

  std::string text_;
  bool needs_comma_ = false;
};

// The shortest text that reads back as `value`. REQUIRES: value is finite.
std::string ShortestText(double value);

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_JSON_WRITER_H_
