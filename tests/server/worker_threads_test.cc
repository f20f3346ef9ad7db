#include "server/worker_threads.h"

#include <atomic>
#include <chrono>
#include <latch>
#include <thread>

#include "gtest/gtest.h"

namespace logitd::server {
namespace {

TEST(WorkerThreadsTest, BlockedTasksDoNotHoldUpOthers) {
  std::latch all_running(8);
  std::atomic<int> done = 0;
  {
    WorkerThreads workers;
    for (int i = 0; i < 8; ++i) {
      workers.Run([&] {
        // Passes only if all eight run at once.
        all_running.arrive_and_wait();
        ++done;
      });
    }
  }
  EXPECT_EQ(done, 8);
}

TEST(WorkerThreadsTest, EveryTaskRunsBeforeTheEnd) {
  std::atomic<int> done = 0;
  {
    WorkerThreads workers;
    for (int i = 0; i < 1000; ++i) workers.Run([&] { ++done; });
  }
  EXPECT_EQ(done, 1000);
}

TEST(WorkerThreadsTest, IdleThreadsEnd) {
  WorkerThreads workers(std::chrono::milliseconds(1));
  for (int round = 0; round < 3; ++round) {
    std::latch all_running(8);
    for (int i = 0; i < 8; ++i) {
      EXPECT_TRUE(workers.Run([&] { all_running.arrive_and_wait(); }));
    }
    all_running.wait();
    while (workers.thread_count() > 0) std::this_thread::yield();
  }
}

// A low load that goes on keeps one thread busy, not all of them awake in turn.
TEST(WorkerThreadsTest, TheLastToBeIdleIsTheFirstToBeBusy) {
  std::latch all_running(8);
  std::atomic<int> done = 0;
  WorkerThreads workers(std::chrono::milliseconds(200));
  for (int i = 0; i < 8; ++i) workers.Run([&] { all_running.arrive_and_wait(); });
  all_running.wait();
  for (int i = 1; workers.thread_count() > 1; ++i) {
    workers.Run([&] { ++done; });
    while (done < i) std::this_thread::yield();
  }
  EXPECT_EQ(workers.thread_count(), 1u);
}

TEST(WorkerThreadsTest, TasksAndEndsMayMeet) {
  std::atomic<int> done = 0;
  {
    WorkerThreads workers(std::chrono::milliseconds(0));
    for (int i = 0; i < 5000; ++i) workers.Run([&] { ++done; });
  }
  EXPECT_EQ(done, 5000);
}

}  // namespace
}  // namespace logitd::server
