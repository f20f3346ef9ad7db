// Requests that grow until the runner's cache is full.
#include <chrono>
#include <deque>
#include <thread>
#include <vector>

#include "server/models/model_pool.h"
#include "server/models/model_session.h"
#include "tests/server/models/runner_doubles.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::HasReason;
using logitd::testing::IsOk;

constexpr int64_t kCacheTokens = 1024;

class CacheGrowthTest : public ::testing::Test {
 protected:
  CacheGrowthTest() {
    ModelDescription description;
    description.name = "m";
    description.vocab_size = RememberingRunner::kVocabSize;
    runner_ = std::make_unique<RememberingRunner>(description, RunnerCapacity{32, kCacheTokens, 64});
    auto model = pool_.Attach(description, RunnerCapabilities{.fork = true}, std::make_shared<const Vocabulary>(),
                              runner_->runner());
    EXPECT_THAT(model, IsOk());
    model_ = *model;
  }

  // A prompt of one token, and `steps` more; checks every row.
  void Generate(ModelSession& session, int steps, TokenId first) {
    ASSERT_THAT(session.Reserve({1, 2, 1 + steps}, "prompt", context_), IsOk());
    std::vector<TokenId> tokens;
    SequenceWork work;
    work.sequence_id = session.NewSequence();
    for (int step = 0; step <= steps; ++step) {
      tokens.push_back((first + step) % 4);
      work.append_token_ids = {tokens.back()};
      work.is_step = step > 0;
      work.rows.clear();
      work.AskForLast();
      const auto rows = session.Evaluate({work}, context_);
      ASSERT_THAT(rows, IsOk());
      ASSERT_THAT((*rows)[0].status, IsOk());
      ASSERT_EQ((*rows)[0].logits(), RememberingRunner::Row(tokens, tokens.size()));
    }
  }

  RequestContext context_;
  ModelPool pool_{[](const std::string&, const std::string&, bool) {}};
  std::unique_ptr<RememberingRunner> runner_;
  std::shared_ptr<ServedModel> model_;
};

TEST_F(CacheGrowthTest, SixteenRunAtOnceUntilItIsFullAndAllEnd) {
  constexpr int kSessions = 16;
  constexpr int kSteps = 249;
  // The age is the order of birth.
  std::deque<ModelSession> sessions;
  for (int i = 0; i < kSessions; ++i) sessions.emplace_back(*model_);
  std::vector<std::thread> threads;
  for (int i = 0; i < kSessions; ++i) {
    threads.emplace_back([&, i] {
      Generate(sessions[static_cast<size_t>(i)], kSteps, i);
      sessions[static_cast<size_t>(i)].Suspend();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(runner_->most_open_sequences(), kSessions);
  EXPECT_LE(runner_->most_cached_tokens(), kCacheTokens);
  const int64_t needed = kSessions * (kSteps + 1);
  EXPECT_GE(runner_->token_count(), needed);
  EXPECT_LE(runner_->token_count(), 2 * needed);
}

// Room is given, and taken again before whoever waited for it has woken up: nobody is told of that.
TEST_F(CacheGrowthTest, NobodyIsToldThatItWasSuspended) {
  constexpr int kThreads = 20;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int round = 0; round < 12; ++round) {
        ModelSession session(*model_);
        Generate(session, 60 + (i * 37 + round * 61) % 190, i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(runner_->most_cached_tokens(), kCacheTokens);
}

TEST_F(CacheGrowthTest, ASuspendedSessionCanBeCancelled) {
  ModelSession oldest(*model_);
  ModelSession youngest(*model_);
  ASSERT_THAT(oldest.Reserve({1, 600, kCacheTokens}, "prompt", context_), IsOk());
  ASSERT_THAT(youngest.Reserve({1, 400, 400}, "prompt", context_), IsOk());
  SequenceWork work;
  work.sequence_id = youngest.NewSequence();
  work.append_token_ids = std::vector<TokenId>(400, 1);
  work.AskForLast();
  ASSERT_THAT(youngest.Evaluate({work}, context_), IsOk());
  SequenceWork large;
  large.sequence_id = oldest.NewSequence();
  large.append_token_ids = std::vector<TokenId>(kCacheTokens, 2);
  large.AskForLast();
  const auto rows = oldest.Evaluate({large}, context_);
  ASSERT_THAT(rows, IsOk());
  EXPECT_EQ((*rows)[0].logits(), RememberingRunner::Row(large.append_token_ids, large.append_token_ids.size()));
  // The youngest waits for the oldest.
  RequestContext hasty;
  hasty.deadline = std::chrono::system_clock::now() + std::chrono::milliseconds(20);
  work.append_token_ids = {3};
  work.rows.clear();
  work.AskForLast();
  EXPECT_THAT(youngest.Evaluate({work}, hasty), HasReason(ErrorReason::kDeadlineExceeded));
  oldest.Suspend();
  const auto later = youngest.Evaluate({work}, context_);
  ASSERT_THAT(later, IsOk());
  std::vector<TokenId> all(400, 1);
  all.push_back(3);
  EXPECT_EQ((*later)[0].logits(), RememberingRunner::Row(all, all.size()));
}

}  // namespace
}  // namespace logitd::server
