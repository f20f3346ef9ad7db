#include "server/handlers/distribution.h"

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "core/decoder.h"
#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

class DistributionTest : public logitd::testing::InProcessServer {};

TEST_F(DistributionTest, ListsAreParallelAndAscending) {
  v1::ComputeDistributionResponse response;
  ASSERT_TRUE(Distribution("logits { float_values: [6, 3, 0.5, 0.5] } sampling { temperature: 2 }", &response).ok());
  EXPECT_THAT(response.token_ids(), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(response.probabilities(), ElementsAre(DoubleNear(.740200185, 1e-7), DoubleNear(.165160986, 1e-7),
                                                    DoubleNear(.047319415, 1e-7), DoubleNear(.047319415, 1e-7)));
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(std::log(response.probabilities(i)), response.sampling_log_probs(i), 1e-12);
  }
  EXPECT_THAT(response.model_log_probs(), ElementsAre(DoubleNear(-0.056343103, 1e-6), DoubleNear(-3.056343103, 1e-6),
                                                      DoubleNear(-5.556343103, 1e-6), DoubleNear(-5.556343103, 1e-6)));
  EXPECT_EQ(response.kept_count(), 4);
  EXPECT_NEAR(response.model_entropy(), 0.240013165, 1e-6);
  EXPECT_NEAR(response.sampling_entropy(), 0.808832869, 1e-6);
  EXPECT_NEAR(response.model_log_sum_exp(), 6.056343103, 1e-6);
}

TEST_F(DistributionTest, OnlyWhatIsAllowedAndKeptIsListed) {
  v1::ComputeDistributionResponse response;
  ASSERT_TRUE(Distribution(
                  "logits { float_values: [6, 3, 0.5, 0.5] } sampling { allowed_tokens { ids { token_ids: [3, 1] } } }",
                  &response)
                  .ok());
  EXPECT_THAT(response.token_ids(), ElementsAre(1, 3));
  response.Clear();
  ASSERT_TRUE(Distribution("logits { float_values: [6, 3, 0.5, 0.5] } sampling { top_k: 3 }", &response).ok());
  EXPECT_THAT(response.token_ids(), ElementsAre(0, 1, 2)) << "of equals the lower id is kept";
  response.Clear();
  ASSERT_TRUE(Distribution("logits { float_values: [1, -inf, 1] }", &response).ok());
  EXPECT_THAT(response.token_ids(), ElementsAre(0, 2)) << "an excluded token is not listed";
}

TEST_F(DistributionTest, GreedyIsOneHotOverTheAllowed) {
  v1::ComputeDistributionResponse response;
  ASSERT_TRUE(Distribution("logits { float_values: [3, 6, 6, 0.5] } sampling { temperature: 0 }", &response).ok());
  EXPECT_THAT(response.probabilities(), ElementsAre(0, 1, 0, 0));
  EXPECT_THAT(response.sampling_log_probs(), ElementsAre(-INFINITY, 0, -INFINITY, -INFINITY));
  EXPECT_EQ(response.kept_count(), 1);
}

