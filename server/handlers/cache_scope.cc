#include "server/handlers/cache_scope.h"

#include <iterator>

#include "core/errors.h"
#include "core/limits.h"

namespace logitd::server {

absl::StatusOr<CacheScope> ScopeOf(const v1::EvaluationOptions& options, const ServerEnv& env) {
  const std::string& salt = options.cache_salt();
  if (std::ssize(salt) > kMaxCacheSaltBytes) {
    return errors::AboveLimit("evaluation.cache_salt", std::ssize(salt), kMaxCacheSaltBytes, 0, "bytes");
  }
  return CacheScope{salt, options.no_cache() || env.options.no_prefix_cache};
}

}  // namespace logitd::server
