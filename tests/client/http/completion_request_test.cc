#include "client/http/completion_request.h"

#include "client/http/request_error.h"
#include "gmock/gmock.h"

namespace logitd::http {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

CompletionRequest Parsed(const std::string& json) {
  const auto request = ParseCompletionRequest(*ParseJson(json));
  EXPECT_TRUE(request.ok()) << json << ": " << request.status();
  return request.ok() ? *request : CompletionRequest();
}

ApiError ErrorOf(const std::string& json) {
  const auto request = ParseCompletionRequest(*ParseJson(json));
  EXPECT_FALSE(request.ok()) << json;
  return request.ok() ? ApiError() : ApiErrorOf(request.status());
}

TEST(CompletionRequestTest, PromptsAreTextsIdsAndListsOfEither) {
  EXPECT_EQ(Parsed(R"({"prompt": "a"})").prompts[0].text(), "a");
  const CompletionRequest ids = Parsed(R"({"prompt": [5, 6]})");
  ASSERT_EQ(ids.prompts.size(), 1u);
  EXPECT_THAT(ids.prompts[0].tokens().token_ids(), ElementsAre(5, 6));
  EXPECT_EQ(Parsed(R"({"prompt": ["a", "b"]})").prompts.size(), 2u);
  const CompletionRequest lists = Parsed(R"({"prompt": [[5, 6], [7]]})");
  ASSERT_EQ(lists.prompts.size(), 2u);
  EXPECT_THAT(lists.prompts[1].tokens().token_ids(), ElementsAre(7));
  const CompletionRequest mixed = Parsed(R"({"prompt": ["a", [7]]})");
  EXPECT_EQ(mixed.prompts[0].text(), "a");
  EXPECT_THAT(mixed.prompts[1].tokens().token_ids(), ElementsAre(7));
}

TEST(CompletionRequestTest, PromptsThatAreNone) {
  EXPECT_EQ(ErrorOf("{}").code, "missing_required_parameter");
  EXPECT_EQ(ErrorOf(R"({"prompt": null})").code, "missing_required_parameter");
  EXPECT_EQ(ErrorOf(R"({"prompt": []})").code, "invalid_value");
  EXPECT_EQ(ErrorOf(R"({"prompt": {"role": "user"}})").param, "prompt");
  EXPECT_EQ(ErrorOf(R"({"prompt": 5})").code, "invalid_type");
  EXPECT_EQ(ErrorOf(R"({"prompt": [5, "a"]})").param, "prompt[1]");
  EXPECT_EQ(ErrorOf(R"({"prompt": ["a", 5]})").param, "prompt[1]");
  EXPECT_EQ(ErrorOf(R"({"prompt": [[5], [6.5]]})").param, "prompt[1][0]");
  EXPECT_EQ(ErrorOf(R"({"prompt": [-1]})").param, "prompt[0]");
}

TEST(CompletionRequestTest, DefaultsAreThoseOfOpenAi) {
  const CompletionRequest request = Parsed(R"({"prompt": "a"})");
  EXPECT_EQ(request.generate.stop().max_tokens(), 16);
  EXPECT_EQ(request.n, 1);
  EXPECT_FALSE(request.generate.sampling().has_temperature());
  EXPECT_FALSE(request.generate.has_prompt_record());
  EXPECT_FALSE(request.generate.tokenization().has_add_special_tokens());
  EXPECT_TRUE(request.generate.tokenization().parse_special_tokens());
  // Nothing in the reply needs records.
  EXPECT_EQ(request.generate.record().layout(), v1::RECORD_LAYOUT_NONE);
}

TEST(CompletionRequestTest, TheRequestOfAHarness) {
  const CompletionRequest request =
      Parsed(R"({"model": "tiny", "prompt": [[1, 2, 3]], "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234,
                 "echo": true})");
  const v1::GenerateRequest generate = request.RequestOf(0);
  EXPECT_EQ(generate.model(), "tiny");
  EXPECT_THAT(generate.prompt().tokens().token_ids(), ElementsAre(1, 2, 3));
  EXPECT_EQ(generate.sampling().temperature(), 0);
  EXPECT_EQ(generate.sampling().seed(), 1234u);
  EXPECT_EQ(generate.stop().max_tokens(), 1);
  EXPECT_EQ(generate.record().top_n(), 1);
  EXPECT_EQ(generate.prompt_record().top_n(), 1);
  EXPECT_EQ(generate.record().layout(), v1::RECORD_LAYOUT_UNSPECIFIED);
  // A place in a batch must not change a result.
  EXPECT_FALSE(generate.has_first_sequence_key());
}

