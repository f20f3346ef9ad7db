#include "client/http/chat_request.h"

#include "client/http/request_error.h"
#include "gmock/gmock.h"

namespace logitd::http {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ChatRequest Parsed(const std::string& json) {
  const auto request = ParseChatRequest(*ParseJson(json));
  EXPECT_TRUE(request.ok()) << json << ": " << request.status();
  return request.ok() ? *request : ChatRequest();
}

// A request of one message, with further fields.
ChatRequest With(const std::string& fields) {
  return Parsed(R"({"messages": [{"role": "user", "content": "hi"}], )" + fields + "}");
}

ApiError ErrorOf(const std::string& json) {
  const auto request = ParseChatRequest(*ParseJson(json));
  EXPECT_FALSE(request.ok()) << json;
  return request.ok() ? ApiError() : ApiErrorOf(request.status());
}

TEST(ChatRequestTest, MessagesAreTextsAndParts) {
  const ChatRequest request = Parsed(
      R"({"messages": [{"role": "developer", "content": "short"},
                       {"role": "user", "name": "Ann", "content": [{"type": "text", "text": "a"},
                                                                   {"type": "text", "text": "b"}]},
                       {"role": "assistant", "content": null}, {"role": "assistant"}, {"role": "tool", "content": ""},
                       {"role": "critic", "content": []}]})");
  ASSERT_EQ(request.chat.messages_size(), 6);
  // Roles are passed on: the template knows which there are.
  EXPECT_EQ(request.chat.messages(0).role(), "developer");
  EXPECT_EQ(request.chat.messages(1).content(), "a\nb");
  EXPECT_EQ(request.chat.messages(1).name(), "Ann");
  EXPECT_EQ(request.chat.messages(2).content(), "");
  EXPECT_EQ(request.chat.messages(5).role(), "critic");
  EXPECT_FALSE(request.chat.has_add_generation_prompt());
  EXPECT_TRUE(request.completion.prompts.empty());
}

TEST(ChatRequestTest, AReplyMayBeSentBack) {
  // The openai client's model_dump() of a message.
  const ChatRequest request = Parsed(
      R"({"messages": [{"role": "assistant", "content": "yes", "refusal": null, "annotations": null, "audio": null,
                        "function_call": null, "tool_calls": null}]})");
  EXPECT_EQ(request.chat.messages(0).content(), "yes");
}

TEST(ChatRequestTest, MessagesThatAreNone) {
  const struct {
    const char* messages;
    const char* code;
    const char* param;
  } kCases[] = {
      {"null", "missing_required_parameter", "messages"},
      {"[]", "invalid_value", "messages"},
      {R"("hi")", "invalid_type", "messages"},
      {R"(["hi"])", "invalid_type", "messages[0]"},
      {R"([{"content": "hi"}])", "missing_required_parameter", "messages[0].role"},
      {R"([{"role": "user"}])", "missing_required_parameter", "messages[0].content"},
      {R"([{"role": "user", "content": null}])", "missing_required_parameter", "messages[0].content"},
      {R"([{"role": "user", "content": 5}])", "invalid_type", "messages[0].content"},
      {R"([{"role": 5, "content": "a"}])", "invalid_type", "messages[0].role"},
      {R"([{"role": "user", "content": "a"}, {"role": "user", "content": "a", "x": 1}])", "unknown_parameter",
       "messages[1].x"},
      {R"([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}])", "unsupported_parameter",
       "messages[0].content[0].type"},
      {R"([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio"}]}])",
       "unsupported_parameter", "messages[0].content[1].type"},
      {R"([{"role": "user", "content": [{"text": "a"}]}])", "missing_required_parameter",
       "messages[0].content[0].type"},
      {R"([{"role": "user", "content": [{"type": "text"}]}])", "missing_required_parameter",
       "messages[0].content[0].text"},
      {R"([{"role": "user", "content": ["a"]}])", "invalid_type", "messages[0].content[0]"},
      {R"([{"role": "assistant", "tool_calls": [{"id": "1"}]}])", "unsupported_parameter", "messages[0].tool_calls"},
      {R"([{"role": "assistant", "content": "a", "refusal": "no"}])", "unsupported_parameter", "messages[0].refusal"},
      {R"([{"role": "tool", "content": "a", "tool_call_id": "1"}])", "unsupported_parameter",
       "messages[0].tool_call_id"},
  };
  for (const auto& one : kCases) {
    const ApiError error = ErrorOf(std::string(R"({"messages": )") + one.messages + "}");
    EXPECT_EQ(error.status, 400) << one.messages;
    EXPECT_EQ(error.code, one.code) << one.messages;
    EXPECT_EQ(error.param, one.param) << one.messages;
    EXPECT_THAT(error.message, HasSubstr(one.param));
  }
  EXPECT_EQ(ErrorOf("{}").param, "messages");
}

