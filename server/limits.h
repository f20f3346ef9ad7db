// The caps of one process: what it holds for all of its clients and runners. Caps on a request: core/limits.h.
#ifndef LOGITD_SERVER_LIMITS_H_
#define LOGITD_SERVER_LIMITS_H_

#include "core/limits.h"

namespace logitd {

// Calls of one connection at once; one more is refused. One client has room for its threads and streams; a connection
// is one lock and one flow-control window, so that more of them belong on several.
inline constexpr Limit kMaxStreamsPerConnection{"max_streams_per_connection", 256};
inline constexpr Limit kMaxRunners{"max_runners", 64};
// Calls that run at once, streams not counted: each holds a thread while it works or waits for a model. (The default;
// --max-calls.)
inline constexpr Limit kMaxCalls{"max_calls", 1024};
// Decode and ScoreLogits streams at once: one for each of 1,000 clients, and as many again. An idle one holds no thread
// but some 20 KiB (docs/operations.md), and less than 64 KiB of what it keeps is not in kMaxBytesInWork; one whose
// message is worked on holds a thread. (The default; --max-open-streams.)
inline constexpr Limit kMaxOpenStreams{"max_open_streams", 2048};
// Health watches at once: they hold no thread, and stay open for days.
inline constexpr Limit kMaxWatches{"max_watches", 1024};
// Memory of requests that are being worked on and of what streams keep, together: 7 of the largest messages, or the
// state of 12 of the largest streams and one message. Small messages have an eighth for themselves.
inline constexpr Limit kMaxBytesInWork{"max_bytes_in_work", int64_t{1} << 30};
// What gRPC may hold for all connections: messages on their way in and out. Twice what may be in work.
inline constexpr int64_t kMaxTransportBytes = int64_t{2} << 30;
// The headers of one call. gRPC's own cap is 8 KiB; tracing headers and tokens need room.
inline constexpr Limit kMaxMetadataBytes{"max_metadata_bytes", 16 << 10};
// A silent Decode stream: its client computes logits elsewhere, but not for so long. (The default; --max-idle.)
inline constexpr Limit kMaxIdleMs{"max_idle_ms", 600'000};
// An unread reply holds cache of a model and a thread. (The default; --max-stall.)
inline constexpr Limit kMaxStallMs{"max_stall_ms", 30'000};

}  // namespace logitd

#endif  // LOGITD_SERVER_LIMITS_H_
