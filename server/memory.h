// Memory goes back to the system after a peak.
//
// What is freed stays with the process: glibc keeps it for the next allocation. That is right for a load that goes on,
// and wrong for a server that had a peak an hour ago and shares its machine.
//
//   SetUpAllocator();                                        // in main, before any thread
//   MemoryReturn memory_return([&] { return admission.bytes(); });
#ifndef LOGITD_SERVER_MEMORY_H_
#define LOGITD_SERVER_MEMORY_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <thread>

namespace logitd::server {

// Few heaps, however many threads there are. REQUIRES: the process has one thread.
void SetUpAllocator();

// What the process has in memory, bytes; 0 if the system does not say.
int64_t ResidentBytes();

// When memory is to be given back. Pure: it is told the time and the size. One thread.
class ReturnSchedule {
 public:
  using Clock = std::chrono::steady_clock;

  // `resident_bytes`: at the start.
  explicit ReturnSchedule(int64_t resident_bytes) : least_bytes_(resident_bytes) {}

  // Whether to give back now. `bytes_in_work`: what requests take at the moment.
  bool IsDue(int64_t resident_bytes, int64_t bytes_in_work, Clock::time_point now);
  // It was done: `resident_bytes` are left, and it took `duration`, in which others could not allocate.
  void Done(int64_t resident_bytes, int64_t bytes_in_work, Clock::duration duration, Clock::time_point now);

  // Less than this is not worth it.
  static constexpr int64_t kWorthBytes = 32 << 20;

 private:
  // The least that the process has had.
  int64_t least_bytes_;
  // After the last time.
  int64_t resident_after_ = 0;
  int64_t in_work_after_ = 0;
  Clock::time_point next_ = Clock::time_point::min();
};

// Gives memory back while it exists, on a thread of its own.
class MemoryReturn {
 public:
  // `bytes_in_work` must be callable from any thread.
  explicit MemoryReturn(std::function<int64_t()> bytes_in_work);

 private:
  std::jthread thread_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MEMORY_H_
