#include "server/handlers/rank.h"

#include <algorithm>
#include <cmath>
#include <future>

#include "tests/server/in_process.h"
#include "tests/testing/equals_proto.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::FakeModelOptions;
using logitd::testing::Parse;
using ::testing::ElementsAre;

using RankTest = logitd::testing::InProcessServer;

TEST_F(RankTest, SumsOfTheCallerNeedNoModel) {
  std::vector<v1::RankResponse> responses;
  ASSERT_TRUE(Rank(R"(items {
      candidates { sums { sum_model_log_prob: -4 token_count: 4 byte_count: 2 character_count: 2 } }
      candidates { sums { sum_model_log_prob: -2 token_count: 1 byte_count: 4 character_count: 4 } }
      candidates { sums { sum_model_log_prob: -2 token_count: 2 byte_count: 8 character_count: 1 } } } inverse_temperature: 0.5)",
                   &responses)
                  .ok());
  const v1::RankedItem item = ReplyTo(0, responses).item();
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
  std::vector<v1::RankResponse> responses;
  ASSERT_TRUE(Rank(R"(items { context { text: "the" } candidates { text: " cat" }
      candidates { text: " sat." } } order_by: NORMALIZATION_PER_BYTE)",
                   &responses)
                  .ok());
  for (int i = 0; i < 2; ++i) {
    const auto scored = ScoreOne(std::string("items { context { text: \"the\" } continuations { text: \"") +
                                 (i == 0 ? " cat" : " sat.") + "\" } }");
    EXPECT_EQ(ReplyTo(0, responses).item().candidates(i).sum(), scored.score().totals().cumulative_model_log_prob());
    EXPECT_EQ(ReplyTo(0, responses).item().candidates(i).score().byte_count(), scored.score().byte_count());
  }
  EXPECT_EQ(ReplyTo(0, responses).item().orderings(0).by(), v1::NORMALIZATION_PER_BYTE);
  EXPECT_EQ(responses[0].provenance().model(), "fake");
}

TEST_F(RankTest, EmptyCandidateNeverRanks) {
  Attach();
  std::vector<v1::RankResponse> responses;
  ASSERT_TRUE(Rank(R"(items { context { text: "the" } candidates { text: "" }
      candidates { text: " cat" } candidates { }
      candidates { sums { sum_model_log_prob: 0 token_count: 0 } } candidates { sums { sum_model_log_prob: nan token_count: 1 } } })",
                   &responses)
                  .ok());
  const v1::RankedItem item = ReplyTo(0, responses).item();
  EXPECT_EQ(Describe(item.candidates(0).error()), "EMPTY_CONTINUATION of items[0].candidates[0].text");
  EXPECT_EQ(item.candidates(0).place(), 0);
  EXPECT_FALSE(item.candidates(0).has_candidate_probability());
  EXPECT_EQ(item.candidates(1).place(), 1);
  EXPECT_EQ(item.candidates(1).candidate_probability(), 1);
  EXPECT_EQ(Describe(item.candidates(2).error()), "FIELD_REQUIRED of items[0].candidates[2]");
  EXPECT_EQ(Describe(item.candidates(3).error()), "FIELD_OUT_OF_RANGE of items[0].candidates[3].sums.token_count");
  EXPECT_EQ(Describe(item.candidates(4).error()),
            "FIELD_OUT_OF_RANGE of items[0].candidates[4].sums.sum_model_log_prob");
  EXPECT_THAT(item.orderings(0).candidate_indices(), ElementsAre(1));
}

