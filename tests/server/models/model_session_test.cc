// A session keeps its word when runners are lost under it.
#include "server/models/model_session.h"

#include <atomic>
#include <stop_token>
#include <thread>

#include "core/errors.h"
#include "tests/server/models/model_session_fixture.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::HasReason;
using logitd::testing::IsOk;

TEST_F(ModelSessionTest, GoesOnOnAnotherRunnerWhereverTheFirstIsLost) {
  for (int lost_at = 0; lost_at < 6; ++lost_at) {
    SCOPED_TRACE(lost_at);
    for (RememberingRunner& runner : runners_) Lose(runner);
    runners_.clear();
    model_ = nullptr;
    AddRunner(lost_at);
    AddRunner();
    GenerateAndCheck(3, 5);
  }
}

TEST_F(ModelSessionTest, PrefixIsEvaluatedOnceOnTheNewRunner) {
  AddRunner(3);
  RememberingRunner& second = AddRunner();
  GenerateAndCheck(3, 5);
  // Lost in the third step: 3 tokens of the prompt, 2 of each sequence, and what comes: 3 more of each.
  EXPECT_EQ(second.token_count(), 3 + 3 * 2 + 3 * 3);
}

TEST_F(ModelSessionTest, WithoutForksItGoesOnToo) {
  fork_ = false;
  AddRunner(1);
  AddRunner();
  ModelSession session(*model_);
  ASSERT_THAT(session.Reserve({1, 10, 0}, "prompt", context_), IsOk());
  SequenceWork work;
  work.sequence_id = session.NewSequence();
  Feed(work, {1, 2});
  ASSERT_THAT(session.Evaluate({work}, context_), IsOk());
  Feed(work, {3});
  const auto rows = session.Evaluate({work}, context_);
  ASSERT_THAT(rows, IsOk());
  EXPECT_EQ((*rows)[0].logits(), RememberingRunner::Row({1, 2, 3}, 3));
}

TEST_F(ModelSessionTest, WaitsForARunnerThatIsStartedAgain) {
  pool_.Expect("m");
  AddRunner(2);
  std::thread restarter([this] {
    while (model_->runner_count() > 0) std::this_thread::yield();
    AddRunner();
  });
  GenerateAndCheck(2, 4);
  restarter.join();
}

TEST_F(ModelSessionTest, FailsAtOnceIfNoRunnerIsExpected) {
  AddRunner(0);
  ModelSession session(*model_);
  ASSERT_THAT(session.Reserve({1, 10, 0}, "prompt", context_), IsOk());
  SequenceWork work;
  work.sequence_id = session.NewSequence();
  Feed(work, {1});
  EXPECT_THAT(session.Evaluate({work}, context_), HasReason(ErrorReason::kRunnerLost));
}

TEST_F(ModelSessionTest, StopsWaitingWhenTheRunnerIsNotComingSoon) {
  pool_.Expect("m");
  AddRunner(0);
  ModelSession session(*model_);
  ASSERT_THAT(session.Reserve({1, 10, 0}, "prompt", context_), IsOk());
  SequenceWork work;
  work.sequence_id = session.NewSequence();
  Feed(work, {1});
  std::thread supervisor([this] {
    while (model_->runner_count() > 0) std::this_thread::yield();
    pool_.SetReturning("m", false);
  });
  EXPECT_THAT(session.Evaluate({work}, context_), HasReason(ErrorReason::kRunnerLost));
  supervisor.join();
}

TEST_F(ModelSessionTest, RequestThatKillsEveryRunnerDoesNotTakeThemAll) {
  for (int i = 0; i < kMaxLostRunners + 3; ++i) AddRunner(0);
  ModelSession session(*model_);
  ASSERT_THAT(session.Reserve({1, 10, 0}, "prompt", context_), IsOk());
  SequenceWork work;
  work.sequence_id = session.NewSequence();
  Feed(work, {1});
  EXPECT_THAT(session.Evaluate({work}, context_), HasReason(ErrorReason::kRunnerLost));
  EXPECT_EQ(model_->runner_count(), 2);
}

TEST_F(ModelSessionTest, RequestsGoToTheRunnerWithTheMostRoom) {
  AddRunner();
  AddRunner();
  ModelSession first(*model_);
  ASSERT_THAT(first.Reserve({1, 900, 0}, "prompt", context_), IsOk());
  ModelSession second(*model_);
  ASSERT_THAT(second.Reserve({1, 900, 0}, "prompt", context_), IsOk()) << "it does not wait behind the first";
  EXPECT_GT(runners_[0].runner()->scheduler()->load(), 0.8);
  EXPECT_GT(runners_[1].runner()->scheduler()->load(), 0.8);
}