TEST(CompletionRequestTest, NullIsUnsetEverywhere) {
  const CompletionRequest request = Parsed(
      R"({"model": null, "prompt": "a", "seed": null, "stop": null, "logprobs": null, "suffix": null, "best_of": null,
          "logit_bias": null, "stream": null, "stream_options": null, "max_tokens": null, "n": null, "top_p": null,
          "logitd": null, "guided_json": null, "prompt_logprobs": null, "user": null, "echo": null})");
  EXPECT_FALSE(request.generate.sampling().has_seed());
  EXPECT_EQ(request.generate.stop().max_tokens(), 16);
  EXPECT_FALSE(request.logprobs.has_value());
  EXPECT_FALSE(request.stream);
}

TEST(CompletionRequestTest, SamplingFields) {
  const CompletionRequest request = Parsed(
      R"({"prompt": "a", "temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1,
          "frequency_penalty": 0.5, "presence_penalty": -0.5, "logit_bias": {"50": -100, "7": 1.5}, "min_tokens": 2,
          "max_completion_tokens": 9, "stop": ["\n", "x"], "stop_token_ids": [4], "ignore_eos": true, "seed": -1,
          "allowed_token_ids": [1, 2], "cache_salt": "me", "add_special_tokens": false, "parse_special_tokens": false})");
  const v1::SamplingParams& sampling = request.generate.sampling();
  EXPECT_EQ(sampling.temperature(), 0.7);
  EXPECT_EQ(sampling.top_k(), 40);
  EXPECT_EQ(sampling.seed(), 0xffffffffffffffffu);
  EXPECT_EQ(sampling.logit_biases_size(), 2);
  EXPECT_THAT(sampling.allowed_tokens().ids().token_ids(), ElementsAre(1, 2));
  const v1::StopCriteria& stop = request.generate.stop();
  EXPECT_EQ(stop.max_tokens(), 9);
  EXPECT_EQ(stop.min_tokens(), 2);
  EXPECT_THAT(stop.stop_strings(), ElementsAre("\n", "x"));
  EXPECT_THAT(stop.stop_token_ids(), ElementsAre(4));
  EXPECT_TRUE(stop.ignore_eos());
  EXPECT_EQ(request.generate.evaluation().cache_salt(), "me");
  EXPECT_FALSE(request.generate.tokenization().add_special_tokens());
  EXPECT_TRUE(request.generate.tokenization().has_add_special_tokens());
  EXPECT_FALSE(request.generate.tokenization().parse_special_tokens());
  EXPECT_EQ(Parsed(R"({"prompt": "a", "top_k": -1})").generate.sampling().top_k(), 0);
  EXPECT_EQ(Parsed(R"({"prompt": "a", "seed": 18446744073709551615})").generate.sampling().seed(), ~uint64_t{0});
}

TEST(CompletionRequestTest, BestOfIsThereOnlyIfItChooses) {
  EXPECT_FALSE(Parsed(R"({"prompt": "a", "n": 1, "best_of": 1})").generate.has_best_of());
  EXPECT_EQ(Parsed(R"({"prompt": "a", "n": 3, "best_of": 3})").generate.best_of(), 3);
  EXPECT_EQ(Parsed(R"({"prompt": "a", "n": 2, "best_of": 3})").generate.best_of(), 3);
  EXPECT_EQ(ErrorOf(R"({"prompt": "a", "n": 3, "best_of": 2})").param, "best_of");
  EXPECT_EQ(ErrorOf(R"({"prompt": "a", "best_of": 2, "stream": true})").param, "best_of");
}

