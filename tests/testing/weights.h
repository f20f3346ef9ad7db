// The integer weights of a whole row, for tests.
#ifndef LOGITD_TESTS_TESTING_WEIGHTS_H_
#define LOGITD_TESTS_TESTING_WEIGHTS_H_

#include <cstdint>
#include <vector>

#include "core/distribution.h"

namespace logitd::testing {

// [vocab_size]; 0 for a token that is not kept.
inline std::vector<uint64_t> WeightsOf(const Distribution& distribution) {
  std::vector<uint64_t> weights;
  for (size_t i = 0; i < distribution.row().size(); ++i) {
    weights.push_back(distribution.Weight(static_cast<TokenId>(i)));
  }
  return weights;
}

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_TESTING_WEIGHTS_H_