TEST_F(DistributionTest, GreedyDoesNotListWhatIsBanned) {
  struct Case {
    std::string name;
    std::string fields;
    std::vector<int> token_ids;
    std::vector<double> probabilities;
  };
  const Case cases[] = {
      {"allowed tokens", "sampling { temperature: 0 allowed_tokens { ids { token_ids: [0, 3] } } }", {0, 3}, {1, 0}},
      {"banned tokens", "sampling { temperature: 0 banned_tokens { ids { token_ids: [1, 2] } } }", {0, 3}, {1, 0}},
      {"excluded tokens", "sampling { temperature: 0 } excluded_token_ids: 1", {0, 2, 3}, {0, 1, 0}},
      {"a banned sequence",
       "sampling { temperature: 0 sequence_biases { token_ids: [3, 1] } } prompt_token_ids: 3",
       {0, 2, 3},
       {0, 1, 0}},
      {"n-grams", "sampling { temperature: 0 no_repeat_ngram_size: 1 } output_token_ids: [1, 0]", {2, 3}, {1, 0}},
      {"a bias bans nothing",
       "sampling { temperature: 0 logit_biases { token_id: 1 bias: -100 } }",
       {0, 1, 2, 3},
       {0, 0, 1, 0}},
      {"a cut before the temperature",
       "sampling { temperature: 0 top_k: 2 stage_order { preset: STAGE_PRESET_LLAMA_CPP } }",
       {1, 2},
       {1, 0}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    v1::ComputeDistributionResponse response;
    ASSERT_TRUE(Distribution("logits { float_values: [3, 6, 6, 0.5, -inf] } " + c.fields, &response).ok());
    EXPECT_THAT(response.token_ids(), ElementsAreArray(c.token_ids));
    EXPECT_THAT(response.probabilities(), ElementsAreArray(c.probabilities));
    EXPECT_EQ(response.kept_count(), 1);
  }
}

TEST_F(DistributionTest, NarrowTypesAreWidenedExactly) {
  // 6, 3, 0.5, 0.5 are the same numbers in every type: the replies must be the same bytes.
  v1::ComputeDistributionResponse wide;
  ASSERT_TRUE(Distribution("logits { float_values: [6, 3, 0.5, 0.5] } sampling { temperature: 0.7 }", &wide).ok());
  for (
      const char* block :
      {R"(block { dtype: LOGITS_DTYPE_LIN16 row_count: 1 width: 4 linear_max: 6 linear_step: 0.25 }
          values: "\x00\x00\x0c\x00\x16\x00\x16\x00")",
       R"(block { dtype: LOGITS_DTYPE_F16 row_count: 1 width: 4 } values: "\x00\x46\x00\x42\x00\x38\x00\x38")",
       R"(block { dtype: LOGITS_DTYPE_BF16 row_count: 1 width: 4 } values: "\xc0\x40\x40\x40\x00\x3f\x00\x3f")",
       R"(block { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 4 } values: "\x00\x00\xc0\x40\x00\x00\x40\x40\x00\x00\x00\x3f\x00\x00\x00\x3f")"}) {
    SCOPED_TRACE(block);
    v1::ComputeDistributionResponse narrow;
    ASSERT_TRUE(Distribution(std::string("logits { ") + block + " } sampling { temperature: 0.7 }", &narrow).ok());
    EXPECT_EQ(narrow.SerializeAsString(), wide.SerializeAsString());
  }
}

TEST_F(DistributionTest, LayoutNoneLeavesTheListsOut) {
  v1::ComputeDistributionResponse whole;
  ASSERT_TRUE(Distribution("logits { float_values: [6, 3, 0.5] } sampling { top_k: 2 }", &whole).ok());
  v1::ComputeDistributionResponse response;
  ASSERT_TRUE(
      Distribution("logits { float_values: [6, 3, 0.5] } sampling { top_k: 2 } layout: RECORD_LAYOUT_NONE", &response)
          .ok());
  EXPECT_EQ(whole.token_ids_size(), 2);
  for (auto* list :
       {whole.mutable_probabilities(), whole.mutable_sampling_log_probs(), whole.mutable_model_log_probs()})
    list->Clear();
  whole.clear_token_ids();
  EXPECT_EQ(response.SerializeAsString(), whole.SerializeAsString());
}

TEST_F(DistributionTest, ExplainSaysWhatEachStageRemoved) {
  v1::ComputeDistributionResponse response;
  ASSERT_TRUE(Distribution(R"(logits { float_values: [6, 3, 0.5, 0.5, -inf] } explain: true excluded_token_ids: 0
                              sampling { temperature: 0.5 top_k: 2 allowed_tokens { ids { token_ids: [0, 1, 2, 4] } } })",
                           &response)
                  .ok());
  const struct {
    v1::Stage stage;
    int32_t before;
    int32_t after;
    double mass;
  } expected[] = {
      // 0.5 of four tokens at temperature 1, then token 0 of the three that are left, and nothing more.
      {v1::STAGE_TOKEN_SETS, 4, 3, 0.003863},
      {v1::STAGE_MIN_TOKENS, 3, 2, 0.948880},
      {v1::STAGE_TEMPERATURE, 2, 2, 0},
      {v1::STAGE_TOP_K, 2, 2, 0},
  };
  ASSERT_EQ(response.stages_size(), 4) << response.DebugString();
  for (int i = 0; i < 4; ++i) {
    SCOPED_TRACE(v1::Stage_Name(expected[i].stage));
    EXPECT_EQ(response.stages(i).stage(), expected[i].stage);
    EXPECT_EQ(response.stages(i).kept_before_count(), expected[i].before);
    EXPECT_EQ(response.stages(i).kept_after_count(), expected[i].after);
    EXPECT_NEAR(response.stages(i).removed_mass(), expected[i].mass, 1e-6);
  }
  EXPECT_THAT(response.token_ids(), ElementsAre(1, 2));
}

