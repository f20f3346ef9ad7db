#include "server/handlers/generate_options.h"

#include <algorithm>
#include <string>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/stages.h"
#include "server/converters/wire.h"
#include "server/handlers/best_completions.h"
#include "server/handlers/prompt_score.h"

namespace logitd::server {
namespace {

int64_t AlternativesOf(const RecordOptions& record) { return record.top_n + std::ssize(record.named_token_ids); }

// The most tokens that the completions can have.
int64_t MostTokens(const GenerateOptions& options, const ModelDescription& model) {
  return int64_t{options.n} * std::min(options.decoder.stop.max_tokens, model.context_length);
}

absl::Status CheckAlternatives(int64_t alternatives, const char* field) {
  if (alternatives <= kMaxAlternatives) return absl::OkStatus();
  return errors::AboveLimit(field, alternatives, kMaxAlternatives, 0, "alternatives in one reply");
}

// max_tokens may be 0 here, and nowhere else.
absl::StatusOr<StopRules> StopRulesOf(const v1::StopCriteria& message, const ModelDescription& model) {
  if (message.max_tokens() < 0) {
    return errors::OutOfRange("max_tokens", int64_t{message.max_tokens()},
                              "in [0, " + std::to_string(kMaxTokens) + "]");
  }
  if (message.max_tokens() > kMaxTokens) return errors::AboveLimit("max_tokens", message.max_tokens(), kMaxTokens);
  if (!message.has_max_tokens() || message.max_tokens() != 0) {
    return FromProto(message, model.end_token_ids, model.vocab_size, kDefaultMaxTokens);
  }
  v1::StopCriteria with_one = message;
  with_one.set_max_tokens(1);
  ASSIGN_OR_RETURN(StopRules rules, FromProto(with_one, model.end_token_ids, model.vocab_size, kDefaultMaxTokens));
  if (rules.min_tokens > 0) return errors::OutOfRange("min_tokens", int64_t{rules.min_tokens}, "in [0, 0]");
  rules.max_tokens = 0;
  return rules;
}

// The number of completions, in [least, max_n]. Errors: FIELD_OUT_OF_RANGE, LIMIT_EXCEEDED.
absl::Status CheckCount(const char* field, int32_t count, int32_t least) {
  if (count > kMaxCompletions) return errors::AboveLimit(field, count, kMaxCompletions, least);
  if (count >= least) return absl::OkStatus();
  return errors::OutOfRange(field, int64_t{count},
                            "in [" + std::to_string(least) + ", " + std::to_string(kMaxCompletions) + "]");
}

}  // namespace

absl::StatusOr<GenerateOptions> OptionsOf(const v1::GenerateRequest& request, const ServedModel& served) {
  const ModelDescription& model = served.description();
  GenerateOptions options;
  if (request.has_n()) options.n = request.n();
  RETURN_IF_ERROR(CheckCount("n", options.n, 1));
  options.returned_count = options.n;
  ASSIGN_OR_RETURN(options.best_by, BestByOf(request, model.name, served.vocabulary()));
  if (request.has_best_of()) {
    RETURN_IF_ERROR(CheckCount("best_of", request.best_of(), options.n));
    options.n = request.best_of();
  }
  options.first_sequence_key = request.first_sequence_key();
  if (options.first_sequence_key > static_cast<uint64_t>(kMaxSequenceKey + 1 - options.n)) {
    return errors::OutOfRange("first_sequence_key", std::to_string(options.first_sequence_key),
                              request.has_best_of() ? "in [0, 2^56 - best_of]" : "in [0, 2^56 - n]");
  }
  ASSIGN_OR_RETURN(options.decoder.sampling, In("sampling.", FromProto(request.sampling(), model.vocab_size)));
  if (request.sampling().has_seed()) {
    options.decoder.seed = request.sampling().seed();
  } else if (UsesRandomBits(options.decoder.sampling)) {
    // Without draws the seed stays 0, so that the reply is the same every time.
    options.decoder.seed = DrawSeed();
  }
  ASSIGN_OR_RETURN(options.decoder.stop, In("stop.", StopRulesOf(request.stop(), model)));
  ASSIGN_OR_RETURN(options.stops, In("stop.", StopStringsFromProto(request.stop())));
  if (options.stops != nullptr && served.vocabulary().offsets.empty()) {
    return WithField(errors::VocabularyUnavailable(model.name), "stop.stop_strings");
  }
  ASSIGN_OR_RETURN(options.time_limit, In("stop.", TimeLimitFromProto(request.stop())));
  ASSIGN_OR_RETURN(options.decoder.record,
                   In("record.", FromProto(request.record(), model.vocab_size, /*default_sampling_log_prob=*/true,
                                           v1::RECORD_LAYOUT_RECORDS)));
  if (request.has_prompt_record()) {
    ASSIGN_OR_RETURN(options.prompt_record,
                     In("prompt_record.", PromptRecordFromProto(request.prompt_record(), model.vocab_size)));
  }

  const int64_t tokens = MostTokens(options, model);
  if (tokens > kMaxGeneratedTokens) {
    return errors::AboveLimit(request.has_best_of() ? "best_of * stop.max_tokens" : "n * stop.max_tokens", tokens,
                              kMaxGeneratedTokens, 1);
  }
  RETURN_IF_ERROR(CheckAlternatives(tokens * AlternativesOf(options.decoder.record), "record.top_n"));
  options.stream = (!request.has_stream() || request.stream()) && !options.best_by;
  return options;
}

absl::Status CheckPromptAlternatives(const GenerateOptions& options, const ModelDescription& model,
                                     int64_t prompt_token_count) {
  if (!options.prompt_record) return absl::OkStatus();
  return CheckAlternatives(prompt_token_count * AlternativesOf(*options.prompt_record) +
                               MostTokens(options, model) * AlternativesOf(options.decoder.record),
                           "prompt_record.top_n");
}

}  // namespace logitd::server