TEST_F(RankTest, EachItemIsAReplyOfItsOwn) {
  Attach();
  std::vector<v1::RankResponse> responses;
  ASSERT_TRUE(Rank("items { id: 'x' context { text: 'the' } candidates { text: ' cat' } } "
                   "items { id: 'y' candidates { sums { sum_model_log_prob: -1 token_count: 1 } } } "
                   "items { id: 'z' } "
                   "items { id: '" +
                       std::string(257, 'i') +
                       "' candidates { text: 'a' } } "
                       "items { context { text: 'the cat' } candidates { text: ' sat.' } candidates { text: '' } }",
                   &responses)
                  .ok());
  ASSERT_EQ(responses.size(), 5u);
  // What the model is not asked for comes first.
  EXPECT_EQ(responses[0].item_index(), 1);
  EXPECT_EQ(responses[0].id(), "y");
  EXPECT_EQ(responses[0].provenance().model(), "");
  EXPECT_FALSE(responses[0].has_usage());
  EXPECT_EQ(responses[0].item().candidates(0).place(), 1);
  EXPECT_EQ(ReplyTo(0, responses).id(), "x");
  EXPECT_EQ(ReplyTo(0, responses).provenance().model(), "fake");
  // The last item begins with the same token, which is evaluated for one of them.
  v1::Usage usage = ReplyTo(0, responses).usage();
  usage.set_evaluated_token_count(usage.evaluated_token_count() + usage.cached_token_count());
  usage.clear_cached_token_count();
  EXPECT_THAT(usage,
              logitd::testing::EqualsProto("prompt_token_count: 1 scored_token_count: 1 evaluated_token_count: 1"));
  EXPECT_EQ(ReplyTo(2, responses).id(), "z");
  EXPECT_EQ(Describe(ReplyTo(2, responses).item().error()), "NO_CANDIDATES of items[2].candidates");
  EXPECT_EQ(ReplyTo(3, responses).id(), "");
  EXPECT_EQ(Describe(ReplyTo(3, responses).item().error()), "LIMIT_EXCEEDED of items[3].id");
  EXPECT_EQ(ReplyTo(4, responses).item().candidates(0).place(), 1);
  EXPECT_EQ(ReplyTo(4, responses).usage().prompt_token_count(), 2);
}

TEST_F(RankTest, ALostRunnerTakesOnlyWhatIsNotAnswered) {
  // Of so few sequences each item is evaluated by itself. Batches with token 13 wait.
  std::promise<void> may_go_on;
  const std::shared_future<void> go_on = may_go_on.get_future().share();
  FakeModelOptions options;
  options.max_sequences = 4;
  options.before_batch = [go_on](const v1::RunBatch& batch) {
    for (const v1::SequenceWork& work : batch.work()) {
      if (std::count(work.append_token_ids().begin(), work.append_token_ids().end(), 13) > 0) go_on.wait();
    }
  };
  Attach(options);
  std::string items = "items { context { tokens { token_ids: [5, 6] } } candidates { tokens { token_ids: [7, 8] } } } ";
  for (int i = 0; i < 2000; ++i) {
    items += "items { context { tokens { token_ids: [5, 13] } } candidates { tokens { token_ids: [7, 8] } } } ";
  }
  const auto context = Context();
  const auto reader = scoring_->Rank(context.get(), Parse<v1::RankRequest>(items + "evaluation { no_cache: true }"));
  v1::RankResponse response;
  // It comes while the others are not done.
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.item_index(), 0);
  EXPECT_EQ(response.item().candidates(0).place(), 1);
  may_go_on.set_value();
  fake_.reset();
  int count = 1;
  while (reader->Read(&response)) {
    EXPECT_EQ(response.item_index(), count);
    EXPECT_EQ(response.item().candidates(0).place(), 1);
    ++count;
  }
  EXPECT_LT(count, 2001);
  EXPECT_EQ(Describe(reader->Finish()), "RUNNER_LOST of ");
}

