// A vocabulary on its way from a runner to a client: kinds and names of tokens, in messages of bounded size.
#include <string>
#include <vector>

#include "core/limits.h"
#include "logitd/v1/model_runner_service.grpc.pb.h"
#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::ErrorOf;
using logitd::testing::FakeModel;
using logitd::testing::FakeTokenBytes;
using logitd::testing::FakeTokens;
using logitd::testing::kFakeBos;
using logitd::testing::kFakeEos;
using logitd::testing::Parse;

class VocabularyTest : public logitd::testing::InProcessServer {
 protected:
  grpc::Status Get(std::vector<v1::GetVocabularyResponse>& responses, const std::string& model = "") {
    const auto context = Context();
    v1::GetVocabularyRequest request;
    request.set_model(model);
    const auto reader = models_->GetVocabulary(context.get(), request);
    responses.clear();
    v1::GetVocabularyResponse response;
    while (reader->Read(&response)) responses.push_back(response);
    return reader->Finish();
  }
  // Scores a text with a control token's name in it.
  void ScoreWithName() {
    std::vector<v1::ScoreResponse> responses;
    ASSERT_EQ(Describe(Score(R"(items { context { text: "<s>the" }
                  continuations { text: " cat" } }
                  tokenization { parse_special_tokens: true })",
                             &responses)),
              "OK");
    const auto& scored = responses[0].item().continuations(0);
    ASSERT_EQ(scored.score().tokens_size(), 1);
    EXPECT_FALSE(scored.boundary().text_changed());
  }
};

TEST_F(VocabularyTest, ARunnerThatNamesItsControlTokensAttaches) {
  Attach({.names_control_tokens = true});
  v1::TokenizeResponse tokenized;
  ASSERT_TRUE(models_
                  ->Tokenize(Context().get(),
                             Parse<v1::TokenizeRequest>(
                                 "texts: \"the cat\" token_bytes: true tokenization { add_special_tokens: true }"),
                             &tokenized)
                  .ok());
  ASSERT_EQ(tokenized.texts(0).token_ids(0), kFakeBos);
  EXPECT_EQ(tokenized.texts(0).token_bytes(0), "");
  EXPECT_EQ(tokenized.texts(0).token_bytes(1), "the");
}

TEST_F(VocabularyTest, NamesAreTakenFromTheVocabulary) {
  Attach({.names_control_tokens = true});
  ScoreWithName();
  EXPECT_EQ(fake_->model().detokenize_count(), 0);
}

TEST_F(VocabularyTest, NamesThatItDoesNotHaveAreAskedFor) {
  Attach({.names_control_tokens = false});
  ScoreWithName();
  ScoreWithName();
  EXPECT_EQ(fake_->model().detokenize_count(), 1);
}

TEST_F(VocabularyTest, EveryTokenIsTold) {
  Attach({.names_control_tokens = true, .unused_token_ids = {7}});
  std::vector<v1::GetVocabularyResponse> responses;
  ASSERT_EQ(Describe(Get(responses)), "OK");
  ASSERT_EQ(responses.size(), 1u);
  v1::ListModelsResponse models;
  ASSERT_TRUE(models_->ListModels(Context().get(), {}, &models).ok());
  EXPECT_EQ(responses[0].model(), "fake");
  EXPECT_EQ(responses[0].vocab_size(), 64);
  EXPECT_EQ(responses[0].vocab_fingerprint(), models.models(0).model().vocab_fingerprint());
  ASSERT_EQ(responses[0].tokens_size(), 64);
  for (int32_t id = 0; id < 64; ++id) {
    const v1::VocabularyToken& token = responses[0].tokens(id);
    const bool is_control = id == kFakeBos || id == kFakeEos;
    EXPECT_EQ(token.token_id(), id);
    EXPECT_EQ(token.kind(), is_control ? v1::TOKEN_KIND_CONTROL
                            : id == 7  ? v1::TOKEN_KIND_UNUSED
                                       : v1::TOKEN_KIND_TEXT);
    EXPECT_EQ(token.token_bytes(), FakeTokenBytes(id));
    EXPECT_EQ(token.name(), id == kFakeBos ? "<s>" : id == kFakeEos ? "</s>" : "");
    EXPECT_EQ(token.ends_text(), id == kFakeEos);
  }
}

TEST_F(VocabularyTest, ARunnerThatDoesNotTellItIsNamed) {
  Attach({.name = "mute", .vocabulary = false});
  std::vector<v1::GetVocabularyResponse> responses;
  const grpc::Status status = Get(responses, "mute");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(Describe(status), "VOCABULARY_UNAVAILABLE of ");
  EXPECT_THAT(status.error_message(), ::testing::HasSubstr("mute"));
  EXPECT_EQ(Describe(Get(responses, "other")), "MODEL_NOT_FOUND of model");
}

