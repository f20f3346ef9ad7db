// Every sampler that the proofs are run on: each truncation alone, and some that meet.
#ifndef LOGITD_TESTS_PROOFS_SAMPLERS_H_
#define LOGITD_TESTS_PROOFS_SAMPLERS_H_

#include <memory>
#include <string>
#include <vector>

#include "core/sampling_params.h"
#include "core/types.h"

namespace logitd::proofs {

struct Sampler {
  std::string name;
  SamplingParams params;
  // Whether it takes tokens out of any row of a thousand tokens or more that is not flat.
  bool truncates = true;
};

// A fresh copy for a vocabulary of `vocab_size` (at least 4: the subset has two thirds of it).
std::vector<Sampler> Samplers(int32_t vocab_size);

}  // namespace logitd::proofs

#endif  // LOGITD_TESTS_PROOFS_SAMPLERS_H_
