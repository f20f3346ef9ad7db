#include "server/handlers/cache_scope.h"

#include <iterator>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"

namespace logitd::server {

absl::StatusOr<CacheScope> SharedScopeOf(const v1::EvaluationOptions& options, const ServerEnv& env) {
  if (options.reproducible()) {
    return errors::OutOfRange("evaluation.reproducible", "true", "unset: only Score, Rank and Decide are reproducible");
  }
  const std::string& salt = options.cache_salt();
  if (std::ssize(salt) > kMaxCacheSaltBytes) {
    return errors::AboveLimit("evaluation.cache_salt", std::ssize(salt), kMaxCacheSaltBytes, 0, "bytes");
  }
  return CacheScope{salt, options.no_cache() || env.options.no_prefix_cache};
}

absl::StatusOr<CacheScope> ScopeOf(const v1::EvaluationOptions& options, const ServedModel& model,
                                   const ServerEnv& env) {
  v1::EvaluationOptions shared = options;
  shared.clear_reproducible();
  ASSIGN_OR_RETURN(CacheScope scope, SharedScopeOf(shared, env));
  if (!(options.has_reproducible() ? options.reproducible() : env.options.reproducible)) return scope;
  scope.is_private = true;
  ASSIGN_OR_RETURN(scope.isolated_on, model.IsolatingPlatform());
  return scope;
}

}  // namespace logitd::server