// 40 tokens of 64 KiB, the longest that there may be, and a name that is not UTF-8: 15 of them are 983,040 bytes, 16
// are 1 MiB, which is what a message holds.
TEST_F(VocabularyTest, MessagesStaySmall) {
  v1::AttachRequest vocabulary;
  for (int i = 0; i < 40; ++i) {
    vocabulary.mutable_vocabulary()->mutable_token_bytes()->append(65536, static_cast<char>('a' + i % 26));
    vocabulary.mutable_vocabulary()->add_token_lengths(65536);
  }
  vocabulary.mutable_vocabulary()->mutable_token_bytes()->append("\xff");
  vocabulary.mutable_vocabulary()->add_token_lengths(1);
  vocabulary.mutable_vocabulary()->add_control_token_ids(40);
  v1::AttachRequest hello;
  const FakeModel model;
  *hello.mutable_hello()->mutable_model() = model.Info();
  *hello.mutable_hello()->mutable_capabilities() = model.Capabilities();
  *hello.mutable_hello()->mutable_capacity() = model.Capacity();
  hello.mutable_hello()->set_api_major_version(kApiMajorVersion);
  hello.mutable_hello()->mutable_model()->set_vocab_size(41);
  hello.mutable_hello()->mutable_model()->set_vocab_fingerprint(runner::VocabFingerprint(vocabulary.vocabulary()));
  const auto stub = v1::ModelRunnerService::NewStub(
      grpc::CreateChannel(server_->runner_address(), grpc::InsecureChannelCredentials()));
  const auto context = Context();
  const auto stream = stub->Attach(context.get());
  ASSERT_TRUE(stream->Write(hello));
  ASSERT_TRUE(stream->Write(vocabulary));
  ASSERT_TRUE(server_->WaitForModel("fake", [] { return false; }));
  std::vector<v1::GetVocabularyResponse> responses;
  ASSERT_EQ(Describe(Get(responses)), "OK");
  std::vector<int> sizes;
  int32_t next = 0;
  for (const v1::GetVocabularyResponse& response : responses) {
    sizes.push_back(response.tokens_size());
    EXPECT_EQ(response.vocab_size(), 41);
    for (const v1::VocabularyToken& token : response.tokens()) {
      EXPECT_EQ(token.token_id(), next++);
      if (token.token_id() < 40) {
        EXPECT_EQ(token.token_bytes(), std::string(65536, static_cast<char>('a' + token.token_id() % 26)));
      }
    }
  }
  EXPECT_THAT(sizes, ::testing::ElementsAre(16, 16, 9));
  EXPECT_EQ(responses.back().tokens(8).name(), "") << "no text holds it";
  stream->WritesDone();
}

TEST_F(VocabularyTest, WhatTheModelIsIsListed) {
  Attach({.end_token_ids = {5, kFakeEos}, .eos_token_id = 5, .hidden_width = 96, .warnings = {"odd", "old"}});
  v1::ListModelsResponse models;
  ASSERT_TRUE(models_->ListModels(Context().get(), {}, &models).ok());
  const v1::ModelInfo& model = models.models(0).model();
  EXPECT_THAT(model.end_token_ids(), ::testing::ElementsAre(kFakeEos, 5));
  EXPECT_EQ(model.eos_token_id(), 5);
  EXPECT_EQ(model.hidden_width(), 96);
  EXPECT_THAT(model.warnings(), ::testing::ElementsAre("odd", "old"));
}

// The context of an empty one: BOS; else the EOS, not the smallest token that ends a text; else the only one that does.
TEST_F(VocabularyTest, TheEosStandsForAnEmptyContext) {
  const struct {
    const char* name;
    logitd::testing::FakeModelOptions options;
    std::optional<int32_t> implicit;
  } cases[] = {
      {"bos", {.name = "bos", .end_token_ids = {1, 5, 9}, .eos_token_id = 5}, 0},
      {"eos", {.name = "eos", .has_bos = false, .end_token_ids = {1, 5, 9}, .eos_token_id = 5}, 5},
      {"one", {.name = "one", .has_bos = false, .end_token_ids = {9}, .eos_token_id = std::nullopt}, 9},
      {"many", {.name = "many", .has_bos = false, .end_token_ids = {1, 5}, .eos_token_id = std::nullopt}, std::nullopt},
      {"none", {.name = "none", .has_bos = false, .end_token_ids = {}, .eos_token_id = std::nullopt}, std::nullopt},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    Attach(test.options);
    for (const char* rule : {"BOUNDARY_JOINT", "BOUNDARY_LM_EVAL"}) {
      std::vector<v1::ScoreResponse> responses;
      ASSERT_EQ(Describe(Score(std::string("model: \"") + test.name +
                                   "\" items { continuations { text: \"cat\" } } "
                                   "tokenization { boundary: " +
                                   rule + " }",
                               &responses)),
                "OK");
      const v1::ScoredItem& item = responses[0].item();
      EXPECT_EQ(item.has_implicit_context_token_id(), test.implicit.has_value());
      EXPECT_EQ(item.implicit_context_token_id(), test.implicit.value_or(0));
      if (!test.implicit) {
        EXPECT_EQ(item.error().reason(), v1::ERROR_REASON_EMPTY_PROMPT);
      }
    }
  }
}

}  // namespace
}  // namespace logitd::server
