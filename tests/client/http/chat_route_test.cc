// /v1/chat/completions and /tokenize over HTTP, in front of a server in this process whose model repeats its prompt.
#include <httplib.h>

#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/http/api.h"
#include "client/http/strict_json.h"
#include "client/logitd/connection.h"
#include "gmock/gmock.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/server_builder.h"

namespace logitd::http {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int kContextLength = 64;
constexpr int kEnd = 2;

grpc::Status Refusal(absl::StatusCode code, v1::ErrorReason reason, const std::string& field,
                     const std::string& message) {
  v1::Error error;
  error.set_code(static_cast<int>(code));
  error.set_reason(reason);
  error.set_field(field);
  error.set_message(message);
  google::rpc::Status status;
  status.set_code(error.code());
  status.add_details()->PackFrom(error);
  return grpc::Status(static_cast<grpc::StatusCode>(code), message, status.SerializeAsString());
}

// Renders each message as its bytes, as token ids, and END. "refuse" is refused by the template.
class FakeModels final : public v1::ModelService::Service {
 public:
  grpc::Status ListModels(grpc::ServerContext* /*context*/, const v1::ListModelsRequest* /*request*/,
                          v1::ListModelsResponse* response) override {
    v1::ModelInfo& model = *response->add_models()->mutable_model();
    model.set_name("echo");
    model.set_model_fingerprint("f");
    model.set_context_length(kContextLength);
    return grpc::Status::OK;
  }

  grpc::Status RenderChat(grpc::ServerContext* /*context*/, const v1::RenderChatRequest* request,
                          v1::RenderChatResponse* response) override {
    for (const v1::ChatMessage& message : request->chat().messages()) {
      if (message.content() == "refuse") {
        return Refusal(absl::StatusCode::kInvalidArgument, v1::ERROR_REASON_CHAT_TEMPLATE_FAILED, "chat",
                       "the chat template refuses the conversation: roles must alternate");
      }
      for (const char letter : message.content()) response->add_token_ids(static_cast<unsigned char>(letter));
      response->add_token_ids(kEnd);
    }
    if (request->model() == "bare") {
      return Refusal(absl::StatusCode::kFailedPrecondition, v1::ERROR_REASON_CHAT_TEMPLATE_UNAVAILABLE, "",
                     "the model has no chat template");
    }
    response->mutable_provenance()->set_model("echo");
    std::lock_guard lock(mutex_);
    last_ = *request;
    return grpc::Status::OK;
  }

  grpc::Status GetVocabulary(grpc::ServerContext* /*context*/, const v1::GetVocabularyRequest* /*request*/,
                             grpc::ServerWriter<v1::GetVocabularyResponse>* writer) override {
    v1::GetVocabularyResponse response;
    for (int id = 0; id < 256; ++id) {
      v1::VocabularyToken& token = *response.add_tokens();
      token.set_token_id(id);
      if (id == kEnd) token.set_name("<|im_end|>");
      if (id >= 32) token.set_token_bytes(std::string(1, static_cast<char>(id)));
    }
    writer->Write(response);
    return grpc::Status::OK;
  }

  v1::RenderChatRequest last() {
    std::lock_guard lock(mutex_);
    return last_;
  }

