// The options of a server: one struct from the flags of logitd to the places that use them.
#ifndef LOGITD_SERVER_SERVER_OPTIONS_H_
#define LOGITD_SERVER_SERVER_OPTIONS_H_

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "server/converters/calibration.h"
#include "server/limits.h"

namespace logitd::server {

// The times by which the server and a runner notice that the other side is dead.
struct HeartbeatTimes {
  // Each side sends a message at least this often.
  std::chrono::milliseconds interval{1000};
  // A side that has been silent for this long is taken for dead. Several intervals, and longer than a busy machine
  // keeps a process from running.
  std::chrono::milliseconds silence_limit{10'000};
};

struct ServerOptions {
  // For clients: HOST:PORT (port 0: any free one) or unix:PATH.
  std::vector<std::string> listen;
  // For model runners: the same forms. Empty: a socket in a private directory of its own.
  std::string runner_listen;
  // Allows addresses off loopback, although there is no TLS: whoever can reach them can use the server.
  bool allow_plaintext = false;
  // The limits of these names (server/limits.h). Tests use smaller ones.
  std::chrono::milliseconds max_idle{kMaxIdleMs};
  std::chrono::milliseconds max_stall{kMaxStallMs};
  int32_t max_calls = kMaxCalls;
  int32_t max_open_streams = kMaxOpenStreams;
  int32_t max_watches = kMaxWatches;
  int64_t max_bytes_in_work = kMaxBytesInWork;
  // Requests share nothing that was evaluated.
  bool no_prefix_cache = false;
  // Score, Rank and Decide evaluate reproducibly unless a request says otherwise.
  bool reproducible = false;
  // The most bytes of records of evaluated rows.
  int64_t record_cache_bytes = kRecordCacheBytes;
  // Those that requests may name.
  Calibrations calibrations;
  HeartbeatTimes heartbeats;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVER_OPTIONS_H_
