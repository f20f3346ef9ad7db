#include "client/http/chat_form.h"

#include "client/http/chat_logprobs.h"
#include "client/http/request_error.h"
#include "client/logitd/client_error.h"
#include "gmock/gmock.h"

namespace logitd::http {
namespace {

TokenTexts Texts(bool as_token_ids = false) {
  return TokenTexts(std::make_shared<TokenNames>(TokenNames{{2, "<|im_end|>"}}), as_token_ids);
}

v1::TokenRecord Record(int32_t id, const std::string& bytes, std::optional<double> log_prob) {
  v1::TokenRecord record;
  record.set_token_id(id);
  record.set_token_bytes(bytes);
  if (log_prob) record.set_model_log_prob(*log_prob);
  return record;
}

void AddTop(int32_t id, const std::string& bytes, double log_prob, v1::TokenRecord& record) {
  record.mutable_top()->add_token_ids(id);
  record.mutable_top()->add_token_bytes(bytes);
  record.mutable_top()->add_model_log_probs(log_prob);
}

v1::Completion Ended() {
  v1::Completion completion;
  *completion.add_tokens() = Record(9, "Hi", -0.5);
  *completion.add_tokens() = Record(2, "", -0.25);
  completion.set_text("Hi");
  completion.mutable_finish()->set_reason(v1::FINISH_REASON_STOP_TOKEN);
  completion.mutable_finish()->set_stop_token_id(2);
  return completion;
}

TEST(ChatLogprobTest, TokenNumberAndBytes) {
  v1::TokenRecord record = Record(9, " a", -1.5);
  AddTop(5, "\xe2\x82", -0.1, record);
  AddTop(2, "", -1.25, record);
  AddTop(9, " a", -1.5, record);
  AddTop(8, "b", -std::numeric_limits<double>::infinity(), record);
  // Bytes of a part of a character; a control token has none; a probability of zero is left out.
  EXPECT_EQ(ChatLogprob(record, 20, Texts()),
            R"({"token":" a","logprob":-1.5,"bytes":[32,97],"top_logprobs":[)"
            R"({"token":"bytes:\\xe2\\x82","logprob":-0.1,"bytes":[226,130]},)"
            R"({"token":"<|im_end|>","logprob":-1.25,"bytes":null},{"token":" a","logprob":-1.5,"bytes":[32,97]}]})");
  // No more than were asked for, without the token itself.
  EXPECT_EQ(ChatLogprob(record, 1, Texts()), R"({"token":" a","logprob":-1.5,"bytes":[32,97],"top_logprobs":[)"
                                             R"({"token":"bytes:\\xe2\\x82","logprob":-0.1,"bytes":[226,130]}]})");
  EXPECT_EQ(ChatLogprob(record, 0, Texts(/*as_token_ids=*/true)),
            R"({"token":"token_id:9","logprob":-1.5,"bytes":[32,97],"top_logprobs":[]})");
  EXPECT_EQ(ChatLogprob(Record(9, "a", std::nullopt), 0, Texts()),
            R"({"token":"a","logprob":null,"bytes":[97],"top_logprobs":[]})");
}

TEST(ChatFormTest, TheEndTokenIsNotInContent) {
  CompletionRequest request;
  request.logprobs = 0;
  EXPECT_EQ(ChatForm().Choice(1, request, PromptParts(), Ended(), Texts()),
            R"({"index":1,"message":{"role":"assistant","content":"Hi","refusal":null},"logprobs":{"content":[)"
            R"({"token":"Hi","logprob":-0.5,"bytes":[72,105],"top_logprobs":[]}],"refusal":null},)"
            R"("finish_reason":"stop","stop_reason":null})");
}

TEST(ChatFormTest, WithoutLogprobsTheyAreNull) {
  EXPECT_EQ(ChatForm().Choice(0, CompletionRequest(), PromptParts(), Ended(), Texts()),
            R"({"index":0,"message":{"role":"assistant","content":"Hi","refusal":null},"logprobs":null,)"
            R"("finish_reason":"stop","stop_reason":null})");
}

TEST(ChatFormTest, AnEmptyMessageHasAnEmptyList) {
  v1::Completion completion = Ended();
  completion.clear_text();
  completion.mutable_tokens()->DeleteSubrange(0, 1);
  CompletionRequest request;
  request.logprobs = 3;
  const Json choice = *ParseJson(ChatForm().Choice(0, request, PromptParts(), completion, Texts()));
  EXPECT_EQ(choice["logprobs"]["content"], Json::array());
  EXPECT_EQ(choice["message"]["content"], "");
}

TEST(ChatFormTest, AStopTextKeepsItsTokens) {
  v1::Completion completion = Ended();
  completion.mutable_finish()->set_reason(v1::FINISH_REASON_MAX_TOKENS);
  CompletionRequest request;
  request.logprobs = 0;
  const Json choice = *ParseJson(ChatForm().Choice(0, request, PromptParts(), completion, Texts()));
  // A control token that did not end the message: it is one of its tokens, and has no bytes.
  EXPECT_EQ(choice["logprobs"]["content"][1]["token"], "<|im_end|>");
  EXPECT_EQ(choice["finish_reason"], "length");
}

TEST(ChatFormTest, ExtensionsKnowTheEndToken) {
  CompletionRequest request;
  request.has_extensions = true;
  request.return_token_ids = true;
  const Json choice = *ParseJson(ChatForm().Choice(0, request, PromptParts(), Ended(), Texts()));
  EXPECT_EQ(choice["token_ids"], Json({9, 2}));
  EXPECT_EQ(choice["logitd"]["end_token"]["token"], "<|im_end|>");
  EXPECT_EQ(choice["logitd"]["end_token"]["logprob"], -0.25);
  v1::Completion cut = Ended();
  cut.mutable_finish()->set_reason(v1::FINISH_REASON_MAX_TOKENS);
  EXPECT_TRUE(
      (*ParseJson(ChatForm().Choice(0, request, PromptParts(), cut, Texts())))["logitd"]["end_token"].is_null());
}

TEST(ChatFormTest, ThePromptBelongsToTheReply) {
  CompletionRequest request;
  EXPECT_TRUE(ChatForm().PromptFields(request, PromptParts(), Texts()).empty());
  request.return_token_ids = true;
  request.prompt_logprobs = 0;
  PromptParts parts;
  parts.token_ids = {5, 6};
  v1::TokenRecord first = Record(5, "a", std::nullopt);
  first.set_log_prob_state(v1::LOG_PROB_STATE_FIRST_TOKEN);
  *parts.tokens.add_tokens() = first;
  *parts.tokens.add_tokens() = Record(6, "b", -2.0);
  const std::vector<NamedJson> fields = ChatForm().PromptFields(request, parts, Texts());
  ASSERT_EQ(fields.size(), 2u);
  EXPECT_EQ(fields[0].name, "prompt_logprobs");
  EXPECT_EQ(fields[0].json, R"([null,{"6":{"logprob":-2.0,"rank":null,"decoded_token":"b"}}])");
  EXPECT_EQ(fields[1].name, "prompt_token_ids");
  EXPECT_EQ(fields[1].json, "[5,6]");
}

TEST(ChatFormTest, EventsBeginWithTheRoleOfEachChoice) {
  CompletionRequest request;
  request.n = 2;
  request.return_token_ids = true;
  PromptParts parts;
  parts.token_ids = {5};
  const auto begin = ChatForm().Events(request, 0, Texts())->Begin(parts);
  ASSERT_EQ(begin.size(), 2u);
  EXPECT_EQ(begin[1].choice, R"({"index":1,"delta":{"role":"assistant","content":""},"logprobs":null,)"
                             R"("finish_reason":null})");
  ASSERT_EQ(begin[0].fields.size(), 1u);
  EXPECT_EQ(begin[0].fields[0].json, "[5]");
  EXPECT_TRUE(begin[1].fields.empty());
}

TEST(ChatFormTest, EventsHaveTextAndItsLogprobs) {
  CompletionRequest request;
  request.n = 2;
  request.logprobs = 0;
  const auto events = ChatForm().Events(request, 0, Texts());
  v1::CompletionDelta delta;
  delta.set_index(1);
  delta.set_text("Hi");
  *delta.add_tokens() = Record(9, "Hi", -0.5);
  EXPECT_EQ(
      events->Add(delta).choice,
      R"({"index":1,"delta":{"content":"Hi"},"logprobs":{"content":[)"
      R"({"token":"Hi","logprob":-0.5,"bytes":[72,105],"top_logprobs":[]}],"refusal":null},"finish_reason":null})");
  // The end: its token is not one of the message's.
  v1::CompletionDelta end;
  end.set_index(1);
  *end.add_tokens() = Record(2, "", -0.25);
  end.mutable_finish()->set_reason(v1::FINISH_REASON_STOP_TOKEN);
  EXPECT_EQ(events->Add(end).choice,
            R"({"index":1,"delta":{},"logprobs":null,"finish_reason":"stop","stop_reason":null})");
}

TEST(OfChatTest, ErrorsOfThePromptAreThoseOfTheMessages) {
  const auto error_of = [](v1::ErrorReason reason, const std::string& field, const std::string& message) {
    v1::Error error;
    error.set_code(static_cast<int>(absl::StatusCode::kInvalidArgument));
    error.set_reason(reason);
    error.set_field(field);
    error.set_message(message);
    return ApiErrorOf(ChatForm().ErrorOf(CompletionRequest(), 0, client::FromError(error)));
  };
  const ApiError length = error_of(v1::ERROR_REASON_CONTEXT_LENGTH_EXCEEDED, "prompt", "prompt must have at most 5");
  EXPECT_EQ(length.status, 400);
  EXPECT_EQ(length.code, "context_length_exceeded");
  EXPECT_EQ(length.param, "messages");
  EXPECT_EQ(length.message, "messages must have at most 5");
  EXPECT_EQ(error_of(v1::ERROR_REASON_CHAT_TEMPLATE_FAILED, "", "roles must alternate").param, "messages");
  EXPECT_EQ(error_of(v1::ERROR_REASON_CHAT_TEMPLATE_FAILED, "chat", "roles must alternate").param, "messages");
  EXPECT_EQ(error_of(v1::ERROR_REASON_FIELD_OUT_OF_RANGE, "chat.messages[1].role", "m").param, "messages[1].role");
  EXPECT_EQ(error_of(v1::ERROR_REASON_FIELDS_EXCLUSIVE, "chat.template_arguments[0].name", "m").param,
            "chat_template_kwargs[0].name");
  EXPECT_EQ(error_of(v1::ERROR_REASON_LIMIT_EXCEEDED, "record.top_n", "m").param, "top_logprobs");
  EXPECT_EQ(error_of(v1::ERROR_REASON_LIMIT_EXCEEDED, "prompt_record.top_n", "m").param, "prompt_logprobs");
  EXPECT_EQ(error_of(v1::ERROR_REASON_FIELD_OUT_OF_RANGE, "sampling.top_p", "m").param, "top_p");
}

}  // namespace
}  // namespace logitd::http