 private:
  std::mutex mutex_;
  v1::RenderChatRequest last_;
};

// Each of the n completions repeats the prompt, a letter a delta, up to its END or max_tokens. After "!" the call
// fails.
class FakeGeneration final : public v1::GenerationService::Service {
 public:
  grpc::Status Generate(grpc::ServerContext* /*context*/, const v1::GenerateRequest* request,
                        grpc::ServerWriter<v1::GenerateResponse>* writer) override {
    {
      std::lock_guard lock(mutex_);
      last_ = *request;
    }
    const auto& prompt = request->prompt().tokens().token_ids();
    if (prompt.size() > kContextLength) {
      return Refusal(absl::StatusCode::kInvalidArgument, v1::ERROR_REASON_CONTEXT_LENGTH_EXCEEDED, "prompt",
                     "prompt must have at most 64 tokens, got more");
    }
    v1::GenerateResponse started;
    started.mutable_started()->mutable_provenance()->set_model("echo");
    writer->Write(started);
    v1::GenerateFinal final;
    final.mutable_provenance()->set_model("echo");
    final.mutable_usage()->set_prompt_token_count(prompt.size());
    for (int i = 0; i < request->n(); ++i) final.add_completions()->set_index(i);
    bool has_ended = false;
    for (int t = 0; t < prompt.size() && !has_ended; ++t) {
      if (prompt[t] == '!') return Refusal(absl::StatusCode::kUnavailable, v1::ERROR_REASON_RUNNER_LOST, "", "lost");
      for (v1::Completion& completion : *final.mutable_completions()) {
        v1::GenerateResponse response;
        v1::CompletionDelta& delta = *response.mutable_delta();
        delta.set_index(completion.index());
        v1::TokenRecord& record = *delta.add_tokens();
        record.set_token_id(prompt[t]);
        record.set_model_log_prob(-0.25 * (t + 1));
        if (prompt[t] == kEnd) {
          delta.mutable_finish()->set_reason(v1::FINISH_REASON_STOP_TOKEN);
          delta.mutable_finish()->set_stop_token_id(kEnd);
        } else {
          record.set_token_bytes(std::string(1, static_cast<char>(prompt[t])));
          delta.set_text(record.token_bytes());
          if (t + 1 == request->stop().max_tokens()) {
            delta.mutable_finish()->set_reason(v1::FINISH_REASON_MAX_TOKENS);
          }
        }
        has_ended = delta.has_finish();
        *completion.add_tokens() = record;
        *completion.mutable_text() += delta.text();
        *completion.mutable_finish() = delta.finish();
        // Unset: true.
        if (!request->has_stream() || request->stream()) writer->Write(response);
      }
      final.mutable_usage()->set_generated_token_count(final.usage().generated_token_count() + request->n());
    }
    v1::GenerateResponse last;
    *last.mutable_final() = final;
    writer->Write(last);
    return grpc::Status::OK;
  }

  v1::GenerateRequest last() {
    std::lock_guard lock(mutex_);
    return last_;
  }

 private:
  std::mutex mutex_;
  v1::GenerateRequest last_;
};

class FakeServerInfo final : public v1::ServerService::Service {
  grpc::Status GetServerInfo(grpc::ServerContext* /*context*/, const v1::GetServerInfoRequest* /*request*/,
                             v1::GetServerInfoResponse* response) override {
    response->mutable_limits()->set_max_tokens(1000);
    response->mutable_limits()->set_max_generated_tokens(100);
    response->mutable_limits()->set_max_alternatives(1000);
    return grpc::Status::OK;
  }
};

class ChatRouteTest : public ::testing::Test {
 protected:
  ChatRouteTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&models_);
    builder.RegisterService(&generation_);
    builder.RegisterService(&info_);
    server_ = builder.BuildAndStart();
    auto connection = client::Dial({.address = "127.0.0.1:" + std::to_string(port)});
    EXPECT_TRUE(connection.ok());
    api_ = std::make_unique<Api>(std::make_unique<Upstream>(
        *std::move(connection),
        CallGate::Options{.places = 4, .max_waiting = 4, .max_wait = std::chrono::milliseconds(100)}));
    api_->AddRoutes(http_);
    EXPECT_TRUE(http_.Listen("127.0.0.1", 0).ok());
    serving_ = std::thread([this] { http_.Serve(); });
  }
  ~ChatRouteTest() override {
    http_.Stop();
    serving_.join();
    api_.reset();
    server_->Shutdown();
  }

  httplib::Result Send(const char* path, const Json& body) {
    httplib::Client client("127.0.0.1", http_.port());
    return client.Post(path, body.dump(), "application/json");
  }

  Json Post(const char* path, const Json& body, int status = 200) {
    const httplib::Result result = Send(path, body);
    EXPECT_TRUE(result) << "no reply";
    if (!result) return {};
    EXPECT_EQ(result->status, status) << result->body;
    return Json::parse(result->body);
  }

  // One message of the user, and further fields.
  static Json Chat(const std::string& content, const Json& fields = Json::object()) {
    Json body = {{"messages", {{{"role", "user"}, {"content", content}}}}};
    body.update(fields);
    return body;
  }

  // The data of all events.
  std::vector<std::string> Stream(Json body) {
    body["stream"] = true;
    const httplib::Result result = Send("/v1/chat/completions", body);
    EXPECT_TRUE(result && result->status == 200);
    if (!result) return {};
    EXPECT_EQ(result->get_header_value("Content-Type"), "text/event-stream");
    std::vector<std::string> events;
    std::string_view rest = result->body;
    constexpr std::string_view kData = "data: ";
    while (rest.starts_with(kData)) {
      const size_t end = rest.find("\n\n");
      events.emplace_back(rest.substr(kData.size(), end - kData.size()));
      rest.remove_prefix(end + 2);
    }
    EXPECT_EQ(rest, "");
    return events;
  }

  FakeModels models_;
  FakeGeneration generation_;
  FakeServerInfo info_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Api> api_;
  HttpServer http_{HttpServer::Options{}};
  std::thread serving_;
};