TEST(ChatRequestTest, LogProbsAreABooleanAndADepth) {
  EXPECT_FALSE(With(R"("n": 1)").completion.logprobs.has_value());
  EXPECT_FALSE(With(R"("logprobs": false)").completion.logprobs.has_value());
  EXPECT_EQ(With(R"("logprobs": true)").completion.logprobs, 0);
  EXPECT_EQ(With(R"("logprobs": true)").completion.generate.record().layout(), v1::RECORD_LAYOUT_UNSPECIFIED);
  EXPECT_EQ(With(R"("logprobs": true, "top_logprobs": 20)").completion.generate.record().top_n(), 20);
  // Nothing is asked for.
  EXPECT_FALSE(With(R"("top_logprobs": 0)").completion.logprobs.has_value());
}

TEST(ChatRequestTest, FieldsOfCompletionsAreServed) {
  const ChatRequest request = With(
      R"("model": "tiny", "temperature": 0.7, "top_k": 40, "stop": "\n", "stop_token_ids": [4], "seed": 5, "n": 3,
         "max_completion_tokens": 9, "ignore_eos": true, "prompt_logprobs": 2, "return_token_ids": true,
         "return_tokens_as_token_ids": true, "cache_salt": "me", "logitd": {"rank": true})");
  const v1::GenerateRequest& generate = request.completion.generate;
  EXPECT_EQ(generate.model(), "tiny");
  EXPECT_EQ(generate.sampling().temperature(), 0.7);
  EXPECT_EQ(generate.sampling().seed(), 5u);
  EXPECT_THAT(generate.stop().stop_strings(), ElementsAre("\n"));
  EXPECT_EQ(generate.stop().max_tokens(), 9);
  EXPECT_EQ(generate.n(), 3);
  EXPECT_EQ(generate.prompt_record().top_n(), 2);
  EXPECT_TRUE(generate.record().rank());
  EXPECT_EQ(generate.evaluation().cache_salt(), "me");
  EXPECT_TRUE(request.completion.return_token_ids);
  EXPECT_TRUE(request.completion.tokens_as_token_ids);
}

TEST(ChatRequestTest, MaxTokensHasTwoNamesAndNoDefault) {
  EXPECT_EQ(With(R"("max_tokens": 7)").completion.generate.stop().max_tokens(), 7);
  EXPECT_EQ(With(R"("max_tokens": 7, "max_completion_tokens": 7)").completion.generate.stop().max_tokens(), 7);
  EXPECT_FALSE(With(R"("n": 1)").completion.generate.stop().has_max_tokens());
  EXPECT_FALSE(With(R"("max_tokens": null)").completion.generate.stop().has_max_tokens());
}

TEST(ChatRequestTest, VariablesOfTheTemplate) {
  const ChatRequest request = With(R"("add_generation_prompt": false,
              "chat_template_kwargs": {"a": true, "b": 3, "c": -2.5, "d": "x", "e": null, "f": 9223372036854775807})");
  EXPECT_FALSE(request.chat.add_generation_prompt());
  EXPECT_TRUE(request.chat.has_add_generation_prompt());
  ASSERT_EQ(request.chat.template_arguments_size(), 6);
  EXPECT_EQ(request.chat.template_arguments(0).name(), "a");
  EXPECT_TRUE(request.chat.template_arguments(0).bool_value());
  EXPECT_EQ(request.chat.template_arguments(1).int_value(), 3);
  EXPECT_EQ(request.chat.template_arguments(2).double_value(), -2.5);
  EXPECT_EQ(request.chat.template_arguments(3).string_value(), "x");
  EXPECT_EQ(request.chat.template_arguments(4).value_case(), v1::TemplateArgument::VALUE_NOT_SET);
  EXPECT_EQ(request.chat.template_arguments(5).int_value(), std::numeric_limits<int64_t>::max());
}

TEST(ChatRequestTest, NeutralValuesAskForNothing) {
  With(R"("tools": [], "tool_choice": "none", "functions": [], "function_call": "auto", "modalities": ["text"],
          "response_format": {"type": "text"}, "verbosity": "medium", "continue_final_message": false, "echo": false,
          "add_special_tokens": false, "parallel_tool_calls": true, "user": "u", "metadata": {"a": "b"}, "store": true,
          "service_tier": "auto", "prompt_cache_retention": "24h", "include_reasoning": true, "audio": null,
          "reasoning_effort": null, "web_search_options": null, "prediction": null, "chat_template": null,
          "documents": null, "stream_options": null, "logit_bias": null, "top_logprobs": null, "logprobs": null)");
}

