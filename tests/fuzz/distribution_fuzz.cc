// The whole Distribution and the draw, on any row, parameters, order and tokens so far: against the double reference of
// the stages (tests/testing/stage_reference.h), where no cut is nearer to a token than double and core may differ;
// against itself; and the same bits on every kernel target, and of the sparse row that says the same.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/distribution.h"
#include "core/errors.h"
#include "core/kernels/row_kernels.h"
#include "core/logits_processor.h"
#include "core/random_stream.h"
#include "core/sampling_params.h"
#include "core/stages.h"
#include "core/vocab_subset.h"
#include "tests/fuzz/fuzz_input.h"
#include "tests/testing/sparse_row.h"
#include "tests/testing/stage_reference.h"

namespace logitd::fuzz {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Cuts that are nearer to a token than this may fall on its other side in core, whose weights have 1e-7 of error and
// 2^-24 of the distance to the maximum.
constexpr testing::NearLimits kNear = {.mass = 4e-6, .ulps = 4, .nats = 2e-5};

std::shared_ptr<const SamplingLists> MakeLists(FuzzInput& input, size_t n) {
  SamplingLists lists;
  const uint64_t step = input.Below(n) + 1;
  for (size_t t = input.Below(n); t < n && lists.logit_biases.size() < 20; t += step) {
    lists.logit_biases.push_back({static_cast<TokenId>(t), input.Uniform() * 200 - 100});
  }
  if (input.OneIn(2)) lists.dry = {.multiplier = input.Uniform() * 4, .base = 1 + input.Uniform() * 7};
  return std::make_shared<const SamplingLists>(lists);
}

std::vector<TokenId> MakeTokens(FuzzInput& input, size_t n) {
  std::vector<TokenId> tokens(input.Below(40));
  // Few different ones, so that there is something repeated.
  const uint64_t distinct = std::min<uint64_t>(n, input.Below(6) + 1);
  for (TokenId& token_id : tokens) token_id = static_cast<TokenId>(input.Below(distinct));
  return tokens;
}

// A preset that has every stage that is on, or a random order with random rules, or neither.
void MakeOrder(FuzzInput& input, size_t n, SamplingParams& params) {
  if (input.OneIn(3)) {
    params.order.preset = static_cast<StagePreset>(1 + input.Below(5));
    if (!Validate(params, static_cast<int32_t>(n)).ok()) params.order = {};
    return;
  }
  if (input.OneIn(2)) return;
  const std::span<const Stage> all = StagesOf(StagePreset::kLogitd);
  std::vector<Stage>& stages = params.order.stages;
  stages.assign(all.begin(), all.end());
  for (size_t i = stages.size() - 1; i > 0; --i) std::swap(stages[i], stages[input.Below(i + 1)]);
  params.order.top_k_ties = static_cast<TieRule>(input.Below(3));
  params.order.top_p_boundary = static_cast<TopPBoundary>(input.Below(5));
  params.order.typical_ties = static_cast<TieRule>(input.Below(3));
}

// `any_stage`: also others than the sets, the temperature, top-k, top-p and min-p.
SamplingParams MakeParams(FuzzInput& input, size_t n, bool any_stage) {
  SamplingParams params;
  params.temperature = input.OneIn(16) ? 0 : input.Temperature();
  if (input.OneIn(2)) params.top_k = static_cast<int32_t>(input.Below(input.OneIn(2) ? 8 : n + 2));
  if (input.OneIn(2)) params.top_p = input.OneIn(8) ? 0 : input.Uniform();
  if (input.OneIn(3)) params.min_p = std::exp2(-20 * input.Uniform());
  if (input.OneIn(3)) {
    std::vector<TokenId> allowed;
    const uint64_t one_in = input.Below(5) + 1;
    for (size_t t = 0; t < n; ++t) {
      if (input.OneIn(one_in)) allowed.push_back(static_cast<TokenId>(t));
    }
    if (!allowed.empty()) {
      params.subset = std::make_shared<const VocabSubset>(*VocabSubset::Of(static_cast<int32_t>(n), allowed));
    }
  }
  if (!any_stage) return params;
  if (input.OneIn(3)) params.typical_p = input.Uniform() * 0.999 + 0.001;
  if (input.OneIn(4)) params.epsilon_cutoff = std::exp2(-20 * input.Uniform() - 1e-3);
  if (input.OneIn(4)) params.eta_cutoff = std::exp2(-20 * input.Uniform() - 1e-3);
  if (input.OneIn(4)) params.top_n_sigma = input.Uniform() * 4;
  if (input.OneIn(3)) params.xtc = {.probability = input.Uniform(), .threshold = 0.5 * (1 - input.Uniform())};
  if (input.OneIn(4)) params.repetition_penalty = std::exp2(input.Uniform() * 12 - 6);
  if (input.OneIn(4)) params.frequency_penalty = input.Uniform() * 4 - 2;
  if (input.OneIn(4)) params.presence_penalty = input.Uniform() * 4 - 2;
  if (input.OneIn(4)) params.no_repeat_ngram_size = static_cast<int32_t>(input.Below(4));
  if (input.OneIn(3)) params.lists = MakeLists(input, n);
  MakeOrder(input, n, params);
  return params;
}

// For messages: the plan, and what decides about it.
std::string Describe(const SamplingParams& params, size_t n) {
  std::string text(PresetName(params.order.preset));
  text += ", " + std::to_string(n) + " tokens, T " + std::to_string(params.temperature) + ":";
  const StagePlan plan = PlanOf(params);
  for (Stage stage : plan.stages()) text.append(" ").append(StageName(stage));
  return text;
}

// What one target made of the row.
struct Outcome {
  bool ok = false;
  uint64_t total_weight = 0;
  std::vector<uint64_t> weights;
  std::vector<TokenId> kept;
  double entropy = 0;
  std::vector<TokenId> tokens;
};

Outcome Run(Distribution& distribution, const LogitsRow& row, const SamplingParams& params, const StepContext& context,
            std::span<const uint64_t> us) {
  Outcome outcome;
  const absl::Status status = distribution.Assign(row, params, context);
  outcome.ok = status.ok();
  if (!status.ok()) {
    // The row is finite: nothing but a subset or a ban can leave no token.
    const bool can_exclude = params.subset != nullptr || params.no_repeat_ngram_size > 0;
    LOGITD_FUZZ_CHECK(can_exclude && DetailOf(status).reason == ErrorReason::kAllTokensExcluded, status);
    return outcome;
  }
  outcome.total_weight = distribution.TotalWeight();
  outcome.entropy = distribution.Entropy();
  uint64_t sum = 0;
  for (TokenId t = 0; t < row.vocab_size(); ++t) {
    const uint64_t weight = distribution.Weight(t);
    outcome.weights.push_back(weight);
    sum += weight;
    if (distribution.Keeps(t)) {
      outcome.kept.push_back(t);
      LOGITD_FUZZ_CHECK(params.subset == nullptr || params.subset->Contains(t), "keeps what is not allowed");
      LOGITD_FUZZ_CHECK(distribution.LogProb(t) <= 0 && distribution.LogProb(t) > -kInfinity, "log-prob of " << t);
    } else {
      LOGITD_FUZZ_CHECK(weight == 0 && distribution.LogProb(t) == -kInfinity, "token " << t << " is cut");
    }
  }
  LOGITD_FUZZ_CHECK(sum == outcome.total_weight && sum > 0, "sum of the weights");
  LOGITD_FUZZ_CHECK(static_cast<int32_t>(outcome.kept.size()) == distribution.CountKept(), "kept_count");
  LOGITD_FUZZ_CHECK(outcome.entropy >= 0, "entropy");
  for (uint64_t u : us) {
    const TokenId token_id = distribution.DrawToken(u).token_id;
    uint64_t r = static_cast<uint64_t>((static_cast<unsigned __int128>(u) * sum) >> 64);
    TokenId expected = 0;
    while (r >= outcome.weights[expected]) r -= outcome.weights[expected++];
    LOGITD_FUZZ_CHECK(token_id == expected, "u " << u << " draws " << token_id << ", not " << expected);
    outcome.tokens.push_back(token_id);
  }
  return outcome;
}

// kNear, and for top-n-sigma the rounding of its sums: sigma is within 2^-22 of the row's range of the exact one.
testing::NearLimits NearLimitsOf(const SamplingParams& params, const testing::StageReference& reference) {
  testing::NearLimits limits = kNear;
  if (!params.top_n_sigma) return limits;
  double min = kInfinity, max = -kInfinity;
  for (float logit : reference.logits) {
    if (logit == -kInfinity) continue;
    min = std::min(min, static_cast<double>(logit));
    max = std::max(max, static_cast<double>(logit));
  }
  // The kernels take a distance that f32 cannot hold for the largest that it can.
  if (max - min > std::numeric_limits<float>::max()) limits.nats = kInfinity;
  const double unit = params.greedy() ? 1 : std::min(1.0, params.temperature);
  limits.nats = std::max(limits.nats, *params.top_n_sigma * (max - min) * 0x1p-21 / unit);
  return limits;
}

bool XtcActs(const SamplingParams& params, const StepContext& context) {
  const RandomStream random(context.seed, context.sequence_key, context.position, RandomPurpose::kXtc);
  return static_cast<double>(random.Uniform64(0) >> 11) * 0x1p-53 < params.xtc.probability;
}

void CompareWithReference(LogitsView row, const SamplingParams& params, const StepContext& context,
                          Distribution& distribution, const Outcome& outcome) {
  const testing::StageReference reference = testing::ReferenceOfStages(row, params, context, XtcActs(params, context));
  const bool is_near = testing::TooNear(reference.cuts, NearLimitsOf(params, reference));
  // A cut that falls otherwise may leave a token that a later stage bans.
  if (!is_near) {
    LOGITD_FUZZ_CHECK(outcome.ok == !reference.kept.empty(),
                      "the reference keeps " << reference.kept.size() << ", " << Describe(params, row.size()));
    std::vector<TokenId> kept = reference.kept;
    std::sort(kept.begin(), kept.end());
    LOGITD_FUZZ_CHECK(outcome.kept == kept, "keeps " << outcome.kept.size() << ", the reference " << kept.size() << ", "
                                                     << Describe(params, row.size()));
  }
  if (!outcome.ok) return;
  // Log-probs of the set that was kept, whatever its boundary.
  if (params.greedy()) {
    LOGITD_FUZZ_CHECK(outcome.kept.size() == 1 && distribution.LogProb(outcome.kept[0]) == 0, "greedy");
    return;
  }
  const double temperature = TemperatureOf(params);
  double max = -kInfinity;
  for (TokenId t : outcome.kept) max = std::max(max, static_cast<double>(reference.logits[t]));
  long double sum = 0;
  for (TokenId t : outcome.kept) sum += std::exp((static_cast<double>(reference.logits[t]) - max) / temperature);
  for (TokenId t : outcome.kept) {
    const double exact =
        (static_cast<double>(reference.logits[t]) - max) / temperature - static_cast<double>(std::log(sum));
    const double bound = std::max(1e-6, 1e-15 * std::abs(exact));
    LOGITD_FUZZ_CHECK(std::abs(distribution.LogProb(t) - exact) <= bound,
                      "log-prob of " << t << ": " << distribution.LogProb(t) << ", exact " << exact);
  }
}

}  // namespace
}  // namespace logitd::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace logitd;
  fuzz::FuzzInput input(data, size);
  // Sometimes more tokens than core keeps as a list.
  const size_t n = input.OneIn(32) ? 4096 + input.Below(16000) : input.RowSize();
  const std::vector<float> row = input.Row(n, true);
  const bool any_stage = input.OneIn(2);
  const SamplingParams params = fuzz::MakeParams(input, n, any_stage);
  LOGITD_FUZZ_CHECK(Validate(params, static_cast<int32_t>(n)).ok(), "parameters out of range");
  const std::vector<TokenId> prompt = fuzz::MakeTokens(input, n), output = fuzz::MakeTokens(input, n);
  const StepContext context = {.prompt = prompt,
                               .output = output,
                               .seed = input.Bits(),
                               .sequence_key = input.Bits() >> 8,
                               .position = static_cast<int32_t>(output.size())};
  const testing::SparseRow sparse(row, /*excluded_share=*/3);
  const std::vector<uint64_t> us = {0, ~uint64_t{0}, input.Bits(), input.Bits(), input.Bits()};

  const kernels::RowKernels& before = kernels::ActiveKernels();
  const kernels::RowKernels* targets[kernels::kMaxTargets];
  const size_t count = kernels::AvailableKernels(targets);
  fuzz::Outcome first;
  for (const kernels::RowKernels* target : std::span(targets, count)) {
    kernels::UseKernels(*target);
    // A fresh one and one that was used before: buffers that are kept must not show.
    static Distribution used;
    Distribution fresh;
    for (Distribution* distribution : {&used, &fresh}) {
      for (const LogitsRow& form : {LogitsRow(row), sparse.row()}) {
        const fuzz::Outcome outcome = fuzz::Run(*distribution, form, params, context, us);
        if (target == targets[0] && distribution == &used && !form.is_sparse()) {
          first = outcome;
          fuzz::CompareWithReference(row, params, context, *distribution, outcome);
          continue;
        }
        LOGITD_FUZZ_CHECK(
            outcome.ok == first.ok && outcome.total_weight == first.total_weight && outcome.weights == first.weights &&
                outcome.kept == first.kept && outcome.entropy == first.entropy && outcome.tokens == first.tokens,
            target->target << (form.is_sparse() ? ", sparse," : "") << " differs from " << targets[0]->target);
      }
    }
  }
  kernels::UseKernels(before);
  return 0;
}
