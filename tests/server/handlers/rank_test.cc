#include "server/handlers/rank.h"

#include <cmath>

#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::Parse;
using ::testing::ElementsAre;

class RankTest : public logitd::testing::InProcessServer {
 protected:
  grpc::Status Rank(const std::string& request, v1::RankResponse* response) {
    return scoring_->Rank(Context().get(), Parse<v1::RankRequest>(request), response);
  }
};

TEST_F(RankTest, SumsOfTheCallerNeedNoModel) {
  v1::RankResponse response;
  ASSERT_TRUE(Rank(R"(items {
      candidates { sums { sum_model_log_prob: -4 token_count: 4 byte_count: 2 character_count: 2 } }
      candidates { sums { sum_model_log_prob: -2 token_count: 1 byte_count: 4 character_count: 4 } }
      candidates { sums { sum_model_log_prob: -2 token_count: 2 byte_count: 8 character_count: 1 } } } inverse_temperature: 0.5)",
                   &response)
                  .ok());
  const v1::RankedItem& item = response.items(0);
  ASSERT_EQ(item.orderings_size(), 4);
  EXPECT_EQ(item.orderings(0).by(), v1::NORMALIZATION_SUM);
  EXPECT_THAT(item.orderings(0).candidate_indices(), ElementsAre(1, 2, 0));
  EXPECT_THAT(item.orderings(0).places(), ElementsAre(1, 1, 3));
  EXPECT_TRUE(item.orderings(0).tied());
  EXPECT_THAT(item.orderings(1).candidate_indices(), ElementsAre(0, 2, 1)) << "per token";
  EXPECT_THAT(item.orderings(2).candidate_indices(), ElementsAre(2, 1, 0)) << "per byte";
  EXPECT_THAT(item.orderings(3).candidate_indices(), ElementsAre(1, 0, 2)) << "per character";
  EXPECT_EQ(item.candidates(0).place(), 3);
  EXPECT_EQ(item.candidates(1).place(), 1);
  EXPECT_EQ(item.candidates(2).place(), 1);
  EXPECT_DOUBLE_EQ(item.candidates(0).per_token(), -1);
  EXPECT_NEAR(item.candidates(0).perplexity(), std::exp(1.0), 1e-12);
  EXPECT_NEAR(item.candidates(0).bits_per_byte(), 2 / std::log(2.0), 1e-12);
  const double z = 2 * std::exp(-1.0) + std::exp(-2.0);
  EXPECT_NEAR(item.candidates(0).candidate_probability(), std::exp(-2.0) / z, 1e-12);
  EXPECT_NEAR(item.candidates(1).candidate_probability(), std::exp(-1.0) / z, 1e-12);
}

TEST_F(RankTest, ModelScoresAreThoseOfScore) {
  Attach();
  v1::RankResponse response;
  ASSERT_TRUE(Rank(R"(items { context { text: "the" } candidates { continuation { input { text: " cat" } } }
      candidates { continuation { input { text: " sat." } } } } order_by: NORMALIZATION_PER_BYTE)",
                   &response)
                  .ok());
  for (int i = 0; i < 2; ++i) {
    const auto scored =
        ScoreOne(std::string("items { context { text: \"the\" } continuations { continuations { input { text: \"") +
                 (i == 0 ? " cat" : " sat.") + "\" } } } }");
    EXPECT_EQ(response.items(0).candidates(i).sum(), scored.score().totals().cumulative_model_log_prob());
    EXPECT_EQ(response.items(0).candidates(i).score().byte_count(), scored.score().byte_count());
  }
  EXPECT_EQ(response.items(0).orderings(0).by(), v1::NORMALIZATION_PER_BYTE);
  EXPECT_EQ(response.provenance().model(), "fake");
}

