// What a distribution keeps, and the integer weights of a whole row, for tests.
#ifndef LOGITD_TESTS_TESTING_WEIGHTS_H_
#define LOGITD_TESTS_TESTING_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include "core/distribution.h"

namespace logitd::testing {

// Ascending.
inline std::vector<TokenId> KeptOf(const Distribution& distribution) {
  std::vector<TokenId> kept;
  for (TokenId t = 0; t < distribution.row().vocab_size(); ++t) {
    if (distribution.Keeps(t)) kept.push_back(t);
  }
  return kept;
}

// [vocab_size]; 0 for a token that is not kept.
inline std::vector<uint64_t> WeightsOf(const Distribution& distribution) {
  std::vector<uint64_t> weights;
  for (TokenId t = 0; t < distribution.row().vocab_size(); ++t) weights.push_back(distribution.Weight(t));
  return weights;
}

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_TESTING_WEIGHTS_H_
