// Where the last tokens of a sequence occurred before: what DRY and no-repeat-ngram ask of the tokens so far.
#ifndef LOGITD_CORE_SUFFIX_MATCHES_H_
#define LOGITD_CORE_SUFFIX_MATCHES_H_

#include <cstdint>
#include <vector>

#include "core/token_history.h"

namespace logitd {

// For k in [1, history.size()): lengths[k] is how many tokens of the history's end are also the end of the history
// without its last k tokens; the two may overlap. The token that came after that earlier occurrence is
// history.Back(k - 1). lengths[0] is 0.
//
//   history a b c c b c y a b c:  lengths[7] = 3, for "a b c" ends 7 tokens before the end, and Back(6) is c.
//
// Shapes: lengths [history.size()], resized. Time: O(history.size()), whatever the tokens are: comparing at each place
// would take its square on one token repeated. Thread-safe.
// Source: the Z-function of the reversed tokens (Gusfield, "Algorithms on Strings, Trees and Sequences", section 1.3).
void FindSuffixMatches(const TokenHistory& history, std::vector<int32_t>& lengths);

}  // namespace logitd

#endif  // LOGITD_CORE_SUFFIX_MATCHES_H_
