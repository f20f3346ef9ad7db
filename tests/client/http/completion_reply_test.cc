#include "client/http/completion_reply.h"

#include "client/http/logprob_lists.h"
#include "gmock/gmock.h"

namespace logitd::http {
namespace {

TokenTexts Texts() {
  return TokenTexts(std::make_shared<TokenNames>(TokenNames{{0, "<s>"}, {2, "</s>"}}), /*as_token_ids=*/false);
}

void Add(int32_t id, const std::string& bytes, std::optional<double> log_prob,
         google::protobuf::RepeatedPtrField<v1::TokenRecord>& records) {
  v1::TokenRecord& record = *records.Add();
  record.set_token_id(id);
  record.set_token_bytes(bytes);
  record.set_log_prob_state(log_prob ? v1::LOG_PROB_STATE_PRESENT : v1::LOG_PROB_STATE_FIRST_TOKEN);
  if (log_prob) record.set_model_log_prob(*log_prob);
}

v1::Input TextPrompt(const std::string& text) {
  v1::Input input;
  input.set_text(text);
  return input;
}

TEST(PromptEchoTest, ATextIsRepeatedAsItCame) {
  v1::ScoredPrompt tokens;
  Add(7, "The", std::nullopt, *tokens.mutable_tokens());
  Add(8, " cat", -1.0, *tokens.mutable_tokens());
  const PromptEcho echo = EchoOf(TextPrompt("The cat"), tokens, std::nullopt, Texts());
  EXPECT_EQ(echo.text, "The cat");
  EXPECT_EQ(echo.added_count, 0);
  EXPECT_EQ(echo.skipped_bytes, 0u);
}

TEST(PromptEchoTest, TheSpaceOfSentencePieceIsNotInTheText) {
  v1::ScoredPrompt tokens;
  Add(7, " The", std::nullopt, *tokens.mutable_tokens());
  const PromptEcho echo = EchoOf(TextPrompt("The"), tokens, std::nullopt, Texts());
  EXPECT_EQ(echo.text, "The");
  EXPECT_EQ(echo.skipped_bytes, 1u);
}

TEST(PromptEchoTest, AnAddedBosIsNoTokenOfTheText) {
  v1::ScoredPrompt tokens;
  Add(0, "", std::nullopt, *tokens.mutable_tokens());
  Add(7, "The", -2.0, *tokens.mutable_tokens());
  EXPECT_EQ(EchoOf(TextPrompt("The"), tokens, 0, Texts()).added_count, 1);
  EXPECT_EQ(EchoOf(TextPrompt("The"), tokens, 0, Texts()).text, "The");
  // Given as ids, it is one of the prompt's tokens.
  v1::Input ids;
  ids.mutable_tokens()->add_token_ids(0);
  ids.mutable_tokens()->add_token_ids(7);
  EXPECT_EQ(EchoOf(ids, tokens, std::nullopt, Texts()).added_count, 0);
  EXPECT_EQ(EchoOf(ids, tokens, std::nullopt, Texts()).text, "<s>The");
}

TEST(ChoiceJsonTest, PromptAndCompletionAreOneList) {
  CompletionRequest request;
  request.logprobs = 0;
  request.echo = true;
  PromptParts parts;
  Add(7, "The", std::nullopt, *parts.tokens.mutable_tokens());
  Add(8, " cat", -1.5, *parts.tokens.mutable_tokens());
  parts.echo = EchoOf(TextPrompt("The cat"), parts.tokens, std::nullopt, Texts());
  v1::Completion completion;
  Add(9, " sat", -0.5, *completion.mutable_tokens());
  Add(2, "", -0.25, *completion.mutable_tokens());
  completion.set_text(" sat");
  completion.mutable_finish()->set_reason(v1::FINISH_REASON_STOP_TOKEN);
  completion.mutable_finish()->set_stop_token_id(2);
  // The generated end token is in the lists, and not in the text.
  EXPECT_EQ(ChoiceJson(3, request, parts, completion, Texts()),
            R"({"index":3,"text":"The cat sat","logprobs":{"tokens":["The"," cat"," sat","</s>"],)"
            R"("token_logprobs":[null,-1.5,-0.5,-0.25],)"
            R"("top_logprobs":[null,{" cat":-1.5},{" sat":-0.5},{"</s>":-0.25}],"text_offset":[0,3,7,11]},)"
            R"("finish_reason":"stop","stop_reason":null})");
}

TEST(ChoiceJsonTest, WithoutLogprobsThereAreNoLists) {
  v1::Completion completion;
  completion.set_text("x");
  completion.mutable_finish()->set_reason(v1::FINISH_REASON_MAX_TOKENS);
  EXPECT_EQ(ChoiceJson(0, CompletionRequest(), PromptParts(), completion, Texts()),
            R"({"index":0,"text":"x","logprobs":null,"finish_reason":"length","stop_reason":null})");
}

TEST(ChoiceJsonTest, TokenIdsAreThoseOfPromptAndCompletion) {
  CompletionRequest request;
  request.return_token_ids = true;
  PromptParts parts;
  parts.token_ids = {5, 6};
  v1::Completion completion;
  Add(9, " sat", -0.5, *completion.mutable_tokens());
  completion.mutable_finish()->set_reason(v1::FINISH_REASON_MAX_TOKENS);
  EXPECT_EQ(ChoiceJson(0, request, parts, completion, Texts()),
            R"({"index":0,"text":"","logprobs":null,"finish_reason":"length","stop_reason":null,)"
            R"("prompt_token_ids":[5,6],"token_ids":[9]})");
}

TEST(StopReasonTest, ItNamesWhatTheRequestNamed) {
  v1::StopCriteria stop;
  stop.add_stop_strings("\n");
  stop.add_stop_strings("x");
  stop.add_stop_token_ids(4);
  v1::Finish finish;
  EXPECT_EQ(StopReasonJson(finish, stop), "null");
  finish.set_stop_token_id(2);
  EXPECT_EQ(StopReasonJson(finish, stop), "null");
  finish.set_stop_token_id(4);
  EXPECT_EQ(StopReasonJson(finish, stop), "4");
  v1::Finish by_text;
  by_text.set_stop_string_index(1);
  EXPECT_EQ(StopReasonJson(by_text, stop), "\"x\"");
}

TEST(FinishReasonTest, StopOrLength) {
  const auto reason = [](v1::FinishReason value) {
    v1::Finish finish;
    finish.set_reason(value);
    return std::string(FinishReasonOf(finish));
  };
  EXPECT_EQ(reason(v1::FINISH_REASON_STOP_TOKEN), "stop");
  EXPECT_EQ(reason(v1::FINISH_REASON_STOP_STRING), "stop");
  EXPECT_EQ(reason(v1::FINISH_REASON_NO_ADMISSIBLE_TOKEN), "stop");
  EXPECT_EQ(reason(v1::FINISH_REASON_MAX_TOKENS), "length");
  EXPECT_EQ(reason(v1::FINISH_REASON_CONTEXT_FULL), "length");
}

TEST(UsageSumTest, PromptsCountOnceEach) {
  UsageSum sum;
  v1::Usage usage;
  usage.set_prompt_token_count(5);
  usage.set_generated_token_count(3);
  usage.set_cached_token_count(7);
  sum.Add(usage);
  sum.Add(usage);
  EXPECT_EQ(sum.Json(), R"({"prompt_tokens":10,"completion_tokens":6,"total_tokens":16,)"
                        R"("prompt_tokens_details":{"cached_tokens":10}})");
}

}  // namespace
}  // namespace logitd::http
