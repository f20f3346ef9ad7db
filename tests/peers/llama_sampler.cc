#include "tests/peers/llama_sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "llama.h"
#include "tests/testing/stage_reference.h"

// Exported for llama.cpp's own tests (src/llama-sampler.h), because DRY otherwise takes breakers as text.
llama_sampler* llama_sampler_init_dry_testing(float dry_multiplier, float dry_base, int32_t dry_allowed_length,
                                              int32_t dry_penalty_last_n,
                                              const std::vector<std::vector<llama_token>>& seq_breakers);

namespace logitd::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct FreeSampler {
  void operator()(llama_sampler* sampler) const { llama_sampler_free(sampler); }
};

float ToFloat(double value) { return static_cast<float>(value); }

// The window in llama.cpp's way: a number of tokens, all that there are if none was asked for.
int32_t WindowOf(std::optional<int32_t> window, const StepContext& context) {
  const int32_t all = static_cast<int32_t>(context.prompt.size() + context.output.size());
  return window.has_value() ? std::min(*window, std::max(all, 1)) : all;
}

}  // namespace

SamplingParams RoundedToFloat(const SamplingParams& params) {
  SamplingParams rounded = params;
  for (double* value :
       {&rounded.temperature, &rounded.top_p, &rounded.min_p, &rounded.typical_p, &rounded.xtc.threshold,
        &rounded.repetition_penalty, &rounded.frequency_penalty, &rounded.presence_penalty}) {
    *value = ToFloat(*value);
  }
  if (rounded.top_n_sigma.has_value()) rounded.top_n_sigma = ToFloat(*rounded.top_n_sigma);
  if (rounded.lists != nullptr) {
    SamplingLists lists = *rounded.lists;
    for (LogitBias& bias : lists.logit_biases) bias.bias = ToFloat(bias.bias);
    lists.dry.multiplier = ToFloat(lists.dry.multiplier);
    lists.dry.base = ToFloat(lists.dry.base);
    rounded.lists = std::make_shared<const SamplingLists>(lists);
  }
  return rounded;
}

PeerResult SampleWithLibllama(LogitsView row, const SamplingParams& params, const StepContext& context) {
  // It warns of every list of breakers that is empty.
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  const int32_t vocab_size = static_cast<int32_t>(row.size());
  std::unique_ptr<llama_sampler, FreeSampler> chain(llama_sampler_chain_init(llama_sampler_chain_default_params()));
  const auto add = [&](llama_sampler* sampler) { llama_sampler_chain_add(chain.get(), sampler); };
  const SamplingLists none;
  const SamplingLists& lists = params.lists != nullptr ? *params.lists : none;
  std::vector<llama_logit_bias> biases;
  for (const LogitBias& bias : lists.logit_biases) biases.push_back({bias.token_id, ToFloat(bias.bias)});
  add(llama_sampler_init_logit_bias(vocab_size, static_cast<int32_t>(biases.size()), biases.data()));
  add(llama_sampler_init_penalties(vocab_size, WindowOf(params.penalty_window, context),
                                   ToFloat(params.repetition_penalty), ToFloat(params.frequency_penalty),
                                   ToFloat(params.presence_penalty)));
  const int32_t dry_window = WindowOf(lists.dry.window, context);
  if (lists.dry.multiplier > 0 && dry_window > 0) {
    add(llama_sampler_init_dry_testing(ToFloat(lists.dry.multiplier), ToFloat(lists.dry.base), lists.dry.allowed_length,
                                       dry_window, lists.dry.breakers));
  }
  if (params.top_n_sigma.has_value()) add(llama_sampler_init_top_n_sigma(ToFloat(*params.top_n_sigma)));
  add(llama_sampler_init_top_k(params.top_k));
  add(llama_sampler_init_typical(ToFloat(params.typical_p), 0));
  add(llama_sampler_init_top_p(ToFloat(params.top_p), 0));
  add(llama_sampler_init_min_p(ToFloat(params.min_p), 0));
  add(llama_sampler_init_xtc(ToFloat(params.xtc.probability), ToFloat(params.xtc.threshold), 0, 1));
  add(llama_sampler_init_temp(ToFloat(params.temperature)));
  for (std::span<const TokenId> part : {context.prompt, context.output}) {
    for (TokenId token_id : part) llama_sampler_accept(chain.get(), token_id);
  }

  std::vector<llama_token_data> data;
  for (TokenId t = 0; t < vocab_size; ++t) {
    const bool allowed = params.subset == nullptr || params.subset->Contains(t);
    const bool excluded = std::ranges::find(context.excluded, t) != context.excluded.end();
    if (allowed && !excluded && row[t] > -kInfinity) data.push_back({t, row[t], 0});
  }
  llama_token_data_array candidates = {data.data(), data.size(), -1, false};
  llama_sampler_apply(chain.get(), &candidates);

  PeerResult result;
  result.probabilities.assign(row.size(), 0);
  double max = -kInfinity, sum = 0;
  for (size_t i = 0; i < candidates.size; ++i) max = std::max(max, double{candidates.data[i].logit});
  for (size_t i = 0; i < candidates.size; ++i) sum += std::exp(candidates.data[i].logit - max);
  for (size_t i = 0; i < candidates.size; ++i) {
    const llama_token_data& candidate = candidates.data[i];
    if (candidate.logit == -kInfinity) continue;
    result.kept.push_back(candidate.id);
    result.probabilities[candidate.id] = std::exp(candidate.logit - max) / sum;
  }
  std::ranges::sort(result.kept);
  return result;
}

bool LibllamaIsDefinedOn(const RandomStep& step) {
  if (step.params.typical_p == 1) return true;
  if (step.params.top_n_sigma.has_value()) return false;
  const StageReference reference = ReferenceOfStages(step.row, step.params, step.context(), step.xtc_acts());
  const float max = *std::ranges::max_element(reference.logits);
  return std::ranges::all_of(reference.logits, [max](float logit) { return logit == -kInfinity || logit > max - 80; });
}

}  // namespace logitd::testing