TEST_F(RankTest, EmptyCandidateNeverRanks) {
  Attach();
  v1::RankResponse response;
  ASSERT_TRUE(Rank(R"(items { context { text: "the" } candidates { continuation { input { text: "" } } }
      candidates { continuation { input { text: " cat" } } } candidates { }
      candidates { sums { sum_model_log_prob: 0 token_count: 0 } } candidates { sums { sum_model_log_prob: nan token_count: 1 } } })",
                   &response)
                  .ok());
  const v1::RankedItem& item = response.items(0);
  EXPECT_EQ(Describe(item.candidates(0).error()),
            "EMPTY_CONTINUATION of items[0].candidates[0].continuation.input.text");
  EXPECT_EQ(item.candidates(0).place(), 0);
  EXPECT_FALSE(item.candidates(0).has_candidate_probability());
  EXPECT_EQ(item.candidates(1).place(), 1);
  EXPECT_EQ(item.candidates(1).candidate_probability(), 1);
  EXPECT_EQ(Describe(item.candidates(2).error()), "FIELD_REQUIRED of items[0].candidates[2].continuation");
  EXPECT_EQ(Describe(item.candidates(3).error()), "FIELD_OUT_OF_RANGE of items[0].candidates[3].sums.token_count");
  EXPECT_EQ(Describe(item.candidates(4).error()),
            "FIELD_OUT_OF_RANGE of items[0].candidates[4].sums.sum_model_log_prob");
  EXPECT_THAT(item.orderings(0).candidate_indices(), ElementsAre(1));
}

TEST_F(RankTest, SumsThatNoTokensHaveAreRefused) {
  v1::RankResponse response;
  ASSERT_TRUE(Rank(R"(items {
      candidates { sums { sum_model_log_prob: -1e39 token_count: 2 byte_count: 1 } }
      candidates { sums { sum_model_log_prob: -1.5e39 token_count: 2 byte_count: 1 } }
      candidates { sums { sum_model_log_prob: 1e-9 token_count: 2 byte_count: 1 } }
      candidates { sums { sum_model_log_prob: -0.0 token_count: 2 byte_count: 1 } } })",
                   &response)
                  .ok());
  const v1::RankedItem& item = response.items(0);
  EXPECT_EQ(item.candidates(0).place(), 2);
  for (const int bad : {1, 2}) {
    EXPECT_EQ(Describe(item.candidates(bad).error()),
              "FIELD_OUT_OF_RANGE of items[0].candidates[" + std::to_string(bad) + "].sums.sum_model_log_prob");
    EXPECT_EQ(item.candidates(bad).error().bound(), "[-1.361129467683754e+39, 0]");
  }
  EXPECT_EQ(item.candidates(3).place(), 1);
  EXPECT_FALSE(std::signbit(item.candidates(3).sum()));
}

TEST_F(RankTest, ACandidateWhoseSumWasForgottenDoesNotWin) {
  v1::RankResponse response;
  ASSERT_TRUE(Rank(R"(items { candidates { sums { token_count: 2 } }
                              candidates { sums { sum_model_log_prob: -1 token_count: 2 } } })",
                   &response)
                  .ok());
  EXPECT_EQ(Describe(response.items(0).candidates(0).error()),
            "FIELD_REQUIRED of items[0].candidates[0].sums.sum_model_log_prob");
  EXPECT_EQ(response.items(0).candidates(1).place(), 1);
}

TEST_F(RankTest, WhatCannotBeRankedIsNamed) {
  v1::RankResponse response;
  EXPECT_EQ(Describe(Rank("", &response)), "NO_CANDIDATES of items");
  EXPECT_EQ(Describe(Rank("items { } inverse_temperature: -1", &response)),
            "FIELD_OUT_OF_RANGE of inverse_temperature");
  EXPECT_EQ(Describe(Rank("items { candidates { continuation { input { text: \"a\" } } } }", &response)),
            "MODEL_UNAVAILABLE of ");
  ASSERT_TRUE(
      Rank(
          R"(items { } items { candidates { sums { sum_model_log_prob: -1 token_count: 1 } } } order_by: NORMALIZATION_PER_BYTE)",
          &response)
          .ok());
  EXPECT_EQ(Describe(response.items(0).error()), "NO_CANDIDATES of items[0].candidates");
  EXPECT_EQ(response.items(1).error().reason(), v1::ERROR_REASON_NORMALIZATION_UNDEFINED);
}

}  // namespace
}  // namespace logitd::server
