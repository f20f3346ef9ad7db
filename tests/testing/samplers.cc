#include "tests/testing/samplers.h"

#include <memory>

#include "core/stages.h"
#include "core/vocab_subset.h"

namespace logitd::testing {
namespace {

using enum Stage;

// The subset's: two thirds of the vocabulary.
std::shared_ptr<const VocabSubset> TwoThirds(int32_t vocab_size) {
  std::vector<TokenId> allowed;
  for (TokenId t = 0; t < vocab_size; ++t) {
    if (t % 3 != 1) allowed.push_back(t);
  }
  return std::make_shared<const VocabSubset>(*VocabSubset::Of(vocab_size, allowed));
}

// Moves some tokens up and down; bans one.
std::shared_ptr<const SamplingLists> Biases(int32_t vocab_size) {
  SamplingLists lists;
  for (TokenId t = 0; t < vocab_size && t < 20; ++t) lists.logit_biases.push_back({t, t % 2 == 0 ? 1.5 : -0.75});
  lists.sequence_biases.push_back({.token_ids = {3}});
  return std::make_shared<const SamplingLists>(lists);
}

}  // namespace

std::vector<Sampler> Samplers(int32_t vocab_size) {
  const auto subset = TwoThirds(vocab_size);
  const auto lists = Biases(vocab_size);
  return {
      {"temperature", {.temperature = 0.7}, false},
      {"hot", {.temperature = 1e6}, false},
      {"cold", {.temperature = 0.02}, false},
      {"greedy", {.temperature = 0, .top_p = 0.5}},
      {"subset", {.temperature = 1.3, .subset = subset}},
      {"biases", {.temperature = 1.3, .lists = lists}},
      {"top-k 1", {.temperature = 0.7, .top_k = 1}},
      {"top-k 50", {.temperature = 0.7, .top_k = 50}},
      {"top-k 50, ties", {.temperature = 0.7, .top_k = 50, .order = {.top_k_ties = TieRule::kKeepAll}}},
      {"top-p 0.95", {.temperature = 0.9, .top_p = 0.95}},
      {"top-p 0.1", {.temperature = 2.5, .top_p = 0.1}},
      {"top-p exceeded", {.temperature = 1.1, .top_p = 0.6, .order = {.top_p_boundary = TopPBoundary::kExceeded}}},
      {"top-p ascending", {.temperature = 1.1, .top_p = 0.6, .order = {.top_p_boundary = TopPBoundary::kAscending}}},
      {"top-p mass above", {.temperature = 1.1, .top_p = 0.6, .order = {.top_p_boundary = TopPBoundary::kMassAbove}}},
      {"min-p 0.05", {.temperature = 0.7, .min_p = 0.05}},
      {"typical 0.9", {.temperature = 1.2, .typical_p = 0.9}},
      {"typical 0.5, ties", {.temperature = 0.6, .typical_p = 0.5, .order = {.typical_ties = TieRule::kKeepAll}}},
      {"epsilon 1e-3", {.temperature = 0.8, .epsilon_cutoff = 1e-3}},
      {"eta 1e-3", {.temperature = 0.8, .eta_cutoff = 1e-3}},
      {"top-n-sigma 1", {.temperature = 0.6, .top_n_sigma = 1.0}},
      {"xtc", {.temperature = 1.5, .xtc = {.probability = 1, .threshold = 1e-5}}},
      {"top-k, top-p, min-p", {.temperature = 0.8, .top_k = 200, .top_p = 0.9, .min_p = 0.01}},
      // Most tokens stay: the cuts before XTC and typical leave more than a list.
      {"top-p 0.999, typical, xtc",
       {.temperature = 1.7, .top_p = 0.999, .typical_p = 0.99, .xtc = {.probability = 1, .threshold = 1e-5}}},
      {"top-p 0.999, xtc", {.temperature = 1.7, .top_p = 0.999, .xtc = {.probability = 1, .threshold = 2e-5}}},
      {"subset, top-k, top-p, min-p, typical, xtc",
       {.temperature = 0.8,
        .top_k = 300,
        .top_p = 0.97,
        .min_p = 0.001,
        .subset = subset,
        .typical_p = 0.95,
        .xtc = {.probability = 1, .threshold = 0.01}}},
      {"HF",
       {.temperature = 0.9,
        .top_k = 900,
        .top_p = 0.9,
        .min_p = 1e-3,
        .typical_p = 0.95,
        .epsilon_cutoff = 3e-4,
        .eta_cutoff = 2e-4,
        .lists = lists,
        .order = {.preset = StagePreset::kHf}}},
      {"VLLM",
       {.temperature = 1.4,
        .top_k = 700,
        .top_p = 0.95,
        .min_p = 0.01,
        .lists = lists,
        .order = {.preset = StagePreset::kVllm}}},
      {"LLAMA_CPP",
       {.temperature = 0.8,
        .top_k = 40,
        .top_p = 0.95,
        .min_p = 0.05,
        .typical_p = 0.97,
        .top_n_sigma = 3.0,
        .xtc = {.probability = 1, .threshold = 0.1},
        .order = {.preset = StagePreset::kLlamaCpp}}},
      {"TRT_LLM",
       {.temperature = 0.6,
        .top_k = 500,
        .top_p = 0.8,
        .min_p = 0.02,
        .subset = subset,
        .lists = lists,
        .order = {.preset = StagePreset::kTrtLlm}}},
      // A cut before the biases and the sets, which work on what it left.
      {"an order of its own",
       {.temperature = 1.2,
        .top_k = 900,
        .top_p = 0.9,
        .subset = subset,
        .lists = lists,
        .order = {.stages = {kTopK, kLogitBiases, kSequenceBiases, kTokenSets, kTemperature, kTopP}}}},
  };
}

}  // namespace logitd::testing
