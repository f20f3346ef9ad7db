// Every cap on what a request may ask for, each with its reason. GetServerInfo reports them (server/handlers).
#ifndef LOGITD_CORE_LIMITS_H_
#define LOGITD_CORE_LIMITS_H_

#include <cstdint>

namespace logitd {

// The integer weights of a row are sums of at most 2^20 terms of at most 2^42: they fit 63 bits. docs/numerics.md.
inline constexpr int32_t kMaxVocabSize = 1 << 20;
// 64 MiB hold 128 f32 rows of a vocabulary of 131,072.
inline constexpr int64_t kMaxMessageBytes = int64_t{64} << 20;
// A request without rows: 4 MiB of text, 2^19 token ids of at most 3 bytes, and what names them.
inline constexpr int64_t kMaxRequestBytes = int64_t{16} << 20;
// Submessages, and texts in lists, of one message: each costs 50 to 300 bytes of memory. 16 sequences with full lists.
inline constexpr int32_t kMaxMessageElements = 1 << 18;
// One row a sequence and step; more sequences than this are stepped in several batches.
inline constexpr int32_t kMaxRowsPerMessage = 1024;
// Each open sequence costs memory until it ends.
inline constexpr int32_t kMaxSequencesPerStream = 1024;
// Token sets, lists, prompts and tokens that the sequences of one stream hold: what else an open sequence costs is
// constant. 1,024 sequences of 16,384 tokens that a stage looks at, at 4 bytes; their ids, at most 3 bytes each, fit
// one message of 48 MiB when the stream is resumed.
inline constexpr int64_t kMaxStreamStateBytes = int64_t{64} << 20;
// The longest context that models offer today.
inline constexpr int32_t kMaxTokens = 131072;
inline constexpr int32_t kMaxPromptTokens = 131072;
// Alternatives are for people and for distillation; the whole row is Distribution's.
inline constexpr int32_t kMaxTopN = 1024;
inline constexpr int32_t kMaxNamedTokens = 1024;
// Alternatives of one reply, tokens * (top_n + named): 24 bytes each (docs/adr/0009), so that a reply stays below its
// cap.
inline constexpr int64_t kMaxAlternatives = 1 << 20;
// Stop and eos token ids of one sequence.
inline constexpr int32_t kMaxStops = 256;
// What a step may exclude until min_tokens is reached: both lists.
inline constexpr int32_t kMaxExcludedTokens = 2 * kMaxStops;
// Biases of one sequence: each is applied at every step. A longer list is a mask: allowed or banned tokens.
inline constexpr int32_t kMaxLogitBiases = 4096;
// Biases on sequences, and bans of them: each is compared with the last tokens at every step.
inline constexpr int32_t kMaxSequenceBiases = 4096;
// Sequences that end a match of DRY: "every token with a quote in it" is some thousands in large vocabularies.
inline constexpr int32_t kMaxDryBreakers = 8192;
// Tokens of one of them. Each place of the history is compared with so many at worst. llama.cpp has the same bound.
inline constexpr int32_t kMaxDryBreakerTokens = 21;
// Tokens in sequence_biases and in dry.breakers, together: with the other lists at most 512 KiB for a sequence.
inline constexpr int32_t kMaxListTokens = 1 << 16;
// The longest match that DRY may leave alone: longer than any prompt and output.
inline constexpr int32_t kMaxDryAllowedLength = 1 << 20;
// Completions of one request: all of them are stepped in one batch.
inline constexpr int32_t kMaxCompletions = 128;
// Pieces of one prompt, each tokenised by itself: two for each turn of a long conversation.
inline constexpr int32_t kMaxSegments = 4096;
// n * max_tokens: a record is about 60 bytes, so that `final` stays below the cap of a message.
inline constexpr int64_t kMaxGeneratedTokens = 1 << 18;
// What a request without max_tokens gets.
inline constexpr int32_t kDefaultMaxTokens = 256;
inline constexpr int32_t kMaxItems = 4096;
// The id of an item: a path or a hash, not a document.
inline constexpr int32_t kMaxIdBytes = 256;
inline constexpr int32_t kMaxContinuations = 1024;
inline constexpr int32_t kMaxCandidates = 1024;
// Records of one reply: at about 70 bytes each they stay below the cap of a message, alternatives included.
inline constexpr int64_t kMaxScoreTokens = 1 << 19;
// Open sequences of one ScoreLogits call: each keeps its running sums until its reply, at most 5 KiB with its options.
inline constexpr int32_t kMaxScoreSequences = 4096;
// Sharper than any difference of log-probs: beyond it all probability is on one candidate.
inline constexpr double kMaxInverseTemperature = 1000;
inline constexpr int64_t kMaxTextBytes = int64_t{4} << 20;
// Calls of one connection at once; one more is refused. One client has room for its threads and streams; a connection
// is one lock and one flow-control window, so that more of them belong on several.
inline constexpr int32_t kMaxStreamsPerConnection = 256;
inline constexpr int32_t kMaxRunners = 64;
// Calls that run at once, streams not counted: each holds a thread while it works or waits for a model. (The default;
// --max-calls.)
inline constexpr int32_t kMaxCalls = 1024;
// Decode and ScoreLogits streams at once: one for each of 1,000 clients, and as many again. An idle one holds no thread
// but some 20 KiB (docs/operations.md), and less than 64 KiB of what it keeps is not in kMaxBytesInWork; one whose
// message is worked on holds a thread. (The default; --max-open-streams.)
inline constexpr int32_t kMaxOpenStreams = 2048;
// Health watches at once: they hold no thread, and stay open for days.
inline constexpr int32_t kMaxWatches = 1024;
// Memory of requests that are being worked on and of what streams keep, together: 7 of the largest messages, or the
// state of 12 of the largest streams and one message. Small messages have an eighth for themselves.
inline constexpr int64_t kMaxBytesInWork = int64_t{1} << 30;
// What gRPC may hold for all connections: messages on their way in and out. Twice what may be in work.
inline constexpr int64_t kMaxTransportBytes = int64_t{2} << 30;
// The headers of one call. gRPC's own cap is 8 KiB; tracing headers and tokens need room.
inline constexpr int32_t kMaxMetadataBytes = 16 << 10;
// A silent Decode stream: its client computes logits elsewhere, but not for so long. (The default; --max-idle.)
inline constexpr int32_t kMaxIdleMs = 600'000;
// An unread reply holds cache of a model and a thread. (The default; --max-stall.)
inline constexpr int32_t kMaxStallMs = 30'000;

// Temperature is 0 (greedy) or in [kMinTemperature, kMaxTemperature]: below, 1 / T overflows the exponent's range for
// ordinary logits; above, every distribution is uniform.
inline constexpr double kMinTemperature = 1e-4;
inline constexpr double kMaxTemperature = 1e6;
// A bias of 100 nats decides every draw; more would only cost f32 the rest of the row.
inline constexpr double kMaxBias = 100;
// The range of the APIs that have them: a token that occurred n times loses up to 2 n nats.
inline constexpr double kMaxOccurrencePenalty = 2;
// A logit of 10 becomes 0.1 at 100. 0 would make every token that occurred equal to a logit of 0, or infinite.
inline constexpr double kMaxRepetitionPenalty = 100;
// DRY: multiplier * 8^42 is the most that a token can lose, and a sum that f64 holds.
inline constexpr double kMaxDryMultiplier = 100;
inline constexpr double kMinDryBase = 1;
inline constexpr double kMaxDryBase = 8;
// No logit of 2^20 lies 1,024 deviations off the mean; beyond 100 hardly any row would lose a token.
inline constexpr double kMaxTopNSigma = 100;
// Above it at most one token can reach the threshold, and XTC never removes the only one.
inline constexpr double kMaxXtcThreshold = 0.5;

// Sequence keys and ids are [0, 2^56): the random stream's number is key * 256 + purpose.
inline constexpr int64_t kMaxSequenceKey = (int64_t{1} << 56) - 1;

// Version of docs/numerics.md. Raised by any change that can change a bit of a result.
inline constexpr int32_t kNumericsVersion = 1;

// Version of package logitd.v1. Major: which meaning the numbers of its fields have; server and runner must have the
// same (0 is what was before versions were sent). Minor: raised by every addition to the .proto files.
inline constexpr int32_t kApiMajorVersion = 1;
inline constexpr int32_t kApiMinorVersion = 0;

}  // namespace logitd

#endif  // LOGITD_CORE_LIMITS_H_
