// The total probability of a set of token sequences after one context: that the text goes on with one of them.
//
//   MassOf({{{7, 8}, -1.5}, {{7, 9}, -2.5}, {{7}, -0.5}});   // kPrefixes, log_mass -0.5: 7 8 and 7 9 begin with 7
//
// Source: docs/numerics.md, section 6. Thread-safe: a free function without state.
#ifndef LOGITD_CORE_CLOSED_SET_H_
#define LOGITD_CORE_CLOSED_SET_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/types.h"

namespace logitd {

// A sequence of the set.
struct SetSequence {
  // At least one.
  std::span<const TokenId> tokens;
  // Sum of its log-probs, nats; -inf: not possible. Equal sequences have equal sums.
  double log_prob = 0;
};

struct ClosedSetMass {
  // Some sequence begins with another one, and its probability is part of that one's. False: all are disjoint.
  bool has_prefixes = false;
  // [0, 1]; 0 also if it is too small for a double.
  double mass = 0;
  // <= 0. Unset: no sequence is possible.
  std::optional<double> log_mass;
  // Sequences whose probabilities are added: of the distinct ones those that do not begin with another.
  int32_t sequence_count = 0;
};

// Equal sequences count once. The order of `sequences` does not change a bit. Cost: a sort.
ClosedSetMass MassOf(std::vector<SetSequence> sequences);

}  // namespace logitd

#endif  // LOGITD_CORE_CLOSED_SET_H_
