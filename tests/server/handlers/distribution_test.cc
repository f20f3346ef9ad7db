#include "server/handlers/distribution.h"

#include <cmath>

#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using ::testing::DoubleNear;
using ::testing::ElementsAre;

class DistributionTest : public logitd::testing::InProcessServer {};

TEST_F(DistributionTest, ListsAreParallelAndAscending) {
  v1::DistributionResponse response;
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
  v1::DistributionResponse response;
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
  v1::DistributionResponse response;
  ASSERT_TRUE(Distribution("logits { float_values: [3, 6, 6, 0.5] } sampling { temperature: 0 }", &response).ok());
  EXPECT_THAT(response.probabilities(), ElementsAre(0, 1, 0, 0));
  EXPECT_THAT(response.sampling_log_probs(), ElementsAre(-INFINITY, 0, -INFINITY, -INFINITY));
  EXPECT_EQ(response.kept_count(), 1);
}

TEST_F(DistributionTest, NarrowTypesAreWidenedExactly) {
  // 6, 3, 0.5, 0.5 are the same numbers in every type: the replies must be the same bytes.
  v1::DistributionResponse wide;
  ASSERT_TRUE(Distribution("logits { float_values: [6, 3, 0.5, 0.5] } sampling { temperature: 0.7 }", &wide).ok());
  for (
      const char* block :
      {R"(block { dtype: LOGITS_DTYPE_F16 row_count: 1 width: 4 } values: "\x00\x46\x00\x42\x00\x38\x00\x38")",
       R"(block { dtype: LOGITS_DTYPE_BF16 row_count: 1 width: 4 } values: "\xc0\x40\x40\x40\x00\x3f\x00\x3f")",
       R"(block { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 4 } values: "\x00\x00\xc0\x40\x00\x00\x40\x40\x00\x00\x00\x3f\x00\x00\x00\x3f")"}) {
    SCOPED_TRACE(block);
    v1::DistributionResponse narrow;
    ASSERT_TRUE(Distribution(std::string("logits { ") + block + " } sampling { temperature: 0.7 }", &narrow).ok());
    EXPECT_EQ(narrow.SerializeAsString(), wide.SerializeAsString());
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
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.request);
    v1::DistributionResponse response;
    const grpc::Status status = Distribution(test.request, &response);
    EXPECT_THAT(Describe(status), ::testing::StartsWith(test.error));
    EXPECT_EQ(status.error_code(), test.code);
  }
  v1::DistributionResponse response;
  EXPECT_TRUE(Distribution("logits { float_values: 1 }", &response).ok()) << "the next request works";
  EXPECT_THAT(response.probabilities(), ElementsAre(1));
}

}  // namespace
}  // namespace logitd::server
