// Tokens and their numbers as tables.
#ifndef LOGITD_CLIENT_CLI_RECORD_TABLE_H_
#define LOGITD_CLIENT_CLI_RECORD_TABLE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "client/cli/table.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "logitd/v1/completion.pb.h"
#include "logitd/v1/decoding_service.pb.h"

namespace logitd::cli {

using TokenRecords = google::protobuf::RepeatedPtrField<v1::TokenRecord>;

// One row per token: position, id, text, model log-prob, [sampling log-prob], [rank], [entropy], [kept, kept mass],
// [draw: the random number in [0, 1)], running sum of the model log-probs, [alternatives].
// - Columns in brackets appear if a token has them.
// - A token whose probability is zero is "excluded", and the running sum ends there.
// - `has_text` false: the vocabulary is unknown, and the column of texts is left out.
std::string TokenTable(const TokenRecords& tokens, const Style& style, bool has_text = true);

// The finish reason of a completion and its numbers, a line each.
std::string CompletionSummary(const v1::Completion& completion, uint64_t seed);

// A log-prob as the tables show it. Without one: "excluded" if `state` says so, else "-".
std::string ShowLogProb(std::optional<double> log_prob, v1::LogProbState state);

// exp(-sum / token_count). Unset if there is no sum or no token.
std::optional<double> PerplexityOf(const v1::SequenceTotals& totals);

// "FINISH_REASON_STOP_TOKEN" -> "stop_token".
std::string ShowFinish(const v1::Finish& finish);

// An enum's value without its prefix: FINISH_REASON_STOP_TOKEN is "stop_token". A value that this build does not know
// is its number.
std::string ShowEnum(const google::protobuf::EnumDescriptor& type, int number);

// One row per stage, in the order in which the stages ran: name, number of tokens before and after, removed mass.
std::string StageTable(const google::protobuf::RepeatedPtrField<v1::StageReport>& stages, const Style& style);

// A protobuf optional field as std::optional.
#define LOGITD_CLI_OPTIONAL(message, field) \
  ((message).has_##field() ? std::optional<double>((message).field()) : std::optional<double>())

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_RECORD_TABLE_H_
