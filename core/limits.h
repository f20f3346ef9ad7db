// Every cap on what a request may ask for, each with its reason.
#ifndef LOGITD_CORE_LIMITS_H_
#define LOGITD_CORE_LIMITS_H_

#include <cstdint>

namespace logitd {

// A cap and its name: that of its field in logitd.v1.Limits, by which errors, GetServerInfo and docs/operations.md call
// it. A Limit converts to its value.
struct Limit {
  const char* name;
  int64_t value;

  constexpr operator int64_t() const { return value; }
};

// A row's integer weights are at most 2^42 each; a sum of 2^20 of them fits 63 bits. docs/numerics.md.
inline constexpr Limit kMaxVocabSize{"max_vocab_size", 1 << 20};
// Values of a hidden state. The largest models have 16,384.
inline constexpr Limit kMaxHiddenSize{"max_hidden_size", 1 << 16};
// 64 MiB hold 128 f32 rows of a vocabulary of 131,072.
inline constexpr Limit kMaxMessageBytes{"max_message_bytes", int64_t{64} << 20};
// A request without rows holds 4 MiB of text, 2^19 token ids of at most 3 bytes, and their framing.
inline constexpr Limit kMaxRequestBytes{"max_request_bytes", int64_t{16} << 20};
// Submessages, and texts in lists, of one message: 16 sequences with full lists. Each costs 50 to 300 bytes of memory.
inline constexpr Limit kMaxMessageElements{"max_message_elements", 1 << 18};
// One row for each sequence and step. More sequences need several batches.
inline constexpr Limit kMaxRowsPerMessage{"max_rows_per_message", 1024};
// Each open sequence costs memory until it ends.
inline constexpr Limit kMaxSequencesPerStream{"max_sequences_per_stream", 1024};
// Token sets, lists, prompts and tokens that the sequences of one stream hold; an open sequence costs a constant
// besides. Room for 1,024 sequences of 16,384 tokens that a stage looks at, at 4 bytes each. Resuming the stream sends
// their ids, at most 3 bytes each, in one message of 48 MiB.
inline constexpr Limit kMaxStreamStateBytes{"max_stream_state_bytes", int64_t{64} << 20};
// The longest context that models offer today.
inline constexpr Limit kMaxTokens{"max_tokens", 131072};
inline constexpr Limit kMaxPromptTokens{"max_prompt_tokens", 131072};
// Alternatives serve people and distillation; ComputeDistribution returns the whole row.
inline constexpr Limit kMaxTopN{"max_top_n", 1024};
inline constexpr Limit kMaxNamedTokens{"max_named_tokens", 1024};
// Alternatives of one reply, tokens * (top_n + named). At 24 bytes each (docs/adr/0009) a reply stays below its cap.
inline constexpr Limit kMaxAlternatives{"max_alternatives", 1 << 20};
// Stop and eos token ids of one sequence.
inline constexpr Limit kMaxStops{"max_stops", 256};
// Stop strings of one request. Other APIs take 4 to 16.
inline constexpr Limit kMaxStopStrings{"max_stop_strings", 64};
// Bytes of one stop string, and so of the text that a stream holds back. With the number above, the automaton that
// finds them takes at most 400 KB.
inline constexpr Limit kMaxStopStringBytes{"max_stop_string_bytes", 256};
// A day. Longer than any request lives.
inline constexpr Limit kMaxTimeLimitMs{"max_time_limit_ms", 86'400'000};
// Tokens that a step may exclude until min_tokens is reached: stop and eos tokens.
inline constexpr Limit kMaxExcludedTokens{"max_excluded_tokens", 2 * kMaxStops};
// Biases of one sequence. Every step applies each of them; a longer list should be a mask of allowed or banned tokens.
inline constexpr Limit kMaxLogitBiases{"max_logit_biases", 4096};
// Biases on sequences, and bans. Every step compares each of them with the last tokens.
inline constexpr Limit kMaxSequenceBiases{"max_sequence_biases", 4096};
// Sequences that end a match of DRY. "Every token with a quote in it" is a few thousand in large vocabularies.
inline constexpr Limit kMaxDryBreakers{"max_dry_breakers", 8192};
// Tokens of one breaker: at worst, each position of the history is compared with all of them. As in llama.cpp.
inline constexpr Limit kMaxDryBreakerTokens{"max_dry_breaker_tokens", 21};
// Tokens in sequence_biases and dry.breakers together. With the other lists a sequence takes at most 512 KiB.
inline constexpr Limit kMaxListTokens{"max_list_tokens", 1 << 16};
// The longest match that DRY may leave alone. Longer than any prompt and output.
inline constexpr int32_t kMaxDryAllowedLength = 1 << 20;
// Completions of one request; one batch steps all of them.
inline constexpr Limit kMaxCompletions{"max_n", 128};
// Segments of one prompt, each tokenised by itself. A long conversation has two for each turn.
inline constexpr Limit kMaxSegments{"max_segments", 4096};
// n * max_tokens. A record is about 60 bytes, so `final` stays below the cap of a message.
inline constexpr Limit kMaxGeneratedTokens{"max_generated_tokens", 1 << 18};
// The max_tokens of a request that sets none.
inline constexpr int32_t kDefaultMaxTokens = 256;
inline constexpr Limit kMaxItems{"max_items", 4096};
// The id of an item. Enough for a path or a hash.
inline constexpr Limit kMaxIdBytes{"max_id_bytes", 256};
inline constexpr Limit kMaxCacheSaltBytes{"max_cache_salt_bytes", 128};
// As ids such a text takes 3 MB of a request.
inline constexpr Limit kMaxRollingTokens{"max_rolling_tokens", 1'000'000};
inline constexpr Limit kMaxContinuations{"max_continuations", 1024};
// One classification of an entity, or a vocabulary of labels. A reply has about 150 bytes for each.
inline constexpr Limit kMaxCandidates{"max_candidates", 10'000};
// Ways to spell one candidate: with and without a space, whole or in pieces.
inline constexpr Limit kMaxTokenizations{"max_tokenizations", 64};
// Items of FitStrengths. Their information matrix takes 8 MB, and a step of Newton's half a second.
inline constexpr Limit kMaxStrengthItems{"max_strength_items", 1000};
// Rankings of one fit. Equal ones can be sent once, with their count.
inline constexpr Limit kMaxRankings{"max_rankings", 1 << 17};
// Places of all rankings of one fit. A step goes through all of them, in 10 ms.
inline constexpr Limit kMaxRankedItems{"max_ranked_items", 1 << 20};
// Records of one reply. At about 70 bytes each, alternatives included, they stay below the cap of a message.
inline constexpr Limit kMaxScoreTokens{"max_score_tokens", 1 << 19};
// Open sequences of one ScoreLogits call. Each keeps at most 5 KiB, its options included, until its reply.
inline constexpr Limit kMaxScoreSequences{"max_score_sequences", 4096};
// Beyond this the candidate with the largest score has all the probability.
inline constexpr double kMaxInverseTemperature = 1000;
// ((5 + L) / 6)^alpha stays far inside the range of a double for every L.
inline constexpr double kMaxGnmtAlpha = 10;
// The offset of an option, nats: more would only make the others' probabilities 0.
inline constexpr double kMaxLogOffset = 1000;
// The value of a level. Sums of 10,000 of them keep 3 digits after the point.
inline constexpr double kMaxLevelValue = 1e9;
inline constexpr Limit kMaxTextBytes{"max_text_bytes", int64_t{4} << 20};

// A fit: labels of one classifier, and samples. 2^20 samples determine a parameter to a thousandth of its deviation.
inline constexpr Limit kMaxFitLabels{"max_fit_labels", 10'000};
inline constexpr Limit kMaxFitSamples{"max_fit_samples", 1 << 20};
// samples * max(width, labels). Values and probabilities then take 32 MiB each.
inline constexpr Limit kMaxFitCells{"max_fit_cells", 1 << 22};
// Weights and offsets. A step keeps ten numbers for each.
inline constexpr Limit kMaxFitParameters{"max_fit_parameters", 1 << 17};
// Bootstrap samples. 10,000 give the ends of a 95 % interval to a hundredth of its length.
inline constexpr Limit kMaxBootstrapCount{"max_bootstrap_count", 10'000};
// bootstrap_count * samples: about 25 seconds of one CPU.
inline constexpr Limit kMaxBootstrapDraws{"max_bootstrap_draws", 1 << 28};
// Scores and features. Squares and sums of them stay far inside the range of a double.
inline constexpr double kMaxFitValue = 1e9;
inline constexpr double kMaxL2 = 1e9;
// Gradients of the open sequences of one ScoreLogits call, 4 bytes for each token of the vocabulary and scored row.
// Half a message: 64 rows of a vocabulary of 131,072.
inline constexpr Limit kMaxGradientBytes{"max_gradient_bytes", int64_t{32} << 20};

// Every limit above, as GetServerInfo reports them. server/limits.h has those of the process.
inline constexpr Limit kRequestLimits[] = {kMaxVocabSize,
                                           kMaxHiddenSize,
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
                                           kMaxStopStrings,
                                           kMaxStopStringBytes,
                                           kMaxTimeLimitMs,
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
                                           kMaxCacheSaltBytes,
                                           kMaxRollingTokens,
                                           kMaxContinuations,
                                           kMaxCandidates,
                                           kMaxTokenizations,
                                           kMaxStrengthItems,
                                           kMaxRankings,
                                           kMaxRankedItems,
                                           kMaxScoreTokens,
                                           kMaxScoreSequences,
                                           kMaxTextBytes,
                                           kMaxFitLabels,
                                           kMaxFitSamples,
                                           kMaxFitCells,
                                           kMaxFitParameters,
                                           kMaxBootstrapCount,
                                           kMaxBootstrapDraws,
                                           kMaxGradientBytes};

// Temperature is 0 (greedy) or in [kMinTemperature, kMaxTemperature]. Below, 1 / T overflows the exponent's range for
// ordinary logits. Above, every distribution is uniform.
inline constexpr double kMinTemperature = 1e-4;
inline constexpr double kMaxTemperature = 1e6;
// A bias of 100 nats decides every draw. A larger one would only cost the other logits their f32 precision.
inline constexpr double kMaxBias = 100;
// The range of other APIs: a token that occurred n times loses up to 2 n nats.
inline constexpr double kMaxOccurrencePenalty = 2;
// At 100 a logit of 10 becomes 0.1. A penalty of 0 would make logits 0 or infinite.
inline constexpr double kMaxRepetitionPenalty = 100;
// DRY: a token loses at most multiplier * 8^42, which f64 holds.
inline constexpr double kMaxDryMultiplier = 100;
inline constexpr double kMinDryBase = 1;
inline constexpr double kMaxDryBase = 8;
// No logit of 2^20 lies 1,024 deviations off the mean. Beyond 100 hardly any row would lose a token.
inline constexpr double kMaxTopNSigma = 100;
// Above 0.5 at most one token can reach the threshold, and XTC never removes the only one.
inline constexpr double kMaxXtcThreshold = 0.5;

// Sequence keys and ids are in [0, 2^56), because the number of a random stream is key * 256 + purpose.
inline constexpr int64_t kMaxSequenceKey = (int64_t{1} << 56) - 1;

// Version of docs/numerics.md. Every change that can change a bit of a result raises it.
inline constexpr int32_t kNumericsVersion = 1;

// Version of package logitd.v1. The major version says what the field numbers mean: server and runner must have the
// same one (0: from before versions were sent). A release that adds to the .proto files raises the minor version.
inline constexpr int32_t kApiMajorVersion = 1;
inline constexpr int32_t kApiMinorVersion = 0;

}  // namespace logitd

#endif  // LOGITD_CORE_LIMITS_H_
