#include "server/handlers/distribution.h"

#include <cmath>
#include <vector>

#include "core/distribution.h"
#include "core/errors.h"
#include "core/exact_math.h"
#include "core/limits.h"
#include "core/status_macros.h"
#include "server/converters/logits.h"
#include "server/converters/sampling.h"
#include "server/converters/strictness.h"

namespace logitd::server {

absl::Status ComputeDistribution(const v1::DistributionRequest& request, const ServerEnv& env,
                                 const RequestContext& context, v1::DistributionResponse& response) {
  RETURN_IF_ERROR(CheckKnown(request));
  if (!request.has_logits()) return errors::Required("logits");
  std::vector<float> buffer;
  ASSIGN_OR_RETURN(const LogitsView row, SingleRow(request.logits(), buffer));
  auto params = FromProto(request.sampling(), static_cast<int32_t>(row.size()));
  if (!params.ok()) return WithFieldPrefix(params.status(), "sampling.");
  ASSIGN_OR_RETURN(const RowStatistics statistics, ReadRow(row));
  Distribution distribution;
  RETURN_IF_ERROR(distribution.Assign(row, *params, {}));

  for (TokenId id = 0; id < static_cast<TokenId>(row.size()); ++id) {
    // Greedy leaves one token; the reply is then the one-hot vector over what is allowed, so that it can be read like
    // any other distribution.
    const bool allowed = params->subset == nullptr || params->subset->Contains(id);
    const bool listed = params->greedy() ? allowed && !std::isinf(row[id]) : distribution.Keeps(id);
    if (!listed) continue;
    const double log_prob = distribution.LogProb(id);
    response.add_token_ids(id);
    response.add_probabilities(Exp(log_prob));
    response.add_sampling_log_probs(log_prob);
    response.add_model_log_probs(statistics.LogProb(row[id]));
  }
  response.set_kept_count(distribution.kept_count());
  response.set_model_entropy(ModelEntropy(row, statistics));
  response.set_model_log_sum_exp(statistics.log_sum_exp);
  response.set_sampling_entropy(distribution.Entropy());
  response.set_total_weight(distribution.total_weight());
  response.set_numerics_version(kNumericsVersion);
  return absl::OkStatus();
}

}  // namespace logitd::server
