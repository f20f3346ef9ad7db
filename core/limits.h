// Every cap on what a request may ask for, each with its reason.
#ifndef LOGITD_CORE_LIMITS_H_
#define LOGITD_CORE_LIMITS_H_

#include <cstdint>

namespace logitd {

// A cap by the name that errors, GetServerInfo and docs/operations.md give it: that of its field in logitd.v1.Limits.
// It may stand wherever its value may.
struct Limit {
  const char* name;
  int64_t value;

  constexpr operator int64_t() const { return value; }
};

// The integer weights of a row are sums of at most 2^20 terms of at most 2^42: they fit 63 bits. docs/numerics.md.
inline constexpr Limit kMaxVocabSize{"max_vocab_size", 1 << 20};
// 64 MiB hold 128 f32 rows of a vocabulary of 131,072.
inline constexpr Limit kMaxMessageBytes{"max_message_bytes", int64_t{64} << 20};
// A request without rows: 4 MiB of text, 2^19 token ids of at most 3 bytes, and what names them.
inline constexpr Limit kMaxRequestBytes{"max_request_bytes", int64_t{16} << 20};
// Submessages, and texts in lists, of one message: each costs 50 to 300 bytes of memory. 16 sequences with full lists.
inline constexpr Limit kMaxMessageElements{"max_message_elements", 1 << 18};
// One row a sequence and step; more sequences than this are stepped in several batches.
inline constexpr Limit kMaxRowsPerMessage{"max_rows_per_message", 1024};
// Each open sequence costs memory until it ends.
inline constexpr Limit kMaxSequencesPerStream{"max_sequences_per_stream", 1024};
// Token sets, lists, prompts and tokens that the sequences of one stream hold: what else an open sequence costs is
// constant. 1,024 sequences of 16,384 tokens that a stage looks at, at 4 bytes; their ids, at most 3 bytes each, fit
// one message of 48 MiB when the stream is resumed.
inline constexpr Limit kMaxStreamStateBytes{"max_stream_state_bytes", int64_t{64} << 20};
// The longest context that models offer today.
inline constexpr Limit kMaxTokens{"max_tokens", 131072};
inline constexpr Limit kMaxPromptTokens{"max_prompt_tokens", 131072};
// Alternatives are for people and for distillation; the whole row is Distribution's.
inline constexpr Limit kMaxTopN{"max_top_n", 1024};
inline constexpr Limit kMaxNamedTokens{"max_named_tokens", 1024};
// Alternatives of one reply, tokens * (top_n + named): 24 bytes each (docs/adr/0009), so that a reply stays below its
// cap.
inline constexpr Limit kMaxAlternatives{"max_alternatives", 1 << 20};
// Stop and eos token ids of one sequence.
inline constexpr Limit kMaxStops{"max_stops", 256};
// What a step may exclude until min_tokens is reached: both lists.
inline constexpr Limit kMaxExcludedTokens{"max_excluded_tokens", 2 * kMaxStops};
// Biases of one sequence: each is applied at every step. A longer list is a mask: allowed or banned tokens.
inline constexpr Limit kMaxLogitBiases{"max_logit_biases", 4096};
// Biases on sequences, and bans of them: each is compared with the last tokens at every step.
inline constexpr Limit kMaxSequenceBiases{"max_sequence_biases", 4096};
// Sequences that end a match of DRY: "every token with a quote in it" is some thousands in large vocabularies.
inline constexpr Limit kMaxDryBreakers{"max_dry_breakers", 8192};
// Tokens of one of them. Each place of the history is compared with so many at worst. llama.cpp has the same bound.
inline constexpr Limit kMaxDryBreakerTokens{"max_dry_breaker_tokens", 21};
// Tokens in sequence_biases and in dry.breakers, together: with the other lists at most 512 KiB for a sequence.
inline constexpr Limit kMaxListTokens{"max_list_tokens", 1 << 16};
// The longest match that DRY may leave alone: longer than any prompt and output.
inline constexpr int32_t kMaxDryAllowedLength = 1 << 20;
// Completions of one request: all of them are stepped in one batch.
inline constexpr Limit kMaxCompletions{"max_n", 128};
// Pieces of one prompt, each tokenised by itself: two for each turn of a long conversation.
inline constexpr Limit kMaxSegments{"max_segments", 4096};
// n * max_tokens: a record is about 60 bytes, so that `final` stays below the cap of a message.
inline constexpr Limit kMaxGeneratedTokens{"max_generated_tokens", 1 << 18};
// What a request without max_tokens gets.
inline constexpr int32_t kDefaultMaxTokens = 256;
inline constexpr Limit kMaxItems{"max_items", 4096};
// The id of an item: a path or a hash, not a document.
inline constexpr Limit kMaxIdBytes{"max_id_bytes", 256};
inline constexpr Limit kMaxContinuations{"max_continuations", 1024};
inline constexpr Limit kMaxCandidates{"max_candidates", 1024};
// Records of one reply: at about 70 bytes each they stay below the cap of a message, alternatives included.
inline constexpr Limit kMaxScoreTokens{"max_score_tokens", 1 << 19};
// Open sequences of one ScoreLogits call: each keeps its running sums until its reply, at most 5 KiB with its options.
inline constexpr Limit kMaxScoreSequences{"max_score_sequences", 4096};
// Sharper than any difference of log-probs: beyond it all probability is on one candidate.
inline constexpr double kMaxInverseTemperature = 1000;
inline constexpr Limit kMaxTextBytes{"max_text_bytes", int64_t{4} << 20};

// All of them, as GetServerInfo reports them; those of the process itself are in server/limits.h.
inline constexpr Limit kRequestLimits[] = {kMaxVocabSize,
                                           kMaxMessageBytes,
                                           kMaxRequestBytes,
                                           kMaxMessageElements,
                                           kMaxRowsPerMessage,
                                           kMaxSequencesPerStream,
                                           kMaxStreamStateBytes,
                                           kMaxTokens,
                                           kMaxPromptTokens,
                                           kMaxTopN,
                                           kMaxNamedTokens,
                                           kMaxAlternatives,
                                           kMaxStops,
                                           kMaxExcludedTokens,
                                           kMaxLogitBiases,
                                           kMaxSequenceBiases,
                                           kMaxDryBreakers,
                                           kMaxDryBreakerTokens,
                                           kMaxListTokens,
                                           kMaxCompletions,
                                           kMaxSegments,
                                           kMaxGeneratedTokens,
                                           kMaxItems,
                                           kMaxIdBytes,
                                           kMaxContinuations,
                                           kMaxCandidates,
                                           kMaxScoreTokens,
                                           kMaxScoreSequences,
                                           kMaxTextBytes};

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