TEST_F(ModelSessionTest, RunnersOfDifferentSizes) {
  AddRunner(RememberingRunner::kNever, {8, 500, 64, "500 tokens, as many as fit"});
  EXPECT_EQ(model_->total_capacity().cache_choice, "500 tokens, as many as fit");
  AddRunner(RememberingRunner::kNever, {2, 100, 64, "100 tokens, as many as fit"});
  EXPECT_EQ(model_->total_capacity().cache_choice, "100 tokens, as many as fit") << "the smallest one's";
  EXPECT_THAT(model_->CheckFitsACache(500, "input"), IsOk());
  EXPECT_THAT(model_->CheckFitsACache(501, "input"), HasReason(ErrorReason::kLimitExceeded));
  EXPECT_EQ(model_->capacity().max_cached_tokens, 100) << "what fits everywhere";
  EXPECT_EQ(model_->total_capacity().max_cached_tokens, 600);
  ModelSession large(*model_);
  EXPECT_THAT(large.Reserve({4, 400, 0}, "prompt", context_), IsOk()) << "only the larger one has room";
  ModelSession huge(*model_);
  EXPECT_THAT(huge.Reserve({1, 501, 0}, "prompt", context_), HasReason(ErrorReason::kLimitExceeded));
  EXPECT_THAT(huge.Reserve({9, 1, 0}, "prompt", context_), HasReason(ErrorReason::kLimitExceeded));
}

TEST_F(ModelSessionTest, SuspendedSessionKeepsNoRoomAndGoesOn) {
  RememberingRunner& runner = AddRunner();
  ModelSession session(*model_);
  ASSERT_THAT(session.Reserve({1, 900, 0}, "prompt", context_), IsOk());
  SequenceWork work;
  work.sequence_id = session.NewSequence();
  Feed(work, {1, 2});
  ASSERT_THAT(session.Evaluate({work}, context_), IsOk());
  session.Suspend();
  EXPECT_EQ(runner.runner()->scheduler()->load(), 0);
  {
    ModelSession other(*model_);
    EXPECT_THAT(other.Reserve({1, 900, 0}, "prompt", context_), IsOk());
  }
  Feed(work, {3});
  const auto rows = session.Evaluate({work}, context_);
  ASSERT_THAT(rows, IsOk());
  EXPECT_EQ((*rows)[0].logits(), RememberingRunner::Row({1, 2, 3}, 3));
}

TEST_F(ModelSessionTest, SequencesAreGivenBack) {
  RememberingRunner& runner = AddRunner();
  GenerateAndCheck(4, 3);
  GenerateAndCheck(1, 1);
  GenerateAndCheck(1, 1);
  // Releases go with the next batch: only the last session's are left.
  EXPECT_LE(runner.open_sequence_count(), 2u);
  EXPECT_EQ(runner.runner()->scheduler()->load(), 0);
}

// Many sessions, and runners that come and go under them all the time.
TEST_F(ModelSessionTest, ManySessionsWhileRunnersAreLost) {
  pool_.Expect("m");
  AddRunner();
  std::atomic<bool> done = false;
  std::thread chaos([&] {
    size_t oldest = 0;
    while (!done && oldest < 200) {
      AddRunner();
      // As many batches as it takes the others to get somewhere.
      while (!done && runners_.back().token_count() < 40) std::this_thread::yield();
      Lose(runners_[oldest++]);
    }
  });
  std::vector<std::thread> callers;
  for (int c = 0; c < 6; ++c) {
    callers.emplace_back([this] {
      // A session may be unlucky more than kMaxLostRunners times; none may ever see a wrong row.
      for (int round = 0; round < 10; ++round) {
        ModelSession session(*model_);
        if (!session.Reserve({1, 60, 0}, "prompt", context_).ok()) continue;
        SequenceWork work;
        work.sequence_id = session.NewSequence();
        Tokens tokens;
        for (int step = 0; step < 20; ++step) {
          Feed(work, {(round + step) % 4, step % 3});
          tokens.insert(tokens.end(), work.append_token_ids.begin(), work.append_token_ids.end());
          const auto rows = session.Evaluate({work}, context_);
          if (!rows.ok()) {
            EXPECT_THAT(rows, HasReason(ErrorReason::kRunnerLost));
            break;
          }
          ASSERT_EQ((*rows)[0].logits(), RememberingRunner::Row(tokens, tokens.size()));
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  done = true;
  chaos.join();
}

}  // namespace
}  // namespace logitd::server
