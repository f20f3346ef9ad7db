#include "client/http/request_error.h"

#include "client/http/strict_json.h"
#include "client/logitd/client_error.h"
#include "gmock/gmock.h"

namespace logitd::http {
namespace {

using ::testing::HasSubstr;

v1::Error ServerError(absl::StatusCode code, v1::ErrorReason reason, const std::string& field = "",
                      const std::string& message = "m") {
  v1::Error error;
  error.set_code(static_cast<int>(code));
  error.set_reason(reason);
  error.set_field(field);
  error.set_message(message);
  return error;
}

TEST(RequestErrorTest, ErrorsOfTheServerHaveHttpsStatus) {
  const struct {
    absl::StatusCode code;
    v1::ErrorReason reason;
    int status;
    const char* type;
    const char* name;
  } kCases[] = {
      {absl::StatusCode::kInvalidArgument, v1::ERROR_REASON_CONTEXT_LENGTH_EXCEEDED, 400, "invalid_request_error",
       "context_length_exceeded"},
      {absl::StatusCode::kFailedPrecondition, v1::ERROR_REASON_TOKENIZER_UNAVAILABLE, 400, "invalid_request_error",
       "tokenizer_unavailable"},
      {absl::StatusCode::kNotFound, v1::ERROR_REASON_MODEL_NOT_FOUND, 404, "not_found_error", "model_not_found"},
      {absl::StatusCode::kResourceExhausted, v1::ERROR_REASON_LIMIT_EXCEEDED, 400, "invalid_request_error",
       "limit_exceeded"},
      {absl::StatusCode::kResourceExhausted, v1::ERROR_REASON_OVERLOADED, 503, "overloaded_error", "overloaded"},
      {absl::StatusCode::kUnavailable, v1::ERROR_REASON_RUNNER_LOST, 503, "overloaded_error", "runner_lost"},
      {absl::StatusCode::kInternal, v1::ERROR_REASON_MODEL_OUTPUT_INVALID, 500, "server_error", "model_output_invalid"},
      {absl::StatusCode::kDeadlineExceeded, v1::ERROR_REASON_DEADLINE_EXCEEDED, 504, "server_error",
       "deadline_exceeded"},
  };
  for (const auto& one : kCases) {
    const ApiError error = ApiErrorOf(ServerError(one.code, one.reason));
    EXPECT_EQ(error.status, one.status) << one.name;
    EXPECT_EQ(error.type, one.type) << one.name;
    EXPECT_EQ(error.code, one.name);
    EXPECT_EQ(error.retry_after.has_value(), one.status == 503) << one.name;
  }
}

TEST(RequestErrorTest, FieldsHaveTheNamesOfThisApi) {
  const struct {
    const char* field;
    const char* param;
  } kCases[] = {
      {"sampling.temperature", "temperature"},
      {"record.top_n", "logprobs"},
      {"prompt_record.top_n", "prompt_logprobs"},
      {"stop.stop_strings[2]", "stop[2]"},
      {"stop.max_tokens", "max_tokens"},
      {"sampling.logit_biases[0].token_id", "logit_bias[0].token_id"},
      {"prompt.tokens.token_ids[3]", "prompt[3]"},
      {"prompt.text", "prompt"},
      {"sampling.allowed_tokens.ids.token_ids[1]", "allowed_token_ids[1]"},
      {"n", "n"},
  };
  for (const auto& one : kCases) {
    const std::string message = std::string(one.field) + " must be 1, got 2";
    const ApiError error = ApiErrorOf(
        ServerError(absl::StatusCode::kInvalidArgument, v1::ERROR_REASON_FIELD_OUT_OF_RANGE, one.field, message));
    EXPECT_EQ(error.param, one.param);
    EXPECT_EQ(error.message, std::string(one.param) + " must be 1, got 2");
  }
}

TEST(RequestErrorTest, AnErrorOfAPromptOfAListNamesItsPlace) {
  const auto error_of = [](const char* field) {
    return ApiErrorOf(
        OfPrompt(client::FromError(ServerError(absl::StatusCode::kInvalidArgument, v1::ERROR_REASON_FIELD_OUT_OF_RANGE,
                                               field, std::string(field) + " must be 1, got 2")),
                 7));
  };
  const ApiError token = error_of("prompt.tokens.token_ids[3]");
  EXPECT_EQ(token.param, "prompt[7][3]");
  EXPECT_EQ(token.message, "prompt[7][3] must be 1, got 2");
  EXPECT_EQ(token.code, "field_out_of_range");
  EXPECT_EQ(error_of("prompt").param, "prompt[7]");
  EXPECT_EQ(error_of("prompt_record.top_n").param, "prompt_logprobs");
  EXPECT_TRUE(OfPrompt(absl::OkStatus(), 7).ok());
}

TEST(RequestErrorTest, AnErrorOfANamedEntryHasItsName) {
  const auto error_of = [](const char* field) {
    const absl::Status status =
        client::FromError(ServerError(absl::StatusCode::kInvalidArgument, v1::ERROR_REASON_FIELD_OUT_OF_RANGE, field,
                                      std::string(field) + " must be 1, got 2"));
    return ApiErrorOf(OfEntries(status, "logit_bias", [](size_t index) { return "entry" + std::to_string(index); }));
  };
  const ApiError bias = error_of("sampling.logit_biases[12].bias");
  EXPECT_EQ(bias.param, "logit_bias.entry12");
  EXPECT_EQ(bias.message, "logit_bias.entry12 must be 1, got 2");
  EXPECT_EQ(bias.code, "field_out_of_range");
  EXPECT_EQ(error_of("sampling.logit_biases").param, "logit_bias");
  EXPECT_EQ(error_of("sampling.top_p").param, "top_p");
  EXPECT_TRUE(OfEntries(absl::OkStatus(), "logit_bias", [](size_t) { return std::string(); }).ok());
}

TEST(RequestErrorTest, TheBodyHasOpenAisShape) {
  const Json body = *ParseJson(ErrorBody(ApiErrorOf(UnknownField("top_q"))));
  EXPECT_EQ(body["error"]["param"], "top_q");
  EXPECT_EQ(body["error"]["code"], "unknown_parameter");
  EXPECT_EQ(body["error"]["type"], "invalid_request_error");
  EXPECT_THAT(body["error"]["message"].get<std::string>(), HasSubstr("top_q"));
  const Json without = *ParseJson(ErrorBody(ApiErrorOf(HttpError(404, "not_found", "", "m"))));
  EXPECT_TRUE(without["error"]["param"].is_null());
}

TEST(RequestErrorTest, WhatPassesIsTriedAgain) {
  const auto status = [](absl::StatusCode code, v1::ErrorReason reason) {
    return client::FromError(ServerError(code, reason));
  };
  EXPECT_TRUE(IsPassing(status(absl::StatusCode::kResourceExhausted, v1::ERROR_REASON_OVERLOADED)));
  EXPECT_TRUE(IsPassing(status(absl::StatusCode::kResourceExhausted, v1::ERROR_REASON_KV_CACHE_FULL)));
  EXPECT_TRUE(IsPassing(status(absl::StatusCode::kUnavailable, v1::ERROR_REASON_RUNNER_LOST)));
  EXPECT_FALSE(IsPassing(status(absl::StatusCode::kResourceExhausted, v1::ERROR_REASON_LIMIT_EXCEEDED)));
  EXPECT_FALSE(IsPassing(status(absl::StatusCode::kInternal, v1::ERROR_REASON_RUNNER_KILLED)));
  EXPECT_FALSE(IsPassing(Overloaded("the queue is full")));
  EXPECT_TRUE(IsServerAway(absl::UnavailableError("connection refused")));
  EXPECT_TRUE(IsServerAway(status(absl::StatusCode::kUnavailable, v1::ERROR_REASON_DRAINING)));
  EXPECT_EQ(ApiErrorOf(absl::UnavailableError("connection refused")).code, "server_unreachable");
}

}  // namespace
}  // namespace logitd::http
