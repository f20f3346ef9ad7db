#include "client/http/fields.h"

#include <set>

#include "client/http/chat_fields.h"
#include "client/http/completion_fields.h"
#include "client/http/decisions_route.h"
#include "client/http/generation_fields.h"
#include "client/http/generative_scoring_route.h"
#include "client/http/label_score_route.h"
#include "client/http/request_error.h"
#include "client/http/systemone_route.h"
#include "client/http/tokenizer_routes.h"
#include "gmock/gmock.h"

namespace logitd::http {
namespace {

using ::testing::HasSubstr;

constexpr Field kFields[] = {
    {"a", Use::kServed, ""},
    {"suffix", Use::kRefused, "no suffix", R"(["", false, 1])"},
    {"user", Use::kIgnored, ""},
};

std::string CodeOf(const char* json) {
  const absl::Status status = CheckFields(*ParseJson(json), kFields);
  return status.ok() ? "" : ApiErrorOf(status).code + " " + ApiErrorOf(status).param;
}

TEST(FieldsTest, EveryFieldIsServedRefusedOrIgnored) {
  EXPECT_EQ(CodeOf(R"({"a": 1, "user": {"any": ["thing"]}})"), "");
  EXPECT_EQ(CodeOf(R"({"b": null})"), "unknown_parameter b");
  constexpr Field kTable[] = {{"max_tokens", Use::kServed, ""}, {"temperature", Use::kServed, ""}};
  const auto message_of = [&kTable](const char* body) {
    return std::string(CheckFields(*ParseJson(body), kTable).message());
  };
  EXPECT_THAT(message_of(R"({"max_token": 1})"), HasSubstr("unknown field max_token (did you mean max_tokens?)"));
  EXPECT_THAT(message_of(R"({"n_predict": 1})"), HasSubstr("unknown field n_predict: "));
  EXPECT_EQ(CodeOf(R"({"suffix": "x"})"), "unsupported_parameter suffix");
  EXPECT_EQ(CodeOf(R"([1])"), "invalid_type ");
}

TEST(FieldsTest, ARefusedFieldMayAskForNothing) {
  for (const char* json : {R"({"suffix": null})", R"({"suffix": ""})", R"({"suffix": false})", R"({"suffix": 1.0})"}) {
    EXPECT_EQ(CodeOf(json), "") << json;
  }
  EXPECT_EQ(CodeOf(R"({"suffix": true})"), "unsupported_parameter suffix");
}

TEST(FieldsTest, NullIsUnset) {
  const Json body = *ParseJson(R"({"b": null, "i": null, "n": null, "s": null, "l": null})");
  FieldReader fields(body);
  EXPECT_EQ(fields.Bool("b"), std::nullopt);
  EXPECT_EQ(fields.Int("i", 0, 1), std::nullopt);
  EXPECT_EQ(fields.Number("n"), std::nullopt);
  EXPECT_EQ(fields.Strings("s"), std::nullopt);
  EXPECT_EQ(fields.TokenIds("l"), std::nullopt);
  EXPECT_FALSE(fields.Has("b"));
  EXPECT_TRUE(fields.status().ok());
}

TEST(FieldsTest, TypesAreNotGuessed) {
  const struct {
    const char* json;
    void (*read)(FieldReader&);
    const char* message;
  } kCases[] = {
      {R"({"x": "3"})", [](FieldReader& f) { f.Int("x", 0, 9); }, "x must be an integer, got a string"},
      {R"({"x": true})", [](FieldReader& f) { f.Int("x", 0, 9); }, "x must be an integer, got a boolean"},
      {R"({"x": 2.5})", [](FieldReader& f) { f.Int("x", 0, 9); }, "x must be an integer, got a number with a fraction"},
      {R"({"x": 10})", [](FieldReader& f) { f.Int("x", 0, 9); }, "x must be at most 9, got 10"},
      {R"({"x": -1})", [](FieldReader& f) { f.Int("x", 0, 9); }, "x must be at least 0, got -1"},
      {R"({"x": 18446744073709551615})", [](FieldReader& f) { f.Int("x", 0, 9); },
       "x must be an integer, got one above"},
      {R"({"x": 1})", [](FieldReader& f) { f.Bool("x"); }, "x must be a boolean, got an integer"},
      {R"({"x": "0.5"})", [](FieldReader& f) { f.Number("x"); }, "x must be a number, got a string"},
      {R"({"x": [1]})", [](FieldReader& f) { f.String("x"); }, "x must be a string, got a list"},
      {R"({"x": ["a", 2]})", [](FieldReader& f) { f.Strings("x"); }, "x[1] must be a string, got an integer"},
      {R"({"x": [1, "2"]})", [](FieldReader& f) { f.TokenIds("x"); }, "x[1] must be a token id, got a string"},
      {R"({"x": [1, -2]})", [](FieldReader& f) { f.TokenIds("x"); }, "x[1] must be a token id in [0, 2147483647]"},
      {R"({"x": [2147483648]})", [](FieldReader& f) { f.TokenIds("x"); }, "x[0] must be a token id in"},
      {R"({"x": [1.5]})", [](FieldReader& f) { f.TokenIds("x"); }, "x[0] must be a token id"},
  };
  for (const auto& one : kCases) {
    const Json body = *ParseJson(one.json);
    FieldReader fields(body);
    one.read(fields);
    ASSERT_FALSE(fields.status().ok()) << one.json;
    EXPECT_THAT(ApiErrorOf(fields.status()).message, HasSubstr(one.message));
  }
}

TEST(FieldsTest, AWholeNumberMayHaveAPoint) {
  const Json body = *ParseJson(R"({"x": 3.0})");
  FieldReader fields(body);
  EXPECT_EQ(fields.Int("x", 0, 9), 3);
}

TEST(FieldsTest, TheFirstFaultIsKept) {
  const Json body = *ParseJson(R"({"a": "x", "b": "y", "c": 1})");
  FieldReader fields(body, "outer");
  fields.Int("a", 0, 1);
  fields.Bool("b");
  EXPECT_EQ(fields.Int("c", 0, 1), std::nullopt);
  EXPECT_EQ(ApiErrorOf(fields.status()).param, "outer.a");
}

TEST(FieldsTest, NoTableNamesAFieldTwiceAndEveryNeutralValueIsJson) {
  for (const FieldTable table :
       {CompletionFields(), ChatFields(), ChatMessageFields(), ChatPartFields(), StreamOptionFields(),
        ExtensionFields(), LabelScoreFields(), GenerativeScoringFields(), DecisionFields(), DecisionQuestionFields(),
        SystemoneFields(), SystemoneQuestionFields(), TokenizeFields(), DetokenizeFields()}) {
    std::set<std::string> names;
    for (const Field& field : table) {
      EXPECT_TRUE(names.insert(field.name).second) << field.name;
      const auto neutral = ParseJson(field.neutral);
      ASSERT_TRUE(neutral.ok()) << field.name;
      EXPECT_TRUE(neutral->is_array()) << field.name;
      EXPECT_NE(std::string(field.note), "");
    }
  }
}

}  // namespace
}  // namespace logitd::http
