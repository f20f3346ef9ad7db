#include <grpcpp/health_check_service_interface.h>

#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::FakeModelOptions;
using logitd::testing::FakeTokens;
using logitd::testing::Parse;
using ::testing::ElementsAreArray;

class ModelServiceTest : public logitd::testing::InProcessServer {};

TEST_F(ModelServiceTest, AttachedModelsAreListed) {
  v1::ListModelsResponse response;
  ASSERT_TRUE(models_->ListModels(Context().get(), {}, &response).ok());
  EXPECT_EQ(response.models_size(), 0);
  Attach();
  ASSERT_TRUE(models_->ListModels(Context().get(), {}, &response).ok());
  ASSERT_EQ(response.models_size(), 1);
  EXPECT_EQ(response.models(0).model().name(), "fake");
  EXPECT_EQ(response.models(0).model().vocab_size(), 64);
  EXPECT_EQ(response.models(0).runner_count(), 1);
  EXPECT_TRUE(response.models(0).capabilities().tokenizer());
  fake_.reset();
  while (server_->WaitForModel("fake", [] { return true; })) {
  }
  ASSERT_TRUE(models_->ListModels(Context().get(), {}, &response).ok());
  EXPECT_EQ(response.models_size(), 0);
  server_->StartRunners({"fake", 1, [](const std::string&) { return std::vector<std::string>{"/bin/sleep", "1000"}; }});
  ASSERT_TRUE(models_->ListModels(Context().get(), {}, &response).ok());
  ASSERT_EQ(response.models_size(), 1);
  EXPECT_EQ(response.models(0).runner_count(), 0) << "known, but away";
}

TEST_F(ModelServiceTest, TextBecomesTokensAndBack) {
  Attach();
  v1::TokenizeResponse tokenized;
  ASSERT_TRUE(models_
                  ->Tokenize(Context().get(),
                             Parse<v1::TokenizeRequest>("texts: \"the cat\" texts: \"\" token_bytes: true"), &tokenized)
                  .ok());
  ASSERT_EQ(tokenized.texts_size(), 2);
  EXPECT_THAT(tokenized.texts(0).token_ids(), ElementsAreArray(FakeTokens("the cat")));
  std::string bytes;
  for (const std::string& token : tokenized.texts(0).token_bytes()) bytes += token;
  EXPECT_EQ(bytes, "the cat");
  EXPECT_EQ(tokenized.texts(1).token_ids_size(), 0);

  v1::DetokenizeRequest request;
  *request.add_tokens()->mutable_token_ids() = tokenized.texts(0).token_ids();
  // One byte of a character of two.
  request.add_tokens()->add_token_ids(FakeTokens("\xc3\xa9").front());
  v1::DetokenizeResponse detokenized;
  ASSERT_TRUE(models_->Detokenize(Context().get(), request, &detokenized).ok());
  EXPECT_EQ(detokenized.texts(0).text(), "the cat");
  EXPECT_FALSE(detokenized.texts(0).has_raw_bytes());
  EXPECT_EQ(detokenized.texts(1).text(), "\xEF\xBF\xBD");
  EXPECT_EQ(detokenized.texts(1).raw_bytes(), "\xc3");
}

TEST_F(ModelServiceTest, BadInputIsNamed) {
  FakeModelOptions options;
  Attach(options);
  v1::TokenizeResponse tokenized;
  EXPECT_EQ(Describe(models_->Tokenize(Context().get(), {}, &tokenized)), "FIELD_REQUIRED of texts");
  EXPECT_EQ(
      models_->Tokenize(Context().get(), Parse<v1::TokenizeRequest>("texts: \"CAPITALS\""), &tokenized).error_code(),
      grpc::StatusCode::INVALID_ARGUMENT)
      << "what the runner's tokenizer says";
  v1::DetokenizeResponse detokenized;
  EXPECT_EQ(Describe(models_->Detokenize(Context().get(), Parse<v1::DetokenizeRequest>("tokens { token_ids: [1, 64] }"),
                                         &detokenized)),
            "TOKEN_ID_OUT_OF_RANGE of tokens[0].token_ids[1]");
  fake_.reset();
  options.tokenizer = false;
  options.name = "mute";
  Attach(options);
  EXPECT_EQ(Describe(models_->Tokenize(Context().get(), Parse<v1::TokenizeRequest>("texts: \"a\" model: \"mute\""),
                                       &tokenized)),
            "TOKENIZER_UNAVAILABLE of ");
}

TEST_F(ModelServiceTest, ServerSaysWhatItAllows) {
  v1::GetServerInfoResponse response;
  ASSERT_TRUE(info_->GetServerInfo(Context().get(), {}, &response).ok());
  EXPECT_EQ(response.numerics_version(), 1);
  EXPECT_EQ(response.limits().max_vocab_size(), 1 << 20);
  EXPECT_THAT(response.dtypes(), ::testing::ElementsAre(v1::LOGITS_DTYPE_F32, v1::LOGITS_DTYPE_F16,
                                                        v1::LOGITS_DTYPE_BF16, v1::LOGITS_DTYPE_LIN16));
  // Every limit is set: a zero would be one that was forgotten.
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  response.limits().GetReflection()->ListFields(response.limits(), &fields);
  EXPECT_EQ(static_cast<int>(fields.size()), v1::Limits::descriptor()->field_count());
}

}  // namespace
}  // namespace logitd::server
