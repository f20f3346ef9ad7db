#include "server/step_workspaces.h"

#include <atomic>
#include <chrono>
#include <latch>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using ::logitd::testing::IsOk;
using ::testing::ElementsAre;

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
          const auto lease = workspaces.Lend({});
          ASSERT_THAT(lease, IsOk());
          const StepWorkspaces::Lease& workspace = *lease;
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
  std::optional<StepWorkspaces::Lease> first(*workspaces.Lend({}));
  const StepWorkspace* const only = &**first;
  std::atomic<bool> is_given_back = false;
  std::jthread waiting([&] {
    const auto second = workspaces.Lend({});
    ASSERT_THAT(second, IsOk());
    EXPECT_TRUE(is_given_back);
    EXPECT_EQ(&**second, only);
  });
  is_given_back = true;
  first.reset();
}

void AwaitWaiting(const StepWorkspaces& workspaces, int count) {
  while (workspaces.waiting_count() < count) std::this_thread::yield();
}

TEST(StepWorkspacesTest, WhoWaitsIsServedInTurnAndNeverOvertaken) {
  constexpr int kThreads = 6;
  StepWorkspaces workspaces(1);
  std::optional<StepWorkspaces::Lease> first(*workspaces.Lend({}));
  std::mutex mutex;
  std::vector<int> order;
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      // Twice each, as the steps of a batch: the second time it comes after everybody's first.
      for (int step = 0; step < 2; ++step) {
        const auto workspace = workspaces.Lend({});
        ASSERT_THAT(workspace, IsOk());
        std::lock_guard lock(mutex);
        order.push_back(i);
      }
    });
    AwaitWaiting(workspaces, i + 1);
  }
  first.reset();
  threads.clear();
  ASSERT_EQ(order.size(), size_t{2 * kThreads});
  order.resize(kThreads);
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST(StepWorkspacesTest, WhoIsGivenUpWaitsNoLongerAndTheNextHasItsTurn) {
  StepWorkspaces workspaces(1);
  std::optional<StepWorkspaces::Lease> first(*workspaces.Lend({}));
  std::stop_source give_up;
  absl::Status cancelled, overdue;
  std::jthread waits_until_cancelled([&] { cancelled = workspaces.Lend({.given_up = give_up.get_token()}).status(); });
  AwaitWaiting(workspaces, 1);
  std::jthread waits_until_deadline([&] {
    overdue = workspaces.Lend({.deadline = std::chrono::system_clock::now() + std::chrono::milliseconds(20)}).status();
  });
  waits_until_deadline.join();
  EXPECT_EQ(overdue.code(), absl::StatusCode::kDeadlineExceeded);
  std::jthread waits([&] { EXPECT_THAT(workspaces.Lend({}), IsOk()); });
  AwaitWaiting(workspaces, 2);
  give_up.request_stop();
  waits_until_cancelled.join();
  EXPECT_EQ(cancelled.code(), absl::StatusCode::kCancelled);
  first.reset();
  waits.join();
  EXPECT_EQ(workspaces.waiting_count(), 0);
}

TEST(StepWorkspacesTest, WhoIsGivenUpGetsNoneEvenIfOneIsFree) {
  StepWorkspaces workspaces(1);
  std::stop_source give_up;
  give_up.request_stop();
  EXPECT_EQ(workspaces.Lend({.given_up = give_up.get_token()}).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(workspaces.Lend({.deadline = std::chrono::system_clock::now()}).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(workspaces.Lend({}), IsOk());
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
    ASSERT_THAT((*workspaces.Lend({}))->distribution.Assign(wide, before, {.prompt = prompt}), IsOk());
    const auto workspace = workspaces.Lend({});
    ASSERT_THAT(workspace, IsOk());
    Distribution& used = (*workspace)->distribution;
    ASSERT_THAT(used.Assign(narrow, params, {}), IsOk());
    EXPECT_EQ(used.CountKept(), fresh.CountKept());
    EXPECT_EQ(used.TotalWeight(), fresh.TotalWeight());
    for (TokenId id = 0; id < 4; ++id) EXPECT_EQ(used.LogProb(id), fresh.LogProb(id)) << id;
    EXPECT_EQ(used.Entropy(), fresh.Entropy());
  }
}

}  // namespace
}  // namespace logitd::server
