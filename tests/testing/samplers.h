// Every sampler that tests run through: each truncation alone, some that meet, presets and an explicit order.
//
//   for (const Sampler& sampler : Samplers(vocab_size)) {
//     SCOPED_TRACE(sampler.name);
//     ASSERT_THAT(distribution.Assign(row, sampler.params, {}), IsOk());
#ifndef LOGITD_TESTS_TESTING_SAMPLERS_H_
#define LOGITD_TESTS_TESTING_SAMPLERS_H_

#include <string>
#include <vector>

#include "core/sampling_params.h"
#include "core/types.h"

namespace logitd::testing {

struct Sampler {
  std::string name;
  // Valid for the vocabulary. No stage looks at the tokens so far.
  SamplingParams params;
  // Whether it takes tokens out of any row of a thousand tokens or more that is not flat.
  bool truncates = true;
};

// A fresh copy for a vocabulary of `vocab_size` (at least 4: the subset has two thirds of it).
std::vector<Sampler> Samplers(int32_t vocab_size);

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_TESTING_SAMPLERS_H_
