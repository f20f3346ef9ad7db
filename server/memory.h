// Returns memory to the system after a peak.
//
// glibc keeps freed memory for the next allocation. That is right under a steady load, and wrong for a server that had
// a peak an hour ago and shares its machine.
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

// Bounds the number of heaps, whatever the number of threads. REQUIRES: the process has one thread.
void SetUpAllocator();

// The resident size of the process, bytes; 0 if the system does not report it.
int64_t ResidentBytes();

// Decides when to return memory. Pure: the caller passes the time and the size. For one thread.
class ReturnSchedule {
 public:
  using Clock = std::chrono::steady_clock;

  // `resident_bytes`: the resident size at the start.
  explicit ReturnSchedule(int64_t resident_bytes) : least_bytes_(resident_bytes) {}

  // Whether to return memory now. `bytes_in_work`: the memory of requests at the moment.
  bool IsDue(int64_t resident_bytes, int64_t bytes_in_work, Clock::time_point now);
  // Reports that memory was returned: `resident_bytes` are left; for `duration` no thread could allocate.
  void Done(int64_t resident_bytes, int64_t bytes_in_work, Clock::duration duration, Clock::time_point now);

  // Returning less than this is not worth the pause.
  static constexpr int64_t kWorthBytes = 32 << 20;

 private:
  // The smallest resident size so far.
  int64_t least_bytes_;
  // The resident size after the last return.
  int64_t resident_after_ = 0;
  int64_t in_work_after_ = 0;
  Clock::time_point next_ = Clock::time_point::min();
};

// Returns memory on a thread of its own as long as it exists.
class MemoryReturn {
 public:
  // `bytes_in_work` must be callable from any thread.
  explicit MemoryReturn(std::function<int64_t()> bytes_in_work);

 private:
  std::jthread thread_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MEMORY_H_
