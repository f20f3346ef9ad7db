// The requests with which a request shares what models have evaluated: logitd.v1.EvaluationOptions.
#ifndef LOGITD_SERVER_HANDLERS_CACHE_SCOPE_H_
#define LOGITD_SERVER_HANDLERS_CACHE_SCOPE_H_

#include "absl/status/statusor.h"
#include "logitd/v1/completion.pb.h"
#include "server/models/runner_session.h"
#include "server/server_env.h"

namespace logitd::server {

// Errors: LIMIT_EXCEEDED (field "evaluation.cache_salt").
absl::StatusOr<CacheScope> ScopeOf(const v1::EvaluationOptions& options, const ServerEnv& env);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_CACHE_SCOPE_H_
