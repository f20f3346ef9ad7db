// `logit compare` of one text under two models whose vocabularies differ: bits, and nothing else.
#ifndef LOGITD_CLIENT_CLI_COMPARE_BITS_H_
#define LOGITD_CLIENT_CLI_COMPARE_BITS_H_

#include <array>
#include <cstdint>
#include <string>

#include "client/cli/compare_report.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::cli {

// `names`, `vocab_sizes`: the two models. `scored`: the continuation's scores, with token_bytes. `text`: the
// continuation. `models`: the member of that name, as JSON.
CompareReport CompareBits(const std::array<std::string, 2>& names, const std::array<int32_t, 2>& vocab_sizes,
                          const std::array<v1::ScoredContinuation, 2>& scored, const std::string& text,
                          const std::string& models);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_COMPARE_BITS_H_
