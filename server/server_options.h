// What a server is started with, from the flags of logitd to where each is used.
#ifndef LOGITD_SERVER_SERVER_OPTIONS_H_
#define LOGITD_SERVER_SERVER_OPTIONS_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "server/limits.h"

namespace logitd::server {

// How the two ends of an attachment know that the other lives.
struct HeartbeatTimes {
  // Longest time without a message, either way.
  std::chrono::milliseconds interval{1000};
  // A side that has been silent for so long is taken for dead. Several intervals, and longer than a busy machine may
  // keep a process from running.
  std::chrono::milliseconds silence_limit{10'000};
};

struct ServerOptions {
  // For clients: HOST:PORT (port 0: any free one) or unix:PATH.
  std::vector<std::string> listen;
  // For model runners: the same forms. Empty: a socket in a private directory of its own.
  std::string runner_listen;
  // Addresses off loopback without TLS: whoever can reach them can use the server.
  bool allow_plaintext = false;
  // As limits of the same names; tests use smaller ones.
  std::chrono::milliseconds max_idle{kMaxIdleMs};
  std::chrono::milliseconds max_stall{kMaxStallMs};
  int32_t max_calls = kMaxCalls;
  int32_t max_open_streams = kMaxOpenStreams;
  int32_t max_watches = kMaxWatches;
  int64_t max_bytes_in_work = kMaxBytesInWork;
  // Between the server and its runners.
  HeartbeatTimes heartbeats;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVER_OPTIONS_H_
