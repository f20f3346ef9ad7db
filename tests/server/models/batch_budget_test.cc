#include "server/models/batch_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

namespace logitd::server {
namespace {

using Seconds = std::chrono::duration<double>;

// A runner as the budget sees it.
struct Runner {
  double step_time = 0.05;
  double token_time = 0.005;
  double TimeOf(const BatchBudget::Content& content) const {
    return (content.steps > 0 ? step_time : 0) + token_time * content.tokens;
  }
};

// What one batch takes.
double Serve(BatchBudget& budget, const Runner& runner, const BatchBudget::Content& content) {
  budget.OnBegin(content);
  const double time = runner.TimeOf(content);
  budget.OnEnd(content, Seconds(time));
  return time;
}

struct Read {
  double time = 0;
  double longest_batch = 0;
};

Read ReadPrompt(BatchBudget& budget, const Runner& runner, int tokens, int steps) {
  Read read;
  while (tokens > 0) {
    const BatchBudget::Content content{steps, std::min(tokens, budget.TokensBeside(steps))};
    const double time = Serve(budget, runner, content);
    read.time += time;
    read.longest_batch = std::max(read.longest_batch, time);
    tokens -= content.tokens;
  }
  return read;
}

TEST(BatchBudgetTest, WithoutStepsABatchIsAsLargeAsTheRunnerTakes) { EXPECT_EQ(BatchBudget(512).TokensBeside(0), 512); }

TEST(BatchBudgetTest, StepsOfUnknownTimeComeAloneFirst) {
  BatchBudget budget(512);
  EXPECT_EQ(budget.TokensBeside(1), 0);
  Serve(budget, Runner(), {1, 0});
  EXPECT_EQ(budget.TokensBeside(1), 0);
  Serve(budget, Runner(), {1, 0});
  EXPECT_GT(budget.TokensBeside(1), 0);
  // Three steps take as long as one, at least.
  EXPECT_GT(budget.TokensBeside(3), 0);
}

TEST(BatchBudgetTest, APromptMakesStepsFourTimesAsLongAtMostAndIsReadInTwiceItsTime) {
  for (const Runner& runner : {Runner{0.05, 0.005}, Runner{0.002, 0.00002}, Runner{0.3, 0.01}, Runner{0.02, 0.002}}) {
    BatchBudget budget(512);
    for (int i = 0; i < 5; ++i) Serve(budget, runner, {1, 0});
    const Read read = ReadPrompt(budget, runner, 2000, 1);
    const double usual = runner.TimeOf({1, 0});
    EXPECT_LE(read.longest_batch, 4 * usual) << runner.step_time;
    EXPECT_LE(read.time, 1.6 * 2000 * runner.token_time) << runner.step_time;
  }
}

TEST(BatchBudgetTest, ARunnerThatGetsSlowerIsFollowed) {
  BatchBudget budget(512);
  Runner runner{0.05, 0.001};
  for (int i = 0; i < 5; ++i) Serve(budget, runner, {1, 0});
  ReadPrompt(budget, runner, 2000, 1);
  runner.token_time = 0.01;
  ReadPrompt(budget, runner, 500, 1);
  EXPECT_LE(runner.TimeOf({1, budget.TokensBeside(1)}), 0.2);
}

// What else the machine did while the steps were measured must not make batches long for good.
TEST(BatchBudgetTest, ASlowSampleIsForgotten) {
  for (const double times : {3.0, 10.0, 100.0}) {
    BatchBudget budget(512);
    const Runner slow{0.01 * times, 0.001};
    const Runner runner{0.01, 0.001};
    for (int i = 0; i < 3; ++i) Serve(budget, slow, {1, 0});
    ReadPrompt(budget, runner, 2000, 1);
    // And while prompts keep coming.
    const Read read = ReadPrompt(budget, runner, 2000, 1);
    EXPECT_LE(read.longest_batch, 4 * runner.step_time) << times;
    EXPECT_LE(read.time, 1.6 * 2000 * runner.token_time) << times;
  }
}

TEST(BatchBudgetTest, TokensThatCostNothingFillTheBatch) {
  BatchBudget budget(512);
  const Runner runner{0.002, 0};
  Serve(budget, runner, {4, 0});
  Serve(budget, runner, {4, 0});
  ReadPrompt(budget, runner, 5000, 4);
  EXPECT_EQ(budget.TokensBeside(4), 512);
}

TEST(BatchBudgetTest, HoweverSlowTokensAreAPromptComesToItsEnd) {
  BatchBudget budget(512);
  const Runner runner{0.001, 1};
  Serve(budget, runner, {1, 0});
  Serve(budget, runner, {1, 0});
  ReadPrompt(budget, runner, 100, 1);
  EXPECT_GT(budget.TokensBeside(1), 0);
}

TEST(BatchBudgetTest, AStepThatIsLateStillRuns) {
  BatchBudget budget(512);
  const Runner runner;
  for (int i = 0; i < 5; ++i) Serve(budget, runner, {1, 0});
  EXPECT_LT(budget.TokensBeside(0, 1), 512);
  Serve(budget, runner, {0, 16});
  EXPECT_LT(budget.TokensBeside(0, 1), 512);
  Serve(budget, runner, {0, 16});
  EXPECT_EQ(budget.TokensBeside(0, 1), 512);
}

// The next request of the only client has the whole batch for its prompt.
TEST(BatchBudgetTest, AStepThatHasEndedDoesNot) {
  BatchBudget budget(512);
  for (int i = 0; i < 5; ++i) Serve(budget, Runner(), {1, 0});
  EXPECT_EQ(budget.TokensBeside(0, 0), 512);
}

}  // namespace
}  // namespace logitd::server
