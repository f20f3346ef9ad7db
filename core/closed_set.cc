#include "core/closed_set.h"

#include <algorithm>
#include <cmath>

#include "core/exact_math.h"
#include "core/ranker.h"

namespace logitd {

ClosedSetMass MassOf(std::vector<SetSequence> sequences) {
  std::sort(sequences.begin(), sequences.end(), [](const SetSequence& a, const SetSequence& b) {
    return std::lexicographical_compare(a.tokens.begin(), a.tokens.end(), b.tokens.begin(), b.tokens.end());
  });
  ClosedSetMass set;
  std::vector<double> log_probs;
  // In this order, whatever begins with a sequence comes right after it.
  std::span<const TokenId> shortest;
  for (const SetSequence& sequence : sequences) {
    const auto& tokens = sequence.tokens;
    if (!shortest.empty() && tokens.size() >= shortest.size() &&
        std::equal(shortest.begin(), shortest.end(), tokens.begin())) {
      set.has_prefixes |= tokens.size() > shortest.size();
      continue;
    }
    shortest = tokens;
    log_probs.push_back(sequence.log_prob);
  }
  set.sequence_count = static_cast<int32_t>(log_probs.size());
  const double log_mass = LogSumExp(log_probs);
  if (std::isinf(log_mass)) return set;
  // Each log-prob may be off by its rounding, so that the sum of all of them may be above 1.
  set.log_mass = std::min(log_mass, 0.0);
  set.mass = Exp(*set.log_mass);
  return set;
}

}  // namespace logitd
