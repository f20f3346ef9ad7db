// Measures the memory available to this process, within the machine and within its control groups.
//
//   const AvailableMemory memory = MeasureAvailableMemory();
//   memory.bytes   // 1.6 GiB in a container that may use 2 GiB and uses 0.4 GiB
//
// Thread-safe: free functions without state.
#ifndef LOGITD_HOST_AVAILABLE_MEMORY_H_
#define LOGITD_HOST_AVAILABLE_MEMORY_H_

#include <cstdint>
#include <string>

namespace logitd::host {

struct AvailableMemory {
  // Bytes that can still be used without swapping. Cached pages of files count as free, because the kernel reclaims
  // them.
  int64_t bytes = 0;
  // The bound, for people: "this machine", or "the control group's limit of 2.0 GiB".
  std::string bound;
};

// The minimum of MemAvailable and of limit minus use of each control group from this process's own up to the root, in
// cgroup v1 and v2. `root` is "" except in tests, which put the files below a folder of their own.
AvailableMemory MeasureAvailableMemory(const std::string& root = "");

// "1.6 GiB", "640 MiB".
std::string ByteText(int64_t bytes);

}  // namespace logitd::host

#endif  // LOGITD_HOST_AVAILABLE_MEMORY_H_