TEST(CompletionRequestTest, PromptRecordsAreMadeForWhatNeedsThem) {
  EXPECT_FALSE(Parsed(R"({"prompt": "a", "echo": true})").generate.has_prompt_record());
  EXPECT_FALSE(Parsed(R"({"prompt": "a", "logprobs": 2})").generate.has_prompt_record());
  EXPECT_TRUE(Parsed(R"({"prompt": "a", "echo": true, "logprobs": 0})").generate.has_prompt_record());
  const CompletionRequest both = Parsed(R"({"prompt": "a", "echo": true, "logprobs": 2, "prompt_logprobs": 5})");
  EXPECT_EQ(both.generate.prompt_record().top_n(), 5);
  EXPECT_TRUE(both.generate.prompt_record().rank());
  EXPECT_EQ(both.generate.record().top_n(), 2);
  // Without echo the lists do not look at the prompt.
  EXPECT_EQ(Parsed(R"({"prompt": "a", "logprobs": 9, "prompt_logprobs": 5})").generate.prompt_record().top_n(), 5);
}

TEST(CompletionRequestTest, RefusalsNameTheField) {
  const struct {
    const char* field;
    const char* code;
    const char* param;
  } kCases[] = {
      {R"("top_q": 1)", "unknown_parameter", "top_q"},
      {R"("suffix": "b")", "unsupported_parameter", "suffix"},
      {R"("guided_json": {})", "unsupported_parameter", "guided_json"},
      {R"("response_format": {"type": "json_object"})", "unsupported_parameter", "response_format"},
      {R"("logprobs": true)", "invalid_type", "logprobs"},
      {R"("logprobs": -1)", "invalid_value", "logprobs"},
      {R"("n": 0)", "invalid_value", "n"},
      {R"("max_tokens": -1)", "invalid_value", "max_tokens"},
      {R"("max_tokens": 1, "max_completion_tokens": 2)", "invalid_value", "max_completion_tokens"},
      {R"("temperature": "hot")", "invalid_type", "temperature"},
      {R"("logit_bias": {"x": 1})", "invalid_value", "logit_bias.x"},
      {R"("logit_bias": {"-1": 1})", "invalid_value", "logit_bias.-1"},
      {R"("logit_bias": {"5": "1"})", "invalid_type", "logit_bias.5"},
      {R"("seed": 1.5)", "invalid_type", "seed"},
      {R"("stop": [1])", "invalid_type", "stop[0]"},
      {R"("stream_options": {"include_usage": true})", "invalid_value", "stream_options"},
      {R"("stream": true, "stream_options": {"x": 1})", "unknown_parameter", "stream_options.x"},
      {R"("stream": true, "prompt_logprobs": 1)", "invalid_value", "prompt_logprobs"},
      {R"("logitd": {"x": 1})", "unknown_parameter", "logitd.x"},
      {R"("logitd": true)", "invalid_type", "logitd"},
  };
  for (const auto& one : kCases) {
    const ApiError error = ErrorOf(std::string(R"({"prompt": "a", )") + one.field + "}");
    EXPECT_EQ(error.status, 400) << one.field;
    EXPECT_EQ(error.code, one.code) << one.field;
    EXPECT_EQ(error.param, one.param) << one.field;
    EXPECT_THAT(error.message, HasSubstr(one.param));
  }
}

TEST(CompletionRequestTest, TheNumberOfPromptsIsBounded) {
  Json body = {{"prompt", Json::array()}};
  for (size_t i = 0; i < kMaxPrompts + 1; ++i) body["prompt"].push_back("a");
  EXPECT_EQ(ErrorOf(body.dump()).param, "prompt");
}

}  // namespace
}  // namespace logitd::http
