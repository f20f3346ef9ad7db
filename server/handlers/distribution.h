// DecodingService.ComputeDistribution: the processed distribution of one row, with every token's probability; it can
// also report the effect of each stage, and verify a draw. Errors: those of the request's fields and of the row.
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
