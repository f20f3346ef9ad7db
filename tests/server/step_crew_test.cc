#include "server/step_crew.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd::server {
namespace {

TEST(StepCrewTest, EachPieceIsDoneOnce) {
  for (int helper_count : {0, 1, 3}) {
    StepCrew crew(helper_count);
    for (size_t count : {0, 1, 2, 3, 100}) {
      for (size_t helpers : {0, 1, 100}) {
        std::vector<int> times(count, 0);
        crew.Run(count, helpers, [&](size_t i) { ++times[i]; });
        EXPECT_THAT(times, ::testing::Each(1));
      }
    }
    EXPECT_LE(crew.thread_count(), static_cast<size_t>(helper_count));
  }
}

TEST(StepCrewTest, WhoWantsNoHelperHandsNothingOver) {
  StepCrew crew(3);
  std::set<std::thread::id> seen;
  crew.Run(50, /*helpers=*/0, [&](size_t) { seen.insert(std::this_thread::get_id()); });
  crew.Run(1, /*helpers=*/3, [&](size_t) { seen.insert(std::this_thread::get_id()); });
  EXPECT_THAT(seen, ::testing::ElementsAre(std::this_thread::get_id()));
  EXPECT_EQ(crew.thread_count(), 0u) << "no thread is made that nobody wants";
}

TEST(StepCrewTest, HelpersWorkAtOnceWithTheCaller) {
  StepCrew crew(3);
  // Each of the four pieces waits for the other three: they end only if four threads are at them.
  std::mutex mutex;
  std::condition_variable changed;
  int waiting = 0;
  crew.Run(4, 3, [&](size_t) {
    std::unique_lock lock(mutex);
    ++waiting;
    changed.notify_all();
    changed.wait(lock, [&] { return waiting == 4; });
  });
  EXPECT_EQ(waiting, 4);
  EXPECT_EQ(crew.thread_count(), 3u);
}

TEST(StepCrewTest, ManyCallersShareTheHelpersAndEndWithoutThem) {
  constexpr int kCallers = 16;
  constexpr size_t kPieces = 64;
  StepCrew crew(2);
  std::atomic<int> at_once = 0;
  std::atomic<int> most = 0;
  std::vector<std::vector<int>> sums(kCallers, std::vector<int>(kPieces, 0));
  {
    std::vector<std::jthread> callers;
    for (int caller = 0; caller < kCallers; ++caller) {
      callers.emplace_back([&, caller] {
        for (int round = 1; round <= 50; ++round) {
          crew.Run(kPieces, 2, [&](size_t i) {
            const int now = ++at_once;
            for (int before = most; before < now && !most.compare_exchange_weak(before, now);) continue;
            // Not atomic: that it is seen by the next round is what Run promises.
            sums[caller][i] += round;
            --at_once;
          });
        }
      });
    }
  }
  for (const auto& sum : sums) EXPECT_THAT(sum, ::testing::Each(50 * 51 / 2));
  EXPECT_LE(most, kCallers + 2) << "the callers, and the helpers of all of them";
  EXPECT_EQ(crew.thread_count(), 2u);
}

TEST(StepCrewTest, ACallerWhoseHelpersAreBusyElsewhereEndsAlone) {
  StepCrew crew(1);
  std::mutex mutex;
  std::condition_variable changed;
  bool is_at_work = false;
  bool may_end = false;
  std::jthread other([&] {
    // Both the caller and the helper wait in it.
    std::atomic<int> begun = 0;
    crew.Run(2, 1, [&](size_t) {
      std::unique_lock lock(mutex);
      if (++begun == 2) is_at_work = true;
      changed.notify_all();
      changed.wait(lock, [&] { return may_end; });
    });
  });
  {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return is_at_work; });
  }
  int done = 0;
  crew.Run(10, 1, [&](size_t) { ++done; });
  EXPECT_EQ(done, 10);
  std::lock_guard lock(mutex);
  may_end = true;
  changed.notify_all();
}

}  // namespace
}  // namespace logitd::server