TEST(ChatRequestTest, RefusalsNameTheField) {
  const struct {
    const char* field;
    const char* code;
    const char* param;
  } kCases[] = {
      {R"("top_q": 1)", "unknown_parameter", "top_q"},
      {R"("prompt": "a")", "unknown_parameter", "prompt"},
      {R"("logprobs": 5)", "invalid_type", "logprobs"},
      {R"("top_logprobs": 5)", "invalid_value", "top_logprobs"},
      {R"("logprobs": false, "top_logprobs": 5)", "invalid_value", "top_logprobs"},
      {R"("logprobs": true, "top_logprobs": -1)", "invalid_value", "top_logprobs"},
      {R"("max_tokens": 1, "max_completion_tokens": 2)", "invalid_value", "max_completion_tokens"},
      {R"("tools": [{"type": "function"}])", "unsupported_parameter", "tools"},
      {R"("tool_choice": "required")", "unsupported_parameter", "tool_choice"},
      {R"("response_format": {"type": "json_object"})", "unsupported_parameter", "response_format"},
      {R"("modalities": ["text", "audio"])", "unsupported_parameter", "modalities"},
      {R"("reasoning_effort": "low")", "unsupported_parameter", "reasoning_effort"},
      {R"("verbosity": "low")", "unsupported_parameter", "verbosity"},
      {R"("web_search_options": {})", "unsupported_parameter", "web_search_options"},
      {R"("prediction": {"type": "content"})", "unsupported_parameter", "prediction"},
      {R"("guided_json": {})", "unsupported_parameter", "guided_json"},
      {R"("structured_outputs": {})", "unsupported_parameter", "structured_outputs"},
      {R"("continue_final_message": true)", "unsupported_parameter", "continue_final_message"},
      {R"("chat_template": "{{ 1 }}")", "unsupported_parameter", "chat_template"},
      {R"("parse_special_tokens": true)", "unsupported_parameter", "parse_special_tokens"},
      {R"("chat_template_kwargs": [])", "invalid_type", "chat_template_kwargs"},
      {R"("chat_template_kwargs": {"a": [1]})", "invalid_type", "chat_template_kwargs.a"},
      {R"("chat_template_kwargs": {"a": 9223372036854775808})", "invalid_value", "chat_template_kwargs.a"},
      {R"("add_generation_prompt": 1)", "invalid_type", "add_generation_prompt"},
      {R"("stream": true, "prompt_logprobs": 1)", "invalid_value", "prompt_logprobs"},
      {R"("stream": true, "logitd": {})", "invalid_value", "logitd"},
      {R"("stream": true, "best_of": 2)", "invalid_value", "best_of"},
  };
  for (const auto& one : kCases) {
    const ApiError error =
        ErrorOf(std::string(R"({"messages": [{"role": "user", "content": "a"}], )") + one.field + "}");
    EXPECT_EQ(error.status, 400) << one.field;
    EXPECT_EQ(error.code, one.code) << one.field;
    EXPECT_EQ(error.param, one.param) << one.field;
    EXPECT_THAT(error.message, HasSubstr(one.param));
  }
}

TEST(DefaultMaxTokensTest, ToTheEndOfTheContextOrTheServersLimits) {
  v1::Limits limits;
  limits.set_max_tokens(1000);
  limits.set_max_generated_tokens(1200);
  limits.set_max_alternatives(10'000);
  v1::GenerateRequest request;
  request.set_n(1);
  // The last token of a completion is never evaluated.
  EXPECT_EQ(DefaultMaxTokens(request, 100, 500, limits), 401);
  EXPECT_EQ(DefaultMaxTokens(request, 500, 500, limits), 1);
  // The server says that the prompt is too long.
  EXPECT_EQ(DefaultMaxTokens(request, 900, 500, limits), 1);
  EXPECT_EQ(DefaultMaxTokens(request, 100, 5000, limits), 1000);
  request.set_n(4);
  EXPECT_EQ(DefaultMaxTokens(request, 100, 5000, limits), 300);
  request.set_best_of(6);
  EXPECT_EQ(DefaultMaxTokens(request, 100, 5000, limits), 200);
  request.mutable_record()->set_top_n(20);
  EXPECT_EQ(DefaultMaxTokens(request, 100, 5000, limits), 83);
  request.mutable_prompt_record()->set_top_n(40);
  EXPECT_EQ(DefaultMaxTokens(request, 100, 5000, limits), 50);
}

}  // namespace
}  // namespace logitd::http
