// Which evaluations a request shares with others, and whether it is evaluated by itself:
// logitd.v1.EvaluationOptions.
#ifndef LOGITD_SERVER_HANDLERS_CACHE_SCOPE_H_
#define LOGITD_SERVER_HANDLERS_CACHE_SCOPE_H_

#include "absl/status/statusor.h"
#include "logitd/v1/completion.pb.h"
#include "server/models/runner_session.h"
#include "server/models/served_model.h"
#include "server/server_env.h"

namespace logitd::server {

// For methods that can be reproducible. Errors: LIMIT_EXCEEDED (field "evaluation.cache_salt"), NOT_REPRODUCIBLE.
absl::StatusOr<CacheScope> ScopeOf(const v1::EvaluationOptions& options, const ServedModel& model,
                                   const ServerEnv& env);
// For methods that cannot. Errors: LIMIT_EXCEEDED, FIELD_OUT_OF_RANGE (field "evaluation.reproducible").
absl::StatusOr<CacheScope> SharedScopeOf(const v1::EvaluationOptions& options, const ServerEnv& env);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_CACHE_SCOPE_H_
