#include "server/process_end.h"

#include <grpc/grpc.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <iostream>
#include <thread>

#include "server/logging.h"

#if defined(__SANITIZE_ADDRESS__)
#define LOGITD_FINDS_LEAKS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LOGITD_FINDS_LEAKS 1
#endif
#endif
#ifdef LOGITD_FINDS_LEAKS
#include <sanitizer/lsan_interface.h>
#endif

namespace logitd::server {
namespace {

// Set by the first of EndProcess and the end of the grace period.
std::atomic<bool> is_ending = false;

}  // namespace

void KeepGrpcRunning() { ::grpc_init(); }

void EndProcessAfter(std::chrono::milliseconds time) {
  std::thread([time] {
    std::this_thread::sleep_for(time);
    if (is_ending.exchange(true)) return;
    Log(LogLevel::kWarn, "stopped: the grace period is over");
    ::_exit(0);
  }).detach();
}

void EndProcess(int status) {
  // The other thread ends the process.
  while (is_ending.exchange(true)) ::pause();
  std::cout.flush();
  std::fflush(nullptr);
#ifdef LOGITD_FINDS_LEAKS
  __lsan_do_leak_check();
#endif
  ::_exit(status);
}

}  // namespace logitd::server
