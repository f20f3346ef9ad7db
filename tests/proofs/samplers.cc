#include "tests/proofs/samplers.h"

#include "core/vocab_subset.h"

namespace logitd::proofs {

std::vector<Sampler> Samplers(int32_t vocab_size) {
  std::vector<TokenId> allowed;
  for (TokenId t = 0; t < vocab_size; ++t) {
    if (t % 3 != 1) allowed.push_back(t);
  }
  const auto subset = std::make_shared<const VocabSubset>(*VocabSubset::Of(vocab_size, allowed));
  return {
      {"temperature", {.temperature = 0.7}, false},
      {"hot", {.temperature = 1e6}, false},
      {"cold", {.temperature = 0.02}, false},
      {"subset", {.temperature = 1.3, .subset = subset}},
      {"top-k 1", {.temperature = 0.7, .top_k = 1}},
      {"top-k 50", {.temperature = 0.7, .top_k = 50}},
      {"top-p 0.95", {.temperature = 0.9, .top_p = 0.95}},
      {"top-p 0.1", {.temperature = 2.5, .top_p = 0.1}},
      {"min-p 0.05", {.temperature = 0.7, .min_p = 0.05}},
      {"typical 0.9", {.temperature = 1.2, .typical_p = 0.9}},
      {"epsilon 1e-3", {.temperature = 0.8, .epsilon_cutoff = 1e-3}},
      {"eta 1e-3", {.temperature = 0.8, .eta_cutoff = 1e-3}},
      {"top-n-sigma 1", {.temperature = 0.6, .top_n_sigma = 1.0}},
      {"xtc", {.temperature = 1.5, .xtc = {.probability = 1, .threshold = 1e-5}}},
      {"top-k, top-p, min-p", {.temperature = 0.8, .top_k = 200, .top_p = 0.9, .min_p = 0.01}},
      {"subset, top-k, top-p, min-p, typical, xtc",
       {.temperature = 0.8,
        .top_k = 300,
        .top_p = 0.97,
        .min_p = 0.001,
        .subset = subset,
        .typical_p = 0.95,
        .xtc = {.probability = 1, .threshold = 0.01}}},
  };
}

}  // namespace logitd::proofs