TEST_F(ChatRouteTest, AConversationIsRenderedAndCompleted) {
  const Json reply =
      Post("/v1/chat/completions", Chat("abc", {{"logprobs", true},
                                                {"top_logprobs", 0},
                                                {"max_completion_tokens", 9},
                                                {"chat_template_kwargs", {{"enable_thinking", false}}}}));
  EXPECT_EQ(reply["object"], "chat.completion");
  EXPECT_THAT(reply["id"].get<std::string>(), ::testing::StartsWith("chatcmpl-"));
  EXPECT_EQ(reply["model"], "echo");
  const Json& choice = reply["choices"][0];
  EXPECT_EQ(choice["message"], Json({{"role", "assistant"}, {"content", "abc"}, {"refusal", nullptr}}));
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_EQ(choice["logprobs"]["content"].size(), 3u);
  EXPECT_EQ(choice["logprobs"]["content"][2]["logprob"], -0.75);
  EXPECT_EQ(choice["logprobs"]["content"][2]["bytes"], Json({99}));
  EXPECT_EQ(reply["usage"]["prompt_tokens"], 4);
  EXPECT_EQ(reply["usage"]["completion_tokens"], 4);
  const v1::RenderChatRequest render = models_.last();
  EXPECT_EQ(render.chat().messages(0).role(), "user");
  ASSERT_EQ(render.chat().template_arguments_size(), 1);
  EXPECT_FALSE(render.chat().template_arguments(0).bool_value());
  const v1::GenerateRequest generate = generation_.last();
  EXPECT_THAT(generate.prompt().tokens().token_ids(), ElementsAre('a', 'b', 'c', kEnd));
  EXPECT_EQ(generate.stop().max_tokens(), 9);
}

TEST_F(ChatRouteTest, WithoutMaxTokensTheContextIsTheEnd) {
  Post("/v1/chat/completions", Chat("abc"));
  EXPECT_EQ(generation_.last().stop().max_tokens(), kContextLength - 4 + 1);
  // The server takes 100 tokens for all completions together.
  Post("/v1/chat/completions", Chat("abc", {{"n", 5}}));
  EXPECT_EQ(generation_.last().stop().max_tokens(), 20);
  Post("/v1/chat/completions", Chat("abc", {{"logprobs", true}, {"top_logprobs", 20}, {"n", 5}}));
  EXPECT_EQ(generation_.last().stop().max_tokens(), 10);
}