TEST_F(DistributionTest, StagesSeeTheTokensOfTheStep) {
  const std::string row = "logits { float_values: [6, 3, 0.5, 0.5] } ";
  v1::ComputeDistributionResponse response;
  // l - f count: 6 - 2 * 2, 3 - 2.
  ASSERT_TRUE(Distribution(row + "sampling { frequency_penalty: 2 } output_token_ids: [0, 1, 0]", &response).ok());
  EXPECT_NEAR(response.sampling_log_probs(0) - response.sampling_log_probs(1), 1, 1e-9);
  EXPECT_NEAR(response.model_log_probs(0), -0.056343, 1e-6) << "the model's own log-probs stay";
  response.Clear();
  ASSERT_TRUE(Distribution(row + "sampling { frequency_penalty: 2 } prompt_token_ids: [0, 1, 0]", &response).ok());
  EXPECT_NEAR(response.sampling_log_probs(0) - response.sampling_log_probs(1), 3, 1e-9) << "not the prompt";
  response.Clear();
  ASSERT_TRUE(Distribution(row + "sampling { repetition_penalty: 3 } prompt_token_ids: 0", &response).ok());
  EXPECT_NEAR(response.sampling_log_probs(0) - response.sampling_log_probs(1), -1, 1e-9);
}

TEST_F(DistributionTest, VerifyDrawsWhatTheSequenceDrew) {
  const std::string row = "logits { float_values: [1, 0.9, 0.8, 0.1] } sampling { temperature: 0.7 top_p: 0.9 } ";
  DecoderConfig config;
  config.sampling.temperature = 0.7;
  config.sampling.top_p = 0.9;
  config.seed = 11;
  config.sequence_key = 42;
  config.record.draw = true;
  Decoder decoder(config);
  logitd::Distribution distribution;
  const std::vector<float> values = {1, 0.9f, 0.8f, 0.1f};
  std::set<TokenId> drawn;
  for (int position = 0; position < 20; ++position) {
    SCOPED_TRACE(position);
    const auto step = decoder.Advance(position, values, distribution);
    ASSERT_TRUE(step.ok());
    const TokenId token = step->token->token_id;
    drawn.insert(token);
    for (const TokenId asked : {token, (token + 1) % 4}) {
      v1::ComputeDistributionResponse response;
      ASSERT_TRUE(Distribution(row + "verify { seed: 11 sequence_key: 42 position: " + std::to_string(position) +
                                   " token_id: " + std::to_string(asked) + " }",
                               &response)
                      .ok());
      EXPECT_EQ(response.verification().token_id(), token);
      EXPECT_TRUE(response.verification().has_matches());
      EXPECT_EQ(response.verification().matches(), asked == token);
      EXPECT_EQ(response.verification().draw().uniform(), step->token->draw->uniform);
      EXPECT_EQ(response.verification().draw().total_weight(), response.total_weight());
      EXPECT_EQ(response.verification().draw().interval_start(), step->token->draw->interval_start);
      EXPECT_EQ(response.verification().draw().weight(), step->token->draw->weight);
    }
  }
  EXPECT_GT(drawn.size(), 1u);
}

TEST_F(DistributionTest, VerifyAtTemperatureZeroIsTheArgmaxAndNeedsNoSeed) {
  v1::ComputeDistributionResponse response;
  ASSERT_TRUE(Distribution("logits { float_values: [3, 6, 6, 0.5] } sampling { temperature: 0 } verify { token_id: 1 }",
                           &response)
                  .ok());
  EXPECT_EQ(response.verification().token_id(), 1);
  EXPECT_TRUE(response.verification().matches());
  EXPECT_EQ(response.verification().draw().interval_start(), 0u);
  EXPECT_EQ(response.verification().draw().weight(), uint64_t{1} << 42);
  EXPECT_EQ(response.verification().draw().total_weight(), uint64_t{1} << 42);
}

