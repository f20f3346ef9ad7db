#include "client/runner/llama/free_cpus.h"

#include "gmock/gmock.h"

namespace logitd::runner {
namespace {

using std::chrono::milliseconds;
using ::testing::DoubleNear;
using ::testing::Optional;

// A line is user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice: hundredths of a second.
constexpr char kStat[] =
    "cpu  900 90 90 9000 9 9 9 9 0 0\n"
    "cpu0 100 10 20 1000 40 1 2 3 50 60\n"
    "cpu1 200 20 30 2000 0 0 0 0 0 0\n"
    "cpu12 400 40 0 0 0 0 0 0 0 0\n"
    "intr 12 0 0\n";

TEST(BusySecondsTest, AreThoseOfTheCpusThatAreAskedFor) {
  EXPECT_THAT(BusySeconds(kStat, {0}, false), Optional(DoubleNear(1.26, 1e-9)));
  EXPECT_THAT(BusySeconds(kStat, {0, 1}, false), Optional(DoubleNear(3.56, 1e-9)));
  EXPECT_THAT(BusySeconds(kStat, {12}, false), Optional(DoubleNear(4.0, 1e-9)));
}

TEST(BusySecondsTest, HaveThoseOfNicedProgramsIfTheyCount) {
  EXPECT_THAT(BusySeconds(kStat, {0}, true), Optional(DoubleNear(1.36, 1e-9)));
}

TEST(BusySecondsTest, AreNotKnownOfACpuThatIsNotThere) {
  EXPECT_EQ(BusySeconds(kStat, {0, 2}, false), std::nullopt);
  EXPECT_EQ(BusySeconds("", {0}, false), std::nullopt);
  EXPECT_EQ(BusySeconds(kStat, {}, false), std::nullopt);
  EXPECT_EQ(BusySeconds("cpu0 100 10\n", {0}, false), std::nullopt);
}

TEST(ThreadsBesideTest, LeavesOthersWhatTheyUse) {
  EXPECT_EQ(ThreadsBeside(2, 2, 0), 2);
  EXPECT_EQ(ThreadsBeside(2, 2, 0.5), 2);
  EXPECT_EQ(ThreadsBeside(2, 2, 0.7), 1);
  EXPECT_EQ(ThreadsBeside(2, 2, 1), 1);
  EXPECT_EQ(ThreadsBeside(16, 16, 2), 14);
  EXPECT_EQ(ThreadsBeside(16, 16, 2.7), 13);
}

TEST(ThreadsBesideTest, StaysBetweenOneAndTheLimit) {
  EXPECT_EQ(ThreadsBeside(4, 16, 0), 4);
  EXPECT_EQ(ThreadsBeside(4, 16, 11), 4);
  EXPECT_EQ(ThreadsBeside(4, 16, 14), 2);
  EXPECT_EQ(ThreadsBeside(4, 4, 4), 1);
  // Counted in hundredths, what all have used may seem less than what this process has.
  EXPECT_EQ(ThreadsBeside(4, 4, -0.3), 4);
}

class FreeCpusTest : public ::testing::Test {
 protected:
  // The time goes on by so much, in which this process and others have used so many seconds.
  void Pass(milliseconds time, double own, double others) {
    now_ += time;
    use_->all += own + others;
    use_->own += own;
  }

  FreeCpus::Clock::time_point now_{};
  std::optional<CpuUse> use_ = CpuUse{1000, 10};
  int looks_ = 0;
  FreeCpus MakeCpus() {
    return FreeCpus(
        4, 4,
        [this] {
          ++looks_;
          return use_;
        },
        [this] { return now_; });
  }
};

TEST_F(FreeCpusTest, FollowsWhatOthersUse) {
  FreeCpus cpus = MakeCpus();
  EXPECT_EQ(cpus.Begin(), 4);
  Pass(milliseconds(500), 1.0, 1.0);
  cpus.End();
  EXPECT_EQ(cpus.Begin(), 2);
  Pass(milliseconds(500), 1.0, 0.01);
  cpus.End();
  EXPECT_EQ(cpus.Begin(), 4);
}

TEST_F(FreeCpusTest, BeginsAgainAfterAPauseAndLooksSoon) {
  FreeCpus cpus = MakeCpus();
  Pass(milliseconds(500), 0, 2);
  cpus.End();
  EXPECT_EQ(cpus.Begin(), 1);
  cpus.End();
  // What this process waits for may be what others do.
  Pass(milliseconds(10'000), 0, 30);
  EXPECT_EQ(cpus.Begin(), 4);
  Pass(milliseconds(99), 0.1, 0.3);
  cpus.End();
  EXPECT_EQ(cpus.Begin(), 4);
  Pass(milliseconds(1), 0, 0);
  cpus.End();
  EXPECT_EQ(cpus.Begin(), 1);
}

TEST_F(FreeCpusTest, TakesALongBatchForNoPause) {
  FreeCpus cpus = MakeCpus();
  EXPECT_EQ(cpus.Begin(), 4);
  Pass(milliseconds(3000), 3, 6);
  cpus.End();
  EXPECT_EQ(cpus.Begin(), 2);
}

TEST_F(FreeCpusTest, LooksFourTimesASecond) {
  FreeCpus cpus = MakeCpus();
  for (int i = 0; i < 1100; ++i) {
    Pass(milliseconds(1), 0.004, 0);
    EXPECT_EQ(cpus.Begin(), 4);
    cpus.End();
  }
  // The first, after 100 ms, and after 350, 600, 850 and 1,100.
  EXPECT_EQ(looks_, 6);
}

TEST_F(FreeCpusTest, IsTheLimitWhereTheSystemDoesNotSay) {
  use_.reset();
  FreeCpus cpus = MakeCpus();
  now_ += milliseconds(500);
  EXPECT_EQ(cpus.Begin(), 4);
}

TEST_F(FreeCpusTest, IsTheLimitOnceTheSystemSaysNoMore) {
  FreeCpus cpus = MakeCpus();
  Pass(milliseconds(500), 0, 2);
  cpus.End();
  EXPECT_EQ(cpus.Begin(), 1);
  use_.reset();
  now_ += milliseconds(500);
  cpus.End();
  EXPECT_EQ(cpus.Begin(), 4);
}

TEST(FreeCpusOfThisMachineTest, AreInTheirRange) {
  FreeCpus cpus(3);
  const auto end = FreeCpus::Clock::now() + milliseconds(300);
  while (FreeCpus::Clock::now() < end) {
    const int threads = cpus.Begin();
    ASSERT_GE(threads, 1);
    ASSERT_LE(threads, 3);
    cpus.End();
  }
}

}  // namespace
}  // namespace logitd::runner
