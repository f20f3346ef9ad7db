#include "server/models/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd::server {
namespace {

using ::testing::ElementsAre;

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

ChildEvents Counting(Exits& exits) {
  return {.on_exit = [&](const ChildExit&) { exits.Count(); }};
}

TEST(ChildProcessTest, ChildThatEndsIsStartedAgain) {
  Exits exits;
  ChildProcess runner("child", {"/bin/sh", "-c", "exit 7"}, Counting(exits));
  EXPECT_TRUE(exits.WaitFor(2));
  EXPECT_EQ(runner.last_exit(), "exit status 7");
  EXPECT_GE(runner.exit_count(), 2);
}

TEST(ChildProcessTest, MissingProgramIsSaid) {
  Exits exits;
  ChildProcess runner("child", {"/nowhere/logitd-llama"}, Counting(exits));
  EXPECT_TRUE(exits.WaitFor(1));
  EXPECT_EQ(runner.last_exit(), "cannot start /nowhere/logitd-llama");
}

TEST(ChildProcessTest, RunningChildIsStopped) {
  Exits exits;
  const auto start = std::chrono::steady_clock::now();
  { ChildProcess runner("child", {"/bin/sleep", "1000"}, Counting(exits)); }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(ChildProcessTest, ProcessesThatADeadChildLeavesAreReaped) {
  // As process 1 is of all: orphans become this process's children.
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  int door[2];
  ASSERT_EQ(::pipe2(door, O_CLOEXEC), 0);
  // Each reads until the door is closed, and dies after its parent.
  const std::string script = "cat <&" + std::to_string(door[0]) + " & echo $!; cat <&" + std::to_string(door[0]) +
                             " & echo $!; echo end; kill -SEGV $$";
  ASSERT_EQ(::fcntl(door[0], F_SETFD, 0), 0);
  std::promise<std::vector<pid_t>> orphans;
  std::vector<pid_t> pids;
  std::atomic<bool> is_told = false;
  {
    ChildProcess runner("child", {"/bin/sh", "-c", script},
                        {.on_exit =
                             [&](const ChildExit& exit) {
                               EXPECT_EQ(exit.last_line, "end");
                               if (!is_told.exchange(true)) orphans.set_value(pids);
                             },
                         .on_line =
                             [&](const std::string&, const std::string& line) {
                               if (!is_told) pids.push_back(std::stoi(line));
                             }});
    const std::vector<pid_t> left = orphans.get_future().get();
    ASSERT_EQ(left.size(), 2u);
    for (const pid_t pid : left) EXPECT_EQ(::kill(pid, 0), 0) << "it still reads";
    ::close(door[1]);
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    for (const pid_t pid : left) {
      while (::kill(pid, 0) == 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
      EXPECT_NE(::kill(pid, 0), 0) << "a zombie";
    }
  }
  ::close(door[0]);
  ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

TEST(ChildProcessTest, DelayGrowsForAChildThatNeverServed) {
  std::mutex mutex;
  std::vector<std::chrono::milliseconds> delays;
  Exits exits;
  {
    ChildProcess runner("child", {"/bin/false"}, {.on_exit = [&](const ChildExit& exit) {
                          {
                            std::lock_guard lock(mutex);
                            delays.push_back(exit.restart_in);
                          }
                          exits.Count();
                        }});
    EXPECT_TRUE(exits.WaitFor(3));
  }
  ASSERT_GE(delays.size(), 3u);
  EXPECT_LT(delays[0], delays[1]);
  EXPECT_LT(delays[1], delays[2]);
}

TEST(ChildProcessTest, ChildThatHadServedIsStartedAgainAtOnce) {
  std::mutex mutex;
  std::vector<std::chrono::milliseconds> delays;
  Exits exits;
  std::optional<ChildProcess> runner;
  std::mutex made;
  std::unique_lock making(made);
  ChildEvents events;
  events.on_exit = [&](const ChildExit& exit) {
    { std::lock_guard wait(made); }
    {
      std::lock_guard lock(mutex);
      delays.push_back(exit.restart_in);
    }
    // Of the one that is started next.
    runner->OnAttached();
    exits.Count();
  };
  runner.emplace("child", std::vector<std::string>{"/bin/cat", "/dev/null"}, events);
  making.unlock();
  EXPECT_TRUE(exits.WaitFor(5));
  runner.reset();
  for (size_t i = 1; i < delays.size(); ++i) EXPECT_EQ(delays[i], delays[1]);
}

TEST(ChildProcessTest, ChildThatHangsAfterItsAttachmentIsKilled) {
  Exits exits;
  // It does not mind SIGTERM, and a stopped process would not even get it.
  ChildProcess runner("child", {"/bin/sh", "-c", "trap '' TERM; exec sleep 1000"}, Counting(exits),
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
  EXPECT_EQ(runner.last_exit(), "signal SIGKILL (Killed): it had not ended by itself, and was killed");
}

TEST(ChildProcessTest, StubbornChildIsKilledAtTheEnd) {
  const auto start = std::chrono::steady_clock::now();
  {
    ChildProcess runner("child", {"/bin/sh", "-c", "trap '' TERM; exec sleep 1000"},
                        {.on_exit = [](const ChildExit&) {}}, std::chrono::milliseconds(50));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

// What a child's events said, in order.
class Story {
 public:
  ChildEvents events() {
    return {.on_exit =
                [this](const ChildExit& exit) { Tell("end: " + exit.end.cause + " after '" + exit.last_line + "'"); },
            .on_line = [this](const std::string&, const std::string& line) { Tell("line: " + line); }};
  }
  // Its first `count` events.
  std::vector<std::string> First(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(30), [&] { return told_.size() >= count; });
    return {told_.begin(), told_.begin() + static_cast<ptrdiff_t>(std::min(count, told_.size()))};
  }

 private:
  void Tell(std::string event) {
    std::lock_guard lock(mutex_);
    told_.push_back(std::move(event));
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> told_;
};

TEST(ChildProcessTest, LinesOfAChildAreReadToTheLast) {
  Story story;
  ChildProcess runner("child", {"/bin/sh", "-c", "echo out; echo err >&2; printf 'no end'; exit 3"}, story.events());
  EXPECT_THAT(story.First(3), ElementsAre("line: out", "line: err", "end: exit status 3 after 'no end'"))
      << "the line that a child ends with is told once";
  EXPECT_EQ(runner.last_line(), "no end");
}

TEST(ChildProcessTest, LongLineIsCutAndAFullPipeHoldsNobodyUp) {
  Story story;
  // Four times what a pipe holds, in one line.
  ChildProcess runner("child", {"/bin/sh", "-c", "head -c 262144 /dev/zero | tr '\\0' x; echo; echo after"},
                      story.events());
  EXPECT_THAT(story.First(2), ElementsAre("line: " + std::string(2000, 'x') + " [260144 bytes more]",
                                          "end: exit status 0 after 'after'"));
}

TEST(ChildProcessTest, GrandchildThatKeepsTheOutputHoldsNobodyUp) {
  Story story;
  ChildProcess runner("child", {"/bin/sh", "-c", "sleep 100 & echo $!; exit 4"}, story.events());
  const std::vector<std::string> told = story.First(1);
  ASSERT_EQ(told.size(), 1u);
  const std::string end = "end: exit status 4 after '";
  ASSERT_EQ(told[0].substr(0, end.size()), end);
  ::kill(std::stoi(told[0].substr(end.size())), SIGKILL);
}

TEST(ChildProcessTest, LineOfAChildThatGoesOnIsToldSoon) {
  Story story;
  ChildProcess runner("child", {"/bin/sh", "-c", "echo loading; exec sleep 1000"}, story.events());
  EXPECT_THAT(story.First(1), ElementsAre("line: loading"));
}

// The end that AwaitEnd tells of a child that has served.
RunnerEnd EndOfServing(const std::string& script) {
  std::promise<RunnerEnd> told;
  Exits exits;
  std::optional<ChildProcess> runner;
  // The child waits until it is known to serve.
  int gate[2];
  EXPECT_EQ(::pipe(gate), 0);
  ::fcntl(gate[1], F_SETFD, FD_CLOEXEC);
  runner.emplace("child",
                 std::vector<std::string>{"/bin/sh", "-c", "read line <&" + std::to_string(gate[0]) + "; " + script},
                 Counting(exits));
  runner->OnAttached();
  runner->OnDetached();
  const std::optional<RunnerEnd> known = runner->AwaitEnd([&](const RunnerEnd& end) { told.set_value(end); });
  EXPECT_FALSE(known.has_value()) << "it runs";
  ::close(gate[1]);
  RunnerEnd end = told.get_future().get();
  ::close(gate[0]);
  return end;
}

TEST(ChildProcessTest, SignalOfAChildIsToldToWhoWaitsForIt) {
  const RunnerEnd own = EndOfServing("kill -SEGV $$");
  EXPECT_EQ(own.kind, RunnerEnd::Kind::kOwnSignal);
  EXPECT_EQ(own.signal, "SIGSEGV");
  EXPECT_EQ(own.cause, "signal SIGSEGV (Segmentation fault)");
  const RunnerEnd killed = EndOfServing("kill -KILL $$");
  EXPECT_EQ(killed.kind, RunnerEnd::Kind::kOther);
  EXPECT_EQ(killed.signal, "");
  EXPECT_EQ(EndOfServing("exit 0").kind, RunnerEnd::Kind::kLeft);
}

TEST(ChildProcessTest, EndThatCameFirstIsKnownAtOnce) {
  Exits exits;
  std::optional<ChildProcess> runner;
  std::mutex made;
  std::unique_lock making(made);
  std::vector<RunnerEnd> known;
  ChildEvents events;
  events.on_exit = [&](const ChildExit&) {
    { std::lock_guard wait(made); }
    // Of the child that has just ended; the first one had not served.
    known.push_back(runner->AwaitEnd([](const RunnerEnd&) {}).value_or(RunnerEnd{}));
    // Of the one that is started next.
    runner->OnAttached();
    exits.Count();
  };
  runner.emplace("child", std::vector<std::string>{"/bin/sh", "-c", "kill -ABRT $$"}, events);
  making.unlock();
  EXPECT_TRUE(exits.WaitFor(2));
  runner.reset();
  EXPECT_EQ(known[0].kind, RunnerEnd::Kind::kUnknown);
  EXPECT_EQ(known[1].signal, "SIGABRT");
}

TEST(ChildProcessTest, WhoWaitsForAChildThatHangsIsTold) {
  Exits exits;
  ChildProcess runner("child", {"/bin/sleep", "1000"}, Counting(exits));
  runner.OnAttached();
  std::promise<RunnerEnd> told;
  ASSERT_FALSE(runner.AwaitEnd([&](const RunnerEnd& end) { told.set_value(end); }).has_value());
  EXPECT_EQ(told.get_future().get().kind, RunnerEnd::Kind::kUnknown) << "it runs on";
}

}  // namespace
}  // namespace logitd::server
