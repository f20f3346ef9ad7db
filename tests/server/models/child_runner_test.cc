#include "server/models/child_runner.h"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

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
  ChildRunner runner({"/bin/sh", "-c", "exit 7"}, [&](std::chrono::milliseconds) { exits.Count(); });
  EXPECT_TRUE(exits.WaitFor(2));
  EXPECT_EQ(runner.last_exit(), "exit status 7");
  EXPECT_GE(runner.exit_count(), 2);
}

TEST(ChildRunnerTest, MissingProgramIsSaid) {
  Exits exits;
  ChildRunner runner({"/nowhere/logitd-llama"}, [&](std::chrono::milliseconds) { exits.Count(); });
  EXPECT_TRUE(exits.WaitFor(1));
  EXPECT_EQ(runner.last_exit(), "cannot start /nowhere/logitd-llama");
}

TEST(ChildRunnerTest, RunningChildIsStopped) {
  Exits exits;
  const auto start = std::chrono::steady_clock::now();
  {
    ChildRunner runner({"/bin/sleep", "1000"}, [&](std::chrono::milliseconds) { exits.Count(); });
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(ChildRunnerTest, DelayGrowsForAChildThatNeverServed) {
  std::mutex mutex;
  std::vector<std::chrono::milliseconds> delays;
  Exits exits;
  {
    ChildRunner runner({"/bin/false"}, [&](std::chrono::milliseconds restart_in) {
      {
        std::lock_guard lock(mutex);
        delays.push_back(restart_in);
      }
      exits.Count();
    });
    EXPECT_TRUE(exits.WaitFor(3));
  }
  ASSERT_GE(delays.size(), 3u);
  EXPECT_LT(delays[0], delays[1]);
  EXPECT_LT(delays[1], delays[2]);
}

TEST(ChildRunnerTest, ChildThatHadServedIsStartedAgainAtOnce) {
  std::mutex mutex;
  std::vector<std::chrono::milliseconds> delays;
  Exits exits;
  std::optional<ChildRunner> runner;
  std::mutex made;
  std::unique_lock making(made);
  runner.emplace(std::vector<std::string>{"/bin/cat", "/dev/null"}, [&](std::chrono::milliseconds restart_in) {
    { std::lock_guard wait(made); }
    {
      std::lock_guard lock(mutex);
      delays.push_back(restart_in);
    }
    // Of the one that is started next.
    runner->OnAttached();
    exits.Count();
  });
  making.unlock();
  EXPECT_TRUE(exits.WaitFor(5));
  runner.reset();
  for (size_t i = 1; i < delays.size(); ++i) EXPECT_EQ(delays[i], delays[1]);
}

TEST(ChildRunnerTest, ChildThatHangsAfterItsAttachmentIsKilled) {
  Exits exits;
  // It does not mind SIGTERM, and a stopped process would not even get it.
  ChildRunner runner(
      {"/bin/sh", "-c", "trap '' TERM; exec sleep 1000"}, [&](std::chrono::milliseconds) { exits.Count(); },
      std::chrono::milliseconds(50));
  // Whenever the child has been started: told until it is.
  std::thread watcher([&] {
    runner.OnAttached();
    while (runner.exit_count() == 0) {
      runner.OnDetached();
      std::this_thread::yield();
    }
  });
  EXPECT_TRUE(exits.WaitFor(1));
  watcher.join();
  EXPECT_EQ(runner.last_exit(), "signal Killed");
}

TEST(ChildRunnerTest, StubbornChildIsKilledAtTheEnd) {
  const auto start = std::chrono::steady_clock::now();
  {
    ChildRunner runner(
        {"/bin/sh", "-c", "trap '' TERM; exec sleep 1000"}, [](std::chrono::milliseconds) {},
        std::chrono::milliseconds(50));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
}  // namespace logitd::server