TEST_F(DistributionTest, VerifyWithoutATokenJustDraws) {
  v1::ComputeDistributionResponse response;
  ASSERT_TRUE(
      Distribution("logits { float_values: [3, 6] } verify { seed: 0 sequence_key: 0 } output_token_ids: [1, 1]",
                   &response)
          .ok());
  EXPECT_TRUE(response.has_verification());
  EXPECT_FALSE(response.verification().has_matches());
}

TEST_F(DistributionTest, XtcActsByTheBitsOfTheDraw) {
  const std::string request =
      "logits { float_values: [2, 2, 1, 1] } sampling { xtc { probability: 0.5 threshold: 0.2 } } ";
  v1::ComputeDistributionResponse response;
  EXPECT_EQ(Describe(Distribution(request, &response)), "FIELD_REQUIRED of verify");
  int removed = 0;
  for (int position = 0; position < 40; ++position) {
    response.Clear();
    ASSERT_TRUE(Distribution(request + "verify { seed: 3 sequence_key: 1 position: " + std::to_string(position) + " }",
                             &response)
                    .ok());
    // Of the two likely tokens one stays, or both.
    ASSERT_THAT(response.kept_count(), ::testing::AnyOf(3, 4));
    if (response.kept_count() == 3) ++removed;
  }
  EXPECT_GT(removed, 8);
  EXPECT_LT(removed, 32);
}

TEST_F(DistributionTest, XtcBeforeTheTemperatureActsAtTemperatureZeroByTheBitsOfTheDraw) {
  const std::string row = "logits { float_values: [2, 2.5, 1, 1] } sampling { temperature: 0 ";
  const std::string request =
      row + "xtc { probability: 0.5 threshold: 0.2 } stage_order { preset: STAGE_PRESET_LLAMA_CPP } } ";
  v1::ComputeDistributionResponse response;
  EXPECT_EQ(Describe(Distribution(request, &response)), "FIELD_REQUIRED of verify");
  EXPECT_EQ(Describe(Distribution(request + "verify { sequence_key: 1 }", &response)), "FIELD_REQUIRED of verify.seed");
  EXPECT_EQ(Describe(Distribution(request + "verify { seed: 3 }", &response)), "FIELD_REQUIRED of verify.sequence_key");
  int removed = 0;
  for (int seed = 0; seed < 40; ++seed) {
    response.Clear();
    ASSERT_TRUE(
        Distribution(request + "verify { seed: " + std::to_string(seed) + " sequence_key: 1 }", &response).ok());
    // Of the two likely tokens the first is taken out, or none.
    ASSERT_THAT(response.verification().token_id(), ::testing::AnyOf(0, 1));
    if (response.verification().token_id() == 0) ++removed;
  }
  EXPECT_GT(removed, 8);
  EXPECT_LT(removed, 32);
  // After the temperature, or without the other stages of the preset, there is no chance.
  for (const char* rest :
       {"xtc { probability: 0.5 threshold: 0.2 } } ", "top_k: 2 stage_order { preset: STAGE_PRESET_LLAMA_CPP } } "}) {
    response.Clear();
    EXPECT_TRUE(Distribution(row + rest, &response).ok()) << rest;
    EXPECT_TRUE(Distribution(row + rest + "verify { token_id: 1 }", &response).ok()) << rest;
    EXPECT_TRUE(response.verification().matches()) << rest;
  }
}

