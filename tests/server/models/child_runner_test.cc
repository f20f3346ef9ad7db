#include "server/models/child_runner.h"

#include <condition_variable>
#include <mutex>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd::server {
namespace {

// Waits for ends of a child.
class Exits {
 public:
  void Count() {
    std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  bool WaitFor(int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(30), [&] { return count_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

TEST(ChildRunnerTest, ChildThatEndsIsStartedAgain) {
  Exits exits;
  ChildRunner runner({"/bin/sh", "-c", "exit 7"}, [&] { exits.Count(); });
  EXPECT_TRUE(exits.WaitFor(2));
  EXPECT_EQ(runner.last_exit(), "exit status 7");
  EXPECT_GE(runner.exit_count(), 2);
}

TEST(ChildRunnerTest, MissingProgramIsSaid) {
  Exits exits;
  ChildRunner runner({"/nowhere/logitd-llama"}, [&] { exits.Count(); });
  EXPECT_TRUE(exits.WaitFor(1));
  EXPECT_EQ(runner.last_exit(), "cannot start /nowhere/logitd-llama");
}

TEST(ChildRunnerTest, RunningChildIsStopped) {
  Exits exits;
  const auto start = std::chrono::steady_clock::now();
  {
    ChildRunner runner({"/bin/sleep", "1000"}, [&] { exits.Count(); });
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
}  // namespace logitd::server
