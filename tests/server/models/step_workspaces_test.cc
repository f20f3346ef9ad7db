#include "server/step_workspaces.h"

#include <atomic>
#include <latch>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using ::logitd::testing::IsOk;

TEST(StepWorkspacesTest, NoMoreAreInUseThanThereAre) {
  constexpr int kCount = 2;
  constexpr int kThreads = 8;
  StepWorkspaces workspaces(kCount);
  std::latch begin(kThreads);
  std::atomic<int> in_use = 0;
  std::atomic<int> most = 0;
  std::mutex mutex;
  std::set<const StepWorkspace*> seen;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        begin.arrive_and_wait();
        for (int step = 0; step < 200; ++step) {
          const StepWorkspaces::Lease workspace = workspaces.Lend();
          const int now = ++in_use;
          for (int before = most; before < now && !most.compare_exchange_weak(before, now);) continue;
          {
            std::lock_guard lock(mutex);
            seen.insert(&*workspace);
          }
          --in_use;
        }
      });
    }
  }
  EXPECT_LE(most, kCount);
  EXPECT_LE(seen.size(), size_t{kCount});
}

TEST(StepWorkspacesTest, WhoFindsNoneGetsTheOneThatIsGivenBack) {
  StepWorkspaces workspaces(1);
  std::optional<StepWorkspaces::Lease> first(workspaces.Lend());
  const StepWorkspace* const only = &**first;
  std::atomic<bool> is_given_back = false;
  std::jthread waiting([&] {
    const StepWorkspaces::Lease second = workspaces.Lend();
    EXPECT_TRUE(is_given_back);
    EXPECT_EQ(&*second, only);
  });
  is_given_back = true;
  first.reset();
}

TEST(StepWorkspacesTest, AStepFindsNothingOfTheStepsBefore) {
  StepWorkspaces workspaces(1);
  const std::vector<float> wide(5000, 3.0f);
  const std::vector<float> narrow = {6, 3, 0.5, 0.5};
  const SamplingParams params{.temperature = 0.7, .top_p = 0.95};
  Distribution fresh;
  ASSERT_THAT(fresh.Assign(narrow, params, {}), IsOk());
  for (const SamplingParams& before :
       {SamplingParams{.temperature = 0}, SamplingParams{.temperature = 2, .top_k = 7, .repetition_penalty = 3}}) {
    const std::vector<TokenId> prompt = {0, 1, 4999};
    ASSERT_THAT(workspaces.Lend()->distribution.Assign(wide, before, {.prompt = prompt}), IsOk());
    const StepWorkspaces::Lease workspace = workspaces.Lend();
    Distribution& used = workspace->distribution;
    ASSERT_THAT(used.Assign(narrow, params, {}), IsOk());
    EXPECT_EQ(used.kept_count(), fresh.kept_count());
    EXPECT_EQ(used.total_weight(), fresh.total_weight());
    for (TokenId id = 0; id < 4; ++id) EXPECT_EQ(used.LogProb(id), fresh.LogProb(id)) << id;
    EXPECT_EQ(used.Entropy(), fresh.Entropy());
  }
}

}  // namespace
}  // namespace logitd::server
