#include "client/http/strict_json.h"

#include "client/http/request_error.h"
#include "gmock/gmock.h"

namespace logitd::http {
namespace {

using ::testing::HasSubstr;

std::string CodeOf(std::string_view text) {
  const auto value = ParseJson(text);
  return value.ok() ? "" : ApiErrorOf(value.status()).code;
}

TEST(StrictJsonTest, AValueIsRead) {
  const auto value =
      ParseJson(R"( {"a": [1, -2, 3.5, 18446744073709551615], "b": {"c": null, "d": true}, "e": "\u00fc"} )");
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ((*value)["a"].size(), 4u);
  EXPECT_EQ((*value)["a"][3].get<uint64_t>(), 18446744073709551615u);
  EXPECT_TRUE((*value)["b"]["c"].is_null());
  EXPECT_EQ((*value)["e"].get<std::string>(), "\u00fc");
}

TEST(StrictJsonTest, KeysKeepTheirOrder) {
  const std::string text = R"({"z":1,"a":{"y":[{"c":1,"b":2}],"x":{}},"m":[]})";
  const auto value = ParseJson(text);
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(value->dump(), text);
}

TEST(StrictJsonTest, ManyKeysTakeNoQuadraticTime) {
  std::string text = "{";
  for (int i = 0; i < 300'000; ++i) text += "\"" + std::to_string(i) + "\":{\"a\":[]},";
  const auto value = ParseJson(text + "\"last\":0}");
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(value->size(), 300'001u);
  EXPECT_EQ(CodeOf(text + "\"0\":0}"), "duplicate_key");
}

TEST(StrictJsonTest, EachFaultHasItsName) {
  const struct {
    const char* text;
    const char* code;
  } kCases[] = {
      {"", "empty_body"},
      {" \n", "empty_body"},
      {"\xef\xbb\xbf{}", "malformed_json"},
      {"{", "malformed_json"},
      {"{} {}", "malformed_json"},
      {"{'a': 1}", "malformed_json"},
      {"{\"a\": 1,}", "malformed_json"},
      {"// remark\n{}", "malformed_json"},
      {"[01]", "malformed_json"},
      {"[NaN]", "not_a_number"},
      {"[Infinity]", "not_a_number"},
      {"{\"temperature\": -Infinity}", "not_a_number"},
      {"[1e999]", "number_overflow"},
      {"[1e-400]", "number_underflow"},
      {"[-0.001e-330]", "number_underflow"},
      {R"({"a": 1, "b": 2, "a": 1})", "duplicate_key"},
      {R"({"x": {"a": 1, "a": 2}})", "duplicate_key"},
      {R"(["\ud800"])", "unpaired_surrogate"},
      {R"(["\udc00 x"])", "unpaired_surrogate"},
      {R"(["\ud83d\u0041"])", "unpaired_surrogate"},
      {"[\"\xff\"]", "invalid_utf8"},
      {"[\"\xed\xa0\x80\"]", "invalid_utf8"},
  };
  for (const auto& one : kCases) EXPECT_EQ(CodeOf(one.text), one.code) << one.text;
  // Nothing stands behind a NUL byte, and nothing is left unread there.
  EXPECT_EQ(CodeOf(std::string("{}\0", 3)), "malformed_json");
  EXPECT_EQ(CodeOf(std::string("{}\0{}", 5)), "malformed_json");
  // A pair is a character, and equal keys of different objects are two keys.
  EXPECT_EQ(CodeOf(R"(["\ud83d\ude00", {"a": 1}, {"a": 2}])"), "");
  EXPECT_EQ(CodeOf(R"({"prompt": "NaN Infinity"})"), "");
}

TEST(StrictJsonTest, DepthIsBounded) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_EQ(CodeOf(nested(kMaxJsonDepth)), "");
  EXPECT_EQ(CodeOf(nested(kMaxJsonDepth + 1)), "too_deep");
  EXPECT_EQ(CodeOf(nested(10'000)), "too_deep");
  EXPECT_EQ(CodeOf(std::string(1'000'000, '[')), "too_deep");
}

TEST(StrictJsonTest, TheNumberOfValuesIsBounded) {
  std::string many = "[0";
  for (int64_t i = 0; i < kMaxJsonValues; ++i) many += ",0";
  EXPECT_EQ(CodeOf(many + "]"), "too_many_values");
}

TEST(StrictJsonTest, AnErrorNamesPlaceAndKey) {
  EXPECT_THAT(ApiErrorOf(ParseJson("{\"a\" 1}").status()).message, HasSubstr("byte 6"));
  EXPECT_THAT(ApiErrorOf(ParseJson(R"({"top_k": 1, "top_k": 2})").status()).message, HasSubstr("\"top_k\""));
}

}  // namespace
}  // namespace logitd::http
