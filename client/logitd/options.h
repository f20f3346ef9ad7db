// How a client reaches a server, and how long it waits.
#ifndef LOGITD_CLIENT_LOGITD_OPTIONS_H_
#define LOGITD_CLIENT_LOGITD_OPTIONS_H_

#include <chrono>
#include <optional>
#include <string>

namespace logitd::client {

// Where `logitd` listens if nobody says otherwise.
inline constexpr char kDefaultAddress[] = "127.0.0.1:50051";

// Largest message either way, bytes. The server's own cap (Limits.max_message_bytes) has the same default; gRPC's
// default of 4 MiB is one row of 2^20 f32 logits, too little for a batch.
inline constexpr int kMaxMessageBytes = 64 << 20;

struct Options {
  // HOST:PORT ("[::1]:50051" for IPv6) or unix:PATH.
  std::string address = kDefaultAddress;

  // Deadline of each call, from its start to its last message. Unset: none, a long generation is not cut off.
  std::optional<std::chrono::milliseconds> timeout = std::nullopt;

  // Longest time for one attempt to connect. A refused connection fails at once; this is for hosts that do not answer.
  std::chrono::milliseconds connect_timeout = std::chrono::seconds(5);

  // A silent connection is probed this often while a call runs. Not below 5 minutes unless the server permits it: gRPC
  // servers end connections that ping more often than that (ENHANCE_YOUR_CALM).
  std::chrono::milliseconds keepalive_time = std::chrono::minutes(6);
  // No answer to the probe for so long: the connection is lost.
  std::chrono::milliseconds keepalive_timeout = std::chrono::seconds(20);
};

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_OPTIONS_H_
