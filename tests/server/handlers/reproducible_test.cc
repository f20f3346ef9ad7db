// EvaluationOptions.reproducible, as clients see it. tests/server/models/path_evaluation_test.cc proves how sequences
// are isolated, and tests/e2e/reproducible_test.py that the bits of a real model are equal.
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/server/in_process.h"
#include "tests/testing/fake_model.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::FakeModelOptions;
using logitd::testing::Parse;

constexpr char kItem[] = R"(
    items { context { tokens { token_ids: [5, 9, 7] } }
            continuations { tokens { token_ids: [8, 3, 20] } }
            continuations { tokens { token_ids: [8, 3, 21] } }
            continuations { tokens { token_ids: [8] } } } )";

class ReproducibleTest : public logitd::testing::InProcessServer {
 protected:
  void Attach(std::optional<int32_t> threads, const std::string& name = "fake") {
    FakeModelOptions fake;
    fake.name = name;
    fake.isolation_threads = threads;
    InProcessServer::Attach(fake);
  }

  grpc::Status Score(const std::string& evaluation, v1::ScoreResponse* response) {
    const auto context = Context();
    const auto reader = scoring_->Score(
        context.get(), Parse<v1::ScoreRequest>(std::string(kItem) + "evaluation { " + evaluation + " }"));
    v1::ScoreResponse next;
    while (reader->Read(&next)) *response = next;
    return reader->Finish();
  }
};

TEST_F(ReproducibleTest, TheNumbersAreTheModelsAndTheirOriginIsTold) {
  Attach(3);
  v1::ScoreResponse shared;
  ASSERT_EQ(Describe(Score("", &shared)), "OK");
  EXPECT_FALSE(shared.provenance().reproducible());
  v1::ScoreResponse alone;
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(Describe(Score("reproducible: true", &alone)), "OK");
    EXPECT_TRUE(alone.provenance().reproducible());
    EXPECT_EQ(alone.provenance().runner().threads(), 3);
    EXPECT_EQ(alone.provenance().runner().cpu_target(), "any");
    // The first two have the same fed tokens.
    EXPECT_EQ(alone.usage().evaluated_token_count(), 5 + 3);
    EXPECT_EQ(alone.usage().cached_token_count(), 0);
    ASSERT_EQ(alone.item().continuations_size(), 3);
    for (int c = 0; c < 3; ++c) {
      EXPECT_EQ(alone.item().continuations(c).score().totals().cumulative_model_log_prob(),
                shared.item().continuations(c).score().totals().cumulative_model_log_prob());
    }
  }
}

TEST_F(ReproducibleTest, ItIsRefusedWhereItCannotBe) {
  Attach(std::nullopt);
  v1::ScoreResponse response;
  EXPECT_EQ(Describe(Score("reproducible: true", &response)), "NOT_REPRODUCIBLE of ");
  EXPECT_EQ(Describe(Score("reproducible: false", &response)), "OK");
  const auto context = Context();
  const auto reader = generation_->Generate(
      context.get(),
      Parse<v1::GenerateRequest>("prompt { tokens { token_ids: 5 } } evaluation { reproducible: true }"));
  v1::GenerateResponse generated;
  while (reader->Read(&generated)) {
  }
  EXPECT_EQ(Describe(reader->Finish()), "FIELD_OUT_OF_RANGE of evaluation.reproducible");
}

TEST_F(ReproducibleTest, TheServersDefaultHoldsForRequestsThatDoNotSay) {
  ServerOptions options;
  options.reproducible = true;
  Start(options);
  Attach(1);
  v1::ScoreResponse response;
  ASSERT_EQ(Describe(Score("", &response)), "OK");
  EXPECT_TRUE(response.provenance().reproducible());
  ASSERT_EQ(Describe(Score("reproducible: false", &response)), "OK");
  EXPECT_FALSE(response.provenance().reproducible());
}

TEST_F(ReproducibleTest, RankAndDecideAreReproducibleToo) {
  Attach(1);
  v1::RankResponse ranked;
  {
    const auto context = Context();
    const auto reader = scoring_->Rank(context.get(), Parse<v1::RankRequest>(R"(
        items { context { tokens { token_ids: [5, 9] } } candidates { tokens { token_ids: [8, 3] } }
                candidates { tokens { token_ids: [9, 3] } } }
        evaluation { reproducible: true } )"));
    while (reader->Read(&ranked)) {
    }
    ASSERT_EQ(Describe(reader->Finish()), "OK");
  }
  EXPECT_TRUE(ranked.provenance().reproducible());
  EXPECT_EQ(ranked.usage().evaluated_token_count(), 3 + 3);
  v1::DecideResponse decided;
  {
    const auto context = Context();
    const auto reader = scoring_->Decide(context.get(), Parse<v1::DecideRequest>(R"(
        items { context { tokens { token_ids: [5, 9] } }
                choice { options { tokens { token_ids: [8, 3] } } options { tokens { token_ids: [9, 3] } } } }
        evaluation { reproducible: true } )"));
    while (reader->Read(&decided)) {
    }
    ASSERT_EQ(Describe(reader->Finish()), "OK");
  }
  EXPECT_TRUE(decided.provenance().reproducible());
}

TEST_F(ReproducibleTest, TheListOfModelsSaysWhetherAndOnWhat) {
  Attach(2);
  v1::ListModelsResponse models;
  ASSERT_TRUE(models_->ListModels(Context().get(), {}, &models).ok());
  EXPECT_TRUE(models.models(0).capabilities().isolation());
  EXPECT_EQ(models.models(0).platform().threads(), 2);
}

}  // namespace
}  // namespace logitd::server
