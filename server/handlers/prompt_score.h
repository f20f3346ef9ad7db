// The log-probs of a prompt's own tokens, from the evaluation with which a completion begins.
//
//   prompt     a    b    c    d
//   fed        a    b    c         here; the caller feeds d, whose row chooses the next token
//   rows            b|a  c|ab d|abc
//   records    a: none           b    c    d
#ifndef LOGITD_SERVER_HANDLERS_PROMPT_SCORE_H_
#define LOGITD_SERVER_HANDLERS_PROMPT_SCORE_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/token_record.h"
#include "core/types.h"
#include "logitd/v1/generation_service.pb.h"
#include "server/models/model_session.h"
#include "server/models/served_model.h"
#include "server/request_context.h"
#include "server/server_env.h"

namespace logitd::server {

// Options of a prompt's records, which describe the model's distribution only. Errors: those of RecordOptions, and
// FIELD_OUT_OF_RANGE for options of chosen tokens.
absl::StatusOr<RecordOptions> PromptRecordFromProto(const v1::RecordOptions& message, int32_t vocab_size);

// A prompt's records, and what became of its tokens.
struct PromptScore {
  v1::ScoredPrompt message;
  // The sequence holds the prompt without its last token. False: it is still new, because every record was there.
  bool is_fed = false;
  // Tokens of the prompt that the runner's cache held. 0 if it is not fed.
  int64_t cached_count = 0;
};

// Scores every token of `prompt` except the first. Feeds `prompt` without its last token into `sequence`, which is new,
// unless all records are in env.records. Errors: those of ModelSession::Evaluate, MODEL_OUTPUT_INVALID. REQUIRES:
// `prompt` is not empty.
absl::StatusOr<PromptScore> ScorePrompt(std::span<const TokenId> prompt, const RecordOptions& options,
                                        const CacheScope& scope, int64_t sequence, ModelSession& session,
                                        ServedModel& model, const ServerEnv& env, const RequestContext& context);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_PROMPT_SCORE_H_
