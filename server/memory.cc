#include "server/memory.h"

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <stop_token>
#include <utility>

namespace logitd::server {
namespace {

using std::chrono::milliseconds;

// glibc makes up to 8 heaps for each CPU, and what is free in one is of no use to the others.
constexpr int kMostHeaps = 4;
// glibc finds both by itself, from what is freed first: with bad luck every row is in fresh pages from the system,
// which took a Decode step of a row of 128,256 values from 0.50 to 0.69 ms. The first is the largest that it may come
// to.
constexpr int kLargestInHeapBytes = 32 << 20;
// What is free at the end of a heap stays with the process, in all heaps but the first whatever malloc_trim does. 64
// MiB, which glibc may come to, left 132 MiB after a peak of 780 MiB; 16 MiB left 30.
constexpr int kFreeAtEndBytes = 16 << 20;
// How often it is looked.
constexpr milliseconds kLookTime{500};
// It takes at most one part in so many of the time.
constexpr int kTimeShare = 200;
constexpr milliseconds kLeastWait{1000};
constexpr milliseconds kMostWait{4000};
// The size of a process is never quite still.
constexpr int64_t kStillBytes = 4 << 20;

}  // namespace

void SetUpAllocator() {
  ::mallopt(M_ARENA_MAX, kMostHeaps);
  ::mallopt(M_MMAP_THRESHOLD, kLargestInHeapBytes);
  ::mallopt(M_TRIM_THRESHOLD, kFreeAtEndBytes);
}

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0;
  int64_t resident = 0;
  file >> size >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

bool ReturnSchedule::IsDue(int64_t resident_bytes, int64_t bytes_in_work, Clock::time_point now) {
  least_bytes_ = std::min(least_bytes_, resident_bytes);
  if (resident_bytes < least_bytes_ + kWorthBytes || now < next_) return false;
  // Nothing has happened: what is there is in use.
  return std::abs(resident_bytes - resident_after_) > kStillBytes || bytes_in_work != in_work_after_;
}

void ReturnSchedule::Done(int64_t resident_bytes, int64_t bytes_in_work, Clock::duration duration,
                          Clock::time_point now) {
  least_bytes_ = std::min(least_bytes_, resident_bytes);
  resident_after_ = resident_bytes;
  in_work_after_ = bytes_in_work;
  next_ = now + std::clamp<Clock::duration>(kTimeShare * duration, kLeastWait, kMostWait);
}

MemoryReturn::MemoryReturn(std::function<int64_t()> bytes_in_work)
    : thread_([bytes_in_work = std::move(bytes_in_work),
               schedule = ReturnSchedule(ResidentBytes())](std::stop_token stop) mutable {
        std::mutex mutex;
        std::condition_variable_any stopped;
        std::unique_lock lock(mutex);
        while (!stopped.wait_for(lock, stop, kLookTime, [&] { return stop.stop_requested(); })) {
          const auto begun = ReturnSchedule::Clock::now();
          const int64_t in_work = bytes_in_work();
          if (!schedule.IsDue(ResidentBytes(), in_work, begun)) continue;
          ::malloc_trim(0);
          const auto ended = ReturnSchedule::Clock::now();
          schedule.Done(ResidentBytes(), in_work, ended - begun, ended);
        }
      }) {}

}  // namespace logitd::server
