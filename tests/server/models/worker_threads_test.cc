#include "server/worker_threads.h"

#include <atomic>
#include <latch>

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

}  // namespace
}  // namespace logitd::server
