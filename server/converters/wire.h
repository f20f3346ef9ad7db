// Brings the conversions of wire/ into the server's namespace.
#ifndef LOGITD_SERVER_CONVERTERS_WIRE_H_
#define LOGITD_SERVER_CONVERTERS_WIRE_H_

#include "wire/error.h"      // IWYU pragma: export
#include "wire/sampling.h"   // IWYU pragma: export
#include "wire/token_ids.h"  // IWYU pragma: export

namespace logitd::server {

using wire::CheckTokenIds;
using wire::DrawSeed;
using wire::FromProto;
using wire::HeldBytes;
using wire::Ids;
using wire::ScoringParamsFromProto;
using wire::StopStringsFromProto;
using wire::TimeLimitFromProto;
using wire::ToProto;

}  // namespace logitd::server

#endif  // LOGITD_SERVER_CONVERTERS_WIRE_H_
