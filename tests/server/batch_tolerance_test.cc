// ModelInfo.batch_tolerance_nats: from a runner's hello into every reply; of several runners the largest.
#include <cmath>
#include <limits>
#include <memory>
#include <optional>

#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::AttachedFakeModel;
using logitd::testing::Parse;

class BatchToleranceTest : public logitd::testing::InProcessServer {
 protected:
  // What every reply says; they must agree.
  std::optional<double> Stated() {
    v1::ListModelsResponse models;
    EXPECT_TRUE(models_->ListModels(Context().get(), {}, &models).ok());
    std::optional<double> stated;
    if (models.models(0).model().has_batch_tolerance_nats()) stated = models.models(0).model().batch_tolerance_nats();

    const auto scored = Score();
    EXPECT_EQ(scored.provenance().has_batch_tolerance_nats(), stated.has_value());
    EXPECT_EQ(scored.provenance().batch_tolerance_nats(), stated.value_or(0));

    std::vector<v1::RankResponse> responses;
    const grpc::Status status = Rank("items { context { text: \"the\" } candidates { text: \" cat\" } }", &responses);
    EXPECT_TRUE(status.ok()) << status.error_message();
    const v1::RankResponse ranked = ReplyTo(0, responses);
    EXPECT_EQ(ranked.provenance().has_batch_tolerance_nats(), stated.has_value());
    EXPECT_EQ(ranked.provenance().batch_tolerance_nats(), stated.value_or(0));

    const auto context = Context();
    const auto reader = generation_->Generate(
        context.get(), Parse<v1::GenerateRequest>("prompt { text: \"the\" } stop { max_tokens: 1 }"));
    v1::GenerateResponse response;
    EXPECT_TRUE(reader->Read(&response));
    EXPECT_EQ(response.started().provenance().has_batch_tolerance_nats(), stated.has_value());
    EXPECT_EQ(response.started().provenance().batch_tolerance_nats(), stated.value_or(0));
    while (reader->Read(&response)) {
    }
    EXPECT_TRUE(reader->Finish().ok());
    return stated;
  }

  v1::ScoreResponse Score() {
    const auto context = Context();
    const auto reader = scoring_->Score(
        context.get(), Parse<v1::ScoreRequest>("items { context { text: \"the\" } continuations { text: \" cat\" } }"));
    v1::ScoreResponse first, other;
    EXPECT_TRUE(reader->Read(&first));
    while (reader->Read(&other)) {
    }
    EXPECT_TRUE(reader->Finish().ok());
    return first;
  }
};

TEST_F(BatchToleranceTest, IsInEveryReply) {
  Attach({.batch_tolerance_nats = 0.25});
  EXPECT_EQ(Stated(), 0.25);
}

TEST_F(BatchToleranceTest, IsTheLargestOfAllRunnersAlsoOfThoseThatHaveLeft) {
  Attach({.batch_tolerance_nats = 0.25});
  {
    AttachedFakeModel worse(server_->runner_address(), {.batch_tolerance_nats = 0.5});
    ASSERT_TRUE(worse.WaitUntilAccepted());
    while (Stated() != 0.5) {  // attached right after it was accepted
    }
  }
  EXPECT_EQ(Stated(), 0.5);
}

TEST_F(BatchToleranceTest, OfOneRunnerThatDoesNotKnowNothingIsSaid) {
  Attach({});
  EXPECT_EQ(Stated(), std::nullopt);
}

}  // namespace
}  // namespace logitd::server