TEST_F(DistributionTest, BadInputIsNamed) {
  const struct {
    const char* request;
    const char* error;
    grpc::StatusCode code;
  } cases[] = {
      {"", "FIELD_REQUIRED of logits", grpc::INVALID_ARGUMENT},
      {"logits { }", "FIELD_REQUIRED of logits.float_values", grpc::INVALID_ARGUMENT},
      {"logits { float_values: [1, nan] }", "NON_FINITE_LOGIT of ", grpc::INVALID_ARGUMENT},
      {"logits { float_values: [inf, 1] }", "NON_FINITE_LOGIT of ", grpc::INVALID_ARGUMENT},
      {"logits { float_values: [-inf, -inf] }", "NO_FINITE_LOGIT of ", grpc::INVALID_ARGUMENT},
      {"logits { float_values: [1, -inf] } sampling { allowed_tokens { ids { token_ids: 1 } } }",
       "ALL_TOKENS_EXCLUDED of ", grpc::FAILED_PRECONDITION},
      {"logits { float_values: [1] values: \"1234\" }", "FIELDS_EXCLUSIVE of logits.values", grpc::INVALID_ARGUMENT},
      {"logits { block { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 2 } values: \"1234\" }",
       "ROW_LENGTH_MISMATCH of logits.values", grpc::INVALID_ARGUMENT},
      {"logits { block { dtype: LOGITS_DTYPE_F32 row_count: 2 width: 1 } values: \"12345678\" }",
       "FIELD_OUT_OF_RANGE of logits.block.row_count", grpc::INVALID_ARGUMENT},
      {"logits { block { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 2147483647 } }",
       "LIMIT_EXCEEDED of logits.block.width", grpc::RESOURCE_EXHAUSTED},
      {"logits { float_values: 1 } sampling { temperature: -1 }", "FIELD_OUT_OF_RANGE of sampling.temperature",
       grpc::INVALID_ARGUMENT},
      {"logits { float_values: 1 } sampling { allowed_tokens { ids { token_ids: 1 } } }",
       "TOKEN_ID_OUT_OF_RANGE of sampling.allowed_tokens.ids.token_ids[0]", grpc::INVALID_ARGUMENT},
      {"logits { float_values: 1 } prompt_token_ids: 1", "TOKEN_ID_OUT_OF_RANGE of prompt_token_ids[0]",
       grpc::INVALID_ARGUMENT},
      {"logits { float_values: 1 } output_token_ids: [0, -1]", "TOKEN_ID_OUT_OF_RANGE of output_token_ids[1]",
       grpc::INVALID_ARGUMENT},
      {"logits { float_values: 1 } excluded_token_ids: 7", "TOKEN_ID_OUT_OF_RANGE of excluded_token_ids[0]",
       grpc::INVALID_ARGUMENT},
      {"logits { float_values: [1, 2] } excluded_token_ids: [0, 1]", "ALL_TOKENS_EXCLUDED of ",
       grpc::FAILED_PRECONDITION},
      {"logits { float_values: 1 } verify { sequence_key: 1 }", "FIELD_REQUIRED of verify.seed",
       grpc::INVALID_ARGUMENT},
      {"logits { float_values: 1 } verify { seed: 1 }", "FIELD_REQUIRED of verify.sequence_key",
       grpc::INVALID_ARGUMENT},
      {"logits { float_values: 1 } verify { seed: 1 sequence_key: 72057594037927936 }",
       "FIELD_OUT_OF_RANGE of verify.sequence_key", grpc::INVALID_ARGUMENT},
      {"logits { float_values: 1 } verify { seed: 1 sequence_key: 1 token_id: 1 }",
       "TOKEN_ID_OUT_OF_RANGE of verify.token_id", grpc::INVALID_ARGUMENT},
      {"logits { float_values: 1 } verify { seed: 1 sequence_key: 1 position: -1 }",
       "FIELD_OUT_OF_RANGE of verify.position", grpc::INVALID_ARGUMENT},
      {"logits { float_values: 1 } verify { seed: 1 sequence_key: 1 position: 131072 }",
       "FIELD_OUT_OF_RANGE of verify.position", grpc::INVALID_ARGUMENT},
      {"logits { float_values: 1 } verify { seed: 1 sequence_key: 1 position: 1 } output_token_ids: [0, 0]",
       "FIELD_OUT_OF_RANGE of verify.position", grpc::INVALID_ARGUMENT},
      {"logits { float_values: 1 } sampling { presence_penalty: 1 } verify { seed: 1 sequence_key: 1 position: 1 }",
       "FIELD_OUT_OF_RANGE of verify.position", grpc::INVALID_ARGUMENT},
      {"logits { block { dtype: LOGITS_DTYPE_LIN16 row_count: 1 width: 1 linear_max: 1 } values: \"12\" }",
       "ROW_LENGTH_MISMATCH of logits.block.linear_step", grpc::INVALID_ARGUMENT},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.request);
    v1::ComputeDistributionResponse response;
    const grpc::Status status = Distribution(test.request, &response);
    EXPECT_THAT(Describe(status), ::testing::StartsWith(test.error));
    EXPECT_EQ(status.error_code(), test.code);
  }
  v1::ComputeDistributionResponse response;
  EXPECT_TRUE(Distribution("logits { float_values: 1 }", &response).ok()) << "the next request works";
  EXPECT_THAT(response.probabilities(), ElementsAre(1));
}

}  // namespace
}  // namespace logitd::server
