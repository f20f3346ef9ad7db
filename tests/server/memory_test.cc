#include "server/memory.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <thread>
#include <vector>

namespace logitd::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int64_t kMib = 1 << 20;
const ReturnSchedule::Clock::time_point kStart{std::chrono::hours(1)};

TEST(ReturnScheduleTest, IsDueAfterAPeak) {
  ReturnSchedule schedule(20 * kMib);
  EXPECT_FALSE(schedule.IsDue(51 * kMib, 0, kStart)) << "not worth it";
  EXPECT_TRUE(schedule.IsDue(800 * kMib, 0, kStart));
}

TEST(ReturnScheduleTest, TakesOnePartInTwoHundredOfTheTime) {
  ReturnSchedule schedule(20 * kMib);
  schedule.Done(100 * kMib, 0, milliseconds(10), kStart);
  EXPECT_FALSE(schedule.IsDue(800 * kMib, 0, kStart + milliseconds(1999)));
  EXPECT_TRUE(schedule.IsDue(800 * kMib, 0, kStart + milliseconds(2000)));
  // However quick it was, it waits a second; however slow, four.
  schedule.Done(100 * kMib, 0, milliseconds(0), kStart);
  EXPECT_FALSE(schedule.IsDue(800 * kMib, 0, kStart + milliseconds(999)));
  schedule.Done(100 * kMib, 0, seconds(1), kStart);
  EXPECT_FALSE(schedule.IsDue(800 * kMib, 0, kStart + milliseconds(3999)));
  EXPECT_TRUE(schedule.IsDue(800 * kMib, 0, kStart + seconds(4)));
}

// What streams hold stays: it is not looked for again until something has changed.
TEST(ReturnScheduleTest, LeavesAloneWhatIsInUse) {
  ReturnSchedule schedule(20 * kMib);
  schedule.Done(500 * kMib, 400 * kMib, milliseconds(1), kStart);
  EXPECT_FALSE(schedule.IsDue(501 * kMib, 400 * kMib, kStart + seconds(60)));
  EXPECT_TRUE(schedule.IsDue(501 * kMib, 100 * kMib, kStart + seconds(60))) << "some of it is free now";
}

TEST(MemoryReturnTest, GivesBackWhatIsFree) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer allocates by itself, and keeps what is freed";
#endif
  const int64_t before = ResidentBytes();
  ASSERT_GT(before, 0);
  const MemoryReturn memory_return([] { return int64_t{0}; });
  // Small pieces, so that none is a mapping of its own; one at the end keeps the heap from shrinking by itself.
  std::vector<std::unique_ptr<std::vector<char>>> pieces;
  for (int i = 0; i < 200'000; ++i) pieces.push_back(std::make_unique<std::vector<char>>(1000, 'x'));
  const int64_t peak = ResidentBytes();
  ASSERT_GT(peak, before + 180 * kMib);
  pieces.erase(pieces.begin(), pieces.end() - 1);
  while (ResidentBytes() > before + 50 * kMib) std::this_thread::yield();
}

}  // namespace
}  // namespace logitd::server
