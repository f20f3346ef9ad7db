// Every cap on what one server process holds for all its clients and runners. core/limits.h has those on a request.
#ifndef LOGITD_SERVER_LIMITS_H_
#define LOGITD_SERVER_LIMITS_H_

#include "core/limits.h"

namespace logitd {

// Calls of one connection at once. That is room for the threads and streams of one client. A connection is one lock and
// one flow-control window: a client with more calls should open several connections.
inline constexpr Limit kMaxStreamsPerConnection{"max_streams_per_connection", 256};
inline constexpr Limit kMaxRunners{"max_runners", 64};
// Calls that run at once, streams not counted. Each holds a thread while it works or waits for a model. Default of
// --max-calls.
inline constexpr Limit kMaxCalls{"max_calls", 1024};
// Decode and ScoreLogits streams that are open at once: two for each of 1,000 clients. Default of --max-open-streams.
// An idle stream holds no thread and about 20 KiB (docs/operations.md); kMaxBytesInWork misses less than 64 KiB of its
// state. A stream holds a thread while one of its messages is worked on.
inline constexpr Limit kMaxOpenStreams{"max_open_streams", 2048};
// Health watches that are open at once. They hold no thread and stay open for days.
inline constexpr Limit kMaxWatches{"max_watches", 1024};
// Memory of requests in work and of stream state, together: 7 of the largest messages, or the state of 12 of the
// largest streams and one message. Small messages have an eighth of it to themselves.
inline constexpr Limit kMaxBytesInWork{"max_bytes_in_work", int64_t{1} << 30};
// Bytes that gRPC may buffer for all connections, in and out. Twice kMaxBytesInWork.
inline constexpr int64_t kMaxTransportBytes = int64_t{2} << 30;
// Records of evaluated rows that the server keeps: those of some 300,000 tokens. Default of --record-cache-bytes.
inline constexpr int64_t kRecordCacheBytes = int64_t{64} << 20;
// Headers of one call. gRPC's default of 8 KiB is tight for tracing headers and tokens.
inline constexpr Limit kMaxMetadataBytes{"max_metadata_bytes", 16 << 10};
// A Decode or ScoreLogits stream may be silent for this long: its client may compute logits elsewhere meanwhile.
// Default of --max-idle.
inline constexpr Limit kMaxIdleMs{"max_idle_ms", 600'000};
// A client may leave a reply unread for this long: the call holds a thread and cache of a model. Default of
// --max-stall.
inline constexpr Limit kMaxStallMs{"max_stall_ms", 30'000};

}  // namespace logitd

#endif  // LOGITD_SERVER_LIMITS_H_