TEST_F(ChatRouteTest, EventsOfSeveralChoicesInterleave) {
  const std::vector<std::string> events = Stream(Chat(
      "ab", {{"n", 2}, {"logprobs", true}, {"stream_options", {{"include_usage", true}}}, {"return_token_ids", true}}));
  ASSERT_GT(events.size(), 2u);
  EXPECT_EQ(events.back(), "[DONE]");
  std::vector<int> order;
  std::vector<std::string> texts(2);
  std::vector<int> entries(2);
  for (size_t i = 0; i + 2 < events.size(); ++i) {
    const Json event = Json::parse(events[i]);
    EXPECT_EQ(event["object"], "chat.completion.chunk");
    EXPECT_TRUE(event["usage"].is_null());
    EXPECT_EQ(event.contains("prompt_token_ids"), i == 0);
    const Json& choice = event["choices"][0];
    const auto index = choice["index"].get<size_t>();
    order.push_back(static_cast<int>(index));
    EXPECT_EQ(choice["delta"].contains("role"), i < 2);
    texts[index] += choice["delta"].value("content", "");
    if (!choice["logprobs"].is_null()) entries[index] += static_cast<int>(choice["logprobs"]["content"].size());
    EXPECT_EQ(choice["finish_reason"].is_null(), i < 6) << events[i];
  }
  EXPECT_THAT(order, ElementsAre(0, 1, 0, 1, 0, 1, 0, 1));
  EXPECT_THAT(texts, ElementsAre("ab", "ab"));
  EXPECT_THAT(entries, ElementsAre(2, 2));
  const Json usage = Json::parse(events[events.size() - 2]);
  EXPECT_EQ(usage["choices"], Json::array());
  EXPECT_EQ(usage["usage"]["completion_tokens"], 6);
}

TEST_F(ChatRouteTest, AFailureInTheMiddleIsAnEvent) {
  const std::vector<std::string> events = Stream(Chat("ab!c"));
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(Json::parse(events.back())["error"]["code"], "runner_lost");
}

TEST_F(ChatRouteTest, ErrorsNameTheMessages) {
  for (const bool stream : {false, true}) {
    const Json failed = Post("/v1/chat/completions", Chat("refuse", {{"stream", stream}}), 400)["error"];
    EXPECT_EQ(failed["code"], "chat_template_failed");
    EXPECT_EQ(failed["param"], "messages");
    EXPECT_THAT(failed["message"].get<std::string>(), HasSubstr("roles must alternate"));
    const Json none = Post("/v1/chat/completions", Chat("a", {{"model", "bare"}, {"stream", stream}}), 400)["error"];
    EXPECT_EQ(none["code"], "chat_template_unavailable");
    EXPECT_EQ(none["param"], "messages");
    const Json length = Post("/v1/chat/completions", Chat(std::string(100, 'a'), {{"stream", stream}}), 400)["error"];
    EXPECT_EQ(length["code"], "context_length_exceeded");
    EXPECT_EQ(length["param"], "messages");
    EXPECT_EQ(length["message"], "messages must have at most 64 tokens, got more");
  }
}

TEST_F(ChatRouteTest, MessagesAreTokenized) {
  Json body = Chat("ab", {{"return_token_strs", true}, {"add_generation_prompt", false}});
  const Json reply = Post("/tokenize", body);
  EXPECT_EQ(reply["tokens"], Json({97, 98, kEnd}));
  EXPECT_EQ(reply["count"], 3);
  EXPECT_EQ(reply["max_model_len"], kContextLength);
  EXPECT_EQ(reply["token_strs"], Json({"a", "b", "<|im_end|>"}));
  EXPECT_FALSE(models_.last().chat().add_generation_prompt());
  EXPECT_TRUE(Post("/tokenize", Chat("ab"))["token_strs"].is_null());
  const auto error_of = [this](const std::string& content, const Json& fields) {
    const Json error = Post("/tokenize", Chat(content, fields), 400)["error"];
    return error["code"].get<std::string>() + " " + error["param"].get<std::string>();
  };
  EXPECT_EQ(error_of("a", {{"prompt", "a"}}), "invalid_value messages");
  EXPECT_EQ(error_of("a", {{"add_special_tokens", true}}), "invalid_value add_special_tokens");
  EXPECT_EQ(error_of("a", {{"parse_special_tokens", true}}), "invalid_value parse_special_tokens");
  EXPECT_EQ(error_of("refuse", {{"add_special_tokens", false}}), "chat_template_failed messages");
  EXPECT_EQ(Post("/tokenize", {{"prompt", "a"}, {"add_generation_prompt", true}}, 400)["error"]["param"],
            "add_generation_prompt");
}

}  // namespace
}  // namespace logitd::http
