// DecodingService.ComputeDistribution: the processed distribution of one row, with every token's probability. On
// request it also reports the effect of each stage, and says whether a seed draws a given token.
//
// Cost: a step with its whole distribution; for the report one step more for each stage.
// Errors: INVALID_ARGUMENT for a field out of range, a row of the wrong length, NaN or +inf; FAILED_PRECONDITION if the
// sets and bans leave no token; CANCELLED and DEADLINE_EXCEEDED while it waits for a workspace.
#ifndef LOGITD_SERVER_HANDLERS_DISTRIBUTION_H_
#define LOGITD_SERVER_HANDLERS_DISTRIBUTION_H_

#include "absl/status/status.h"
#include "logitd/v1/decoding_service.pb.h"
#include "server/request_context.h"
#include "server/server_env.h"

namespace logitd::server {

absl::Status ComputeDistribution(const v1::ComputeDistributionRequest& request, const ServerEnv& env,
                                 const RequestContext& context, v1::ComputeDistributionResponse& response);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_DISTRIBUTION_H_