TEST_F(RankTest, CountsBesideSumsAreRefused) {
  std::vector<v1::RankResponse> responses;
  const std::string sums = "sums { sum_model_log_prob: -1 token_count: 1 }";
  ASSERT_TRUE(Rank("items { candidates { " + sums + " byte_count: 2 } candidates { " + sums +
                       " character_count: 2 } candidates { " + sums + " uncounted_prefix_bytes: 1 } candidates { " +
                       sums + " } }",
                   &responses)
                  .ok());
  const v1::RankedItem item = ReplyTo(0, responses).item();
  EXPECT_EQ(Describe(item.candidates(0).error()), "FIELDS_EXCLUSIVE of items[0].candidates[0].byte_count");
  EXPECT_EQ(Describe(item.candidates(1).error()), "FIELDS_EXCLUSIVE of items[0].candidates[1].character_count");
  EXPECT_EQ(Describe(item.candidates(2).error()), "FIELDS_EXCLUSIVE of items[0].candidates[2].uncounted_prefix_bytes");
  EXPECT_EQ(item.candidates(3).place(), 1);
}

TEST_F(RankTest, TheTokenThatStandsForAnEmptyContextIsNamed) {
  Attach();
  std::vector<v1::RankResponse> responses;
  ASSERT_TRUE(Rank(R"(items { candidates { text: "the" } candidates { text: "cat" } }
                      items { context { text: "the" } candidates { text: " cat" } })",
                   &responses)
                  .ok());
  const v1::RankedItem empty = ReplyTo(0, responses).item();
  EXPECT_EQ(empty.implicit_context_token_id(), logitd::testing::kFakeBos);
  EXPECT_TRUE(empty.has_implicit_context_token_id());
  const v1::RankedItem item = ReplyTo(1, responses).item();
  EXPECT_FALSE(item.has_implicit_context_token_id());
  EXPECT_EQ(item.context_token_count(), 1);
}

TEST_F(RankTest, SumsThatNoTokensHaveAreRefused) {
  std::vector<v1::RankResponse> responses;
  ASSERT_TRUE(Rank(R"(items {
      candidates { sums { sum_model_log_prob: -1e39 token_count: 2 byte_count: 1 } }
      candidates { sums { sum_model_log_prob: -1.5e39 token_count: 2 byte_count: 1 } }
      candidates { sums { sum_model_log_prob: 1e-9 token_count: 2 byte_count: 1 } }
      candidates { sums { sum_model_log_prob: -0.0 token_count: 2 byte_count: 1 } } })",
                   &responses)
                  .ok());
  const v1::RankedItem item = ReplyTo(0, responses).item();
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
  std::vector<v1::RankResponse> responses;
  ASSERT_TRUE(Rank(R"(items { candidates { sums { token_count: 2 } }
                              candidates { sums { sum_model_log_prob: -1 token_count: 2 } } })",
                   &responses)
                  .ok());
  EXPECT_EQ(Describe(ReplyTo(0, responses).item().candidates(0).error()),
            "FIELD_REQUIRED of items[0].candidates[0].sums.sum_model_log_prob");
  EXPECT_EQ(ReplyTo(0, responses).item().candidates(1).place(), 1);
}

TEST_F(RankTest, WhatCannotBeRankedIsNamed) {
  std::vector<v1::RankResponse> responses;
  EXPECT_EQ(Describe(Rank("", &responses)), "NO_CANDIDATES of items");
  EXPECT_EQ(Describe(Rank("items { } inverse_temperature: -1", &responses)),
            "FIELD_OUT_OF_RANGE of inverse_temperature");
  EXPECT_EQ(Describe(Rank("items { candidates { text: \"a\" } }", &responses)), "MODEL_UNAVAILABLE of ");
  ASSERT_TRUE(
      Rank(
          R"(items { } items { candidates { sums { sum_model_log_prob: -1 token_count: 1 } } } order_by: NORMALIZATION_PER_BYTE)",
          &responses)
          .ok());
  EXPECT_EQ(Describe(ReplyTo(0, responses).item().error()), "NO_CANDIDATES of items[0].candidates");
  EXPECT_EQ(ReplyTo(1, responses).item().error().reason(), v1::ERROR_REASON_NORMALIZATION_UNDEFINED);
}

}  // namespace
}  // namespace logitd::server
