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

// glibc makes up to 8 heaps for each CPU, and no heap can use the free memory of another.
constexpr int kMostHeaps = 4;
// glibc adapts both thresholds to the first freed blocks. With bad luck every row then lies in fresh pages of the
// system: a Decode step of a row of 128,256 values took 0.69 ms instead of 0.50. The first threshold is the largest
// that glibc allows.
constexpr int kLargestInHeapBytes = 32 << 20;
// The free end of a heap up to this size stays with the process; except in the first heap, malloc_trim does not change
// that. 64 MiB, to which glibc may adapt, left 132 MiB after a peak of 780 MiB; 16 MiB left 30.
constexpr int kFreeAtEndBytes = 16 << 20;
// The time between two checks.
constexpr milliseconds kLookTime{500};
// Returning memory takes at most 1 / kTimeShare of the time.
constexpr int kTimeShare = 200;
constexpr milliseconds kLeastWait{1000};
constexpr milliseconds kMostWait{4000};
// Smaller changes of the size are noise.
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
  // Nothing has happened, so the memory is in use.
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
