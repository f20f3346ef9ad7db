// How a client reaches a server, and how long it waits.
#ifndef LOGITD_CLIENT_LOGITD_OPTIONS_H_
#define LOGITD_CLIENT_LOGITD_OPTIONS_H_

#include <chrono>
#include <optional>
#include <string>

namespace logitd::client {

// The address where `logitd` listens by default.
inline constexpr char kDefaultAddress[] = "127.0.0.1:50051";

// The largest message either way, in bytes. The server's own cap (Limits.max_message_bytes) has the same default;
// gRPC's default of 4 MiB is one row of 2^20 f32 logits, too little for a batch.
inline constexpr int kMaxMessageBytes = 64 << 20;

struct Options {
  // HOST:PORT ("[::1]:50051" for IPv6) or unix:PATH.
  std::string address = kDefaultAddress;

  // Deadline of each call, from its start to its last message. Unset: none, a long generation is not cut off.
  std::optional<std::chrono::milliseconds> timeout = std::nullopt;

  // The longest time for one attempt to connect to a host that does not answer. A refused connection fails at once.
  std::chrono::milliseconds connect_timeout = std::chrono::seconds(5);

  // The interval of probes of a silent connection while a call runs. Less than 5 minutes needs the server's permission:
  // gRPC servers end connections that ping more often (ENHANCE_YOUR_CALM).
  std::chrono::milliseconds keepalive_time = std::chrono::minutes(6);
  // A connection whose probe has no answer for this time is lost.
  std::chrono::milliseconds keepalive_timeout = std::chrono::seconds(20);
};

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_OPTIONS_H_
