// wire/sampling.h, among the server's other converters.
#ifndef LOGITD_SERVER_CONVERTERS_SAMPLING_H_
#define LOGITD_SERVER_CONVERTERS_SAMPLING_H_

#include "wire/sampling.h"  // IWYU pragma: export

namespace logitd::server {

using wire::CheckTokenIds;
using wire::DrawSeed;
using wire::FromProto;
using wire::HeldBytes;
using wire::ScoringParamsFromProto;

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_SAMPLING_H_
