// Distribution with every stage, on random steps: against the reference of the stages, and presets against what their
// peers do. Rows on which a cut lies within 1e-6 of mass or 4 ulp of a logit of a token are left out.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/distribution.h"
#include "core/random_stream.h"
#include "core/stage_report.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"
#include "tests/testing/peer_samplers.h"
#include "tests/testing/random_stages.h"
#include "tests/testing/reference.h"
#include "tests/testing/stage_reference.h"
#include "tests/testing/weights.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::IsOk;
using ::logitd::testing::MakeRandomOrderStep;
using ::logitd::testing::MakeRandomStep;
using ::logitd::testing::PeerResult;
using ::logitd::testing::RandomStep;
using ::logitd::testing::ReferenceOfStages;
using ::logitd::testing::StageReference;
using ::logitd::testing::TooNear;

// In agreement with their number.
std::vector<TokenId> Kept(Distribution& distribution) {
  std::vector<TokenId> kept = testing::KeptOf(distribution);
  EXPECT_EQ(static_cast<int32_t>(kept.size()), distribution.CountKept());
  return kept;
}

std::vector<TokenId> Ascending(std::vector<TokenId> token_ids) {
  std::ranges::sort(token_ids);
  return token_ids;
}

// The whole of what the reference says: the set, the log-probs, the entropy, and that the weights are its shares.
void ExpectIsReference(Distribution& distribution, const RandomStep& step, const StageReference& reference) {
  ASSERT_EQ(Kept(distribution), Ascending(reference.kept));
  double entropy = 0;
  uint64_t total = 0;
  for (TokenId t = 0; t < static_cast<TokenId>(step.row.size()); ++t) {
    const double log_prob = reference.log_probs[t];
    const bool kept = log_prob > -std::numeric_limits<double>::infinity();
    ASSERT_EQ(distribution.Keeps(t), kept) << t;
    total += distribution.Weight(t);
    if (!kept) {
      ASSERT_EQ(distribution.LogProb(t), -std::numeric_limits<double>::infinity()) << t;
      ASSERT_EQ(distribution.Weight(t), 0) << t;
      continue;
    }
    ASSERT_NEAR(distribution.LogProb(t), log_prob, std::max(1e-6, 1e-15 * std::abs(log_prob))) << t;
    const double share = static_cast<double>(distribution.Weight(t)) / static_cast<double>(distribution.TotalWeight());
    ASSERT_NEAR(share, std::exp(log_prob), 1e-6) << t;
    entropy -= std::exp(log_prob) * log_prob;
  }
  EXPECT_EQ(total, distribution.TotalWeight());
  EXPECT_NEAR(distribution.Entropy(), entropy, 1e-6);
  EXPECT_EQ(distribution.argmax(), reference.kept[0]);
  EXPECT_EQ(distribution.max(), reference.logits[reference.kept[0]]);
}

// `make(seed)` until `count` rows were compared.
template <typename Make>
void CompareWithReference(int count, Make make) {
  Distribution distribution;
  int compared = 0, empty = 0;
  for (uint64_t seed = 0; compared < count; ++seed) {
    ASSERT_LT(seed, static_cast<uint64_t>(count) * 3 / 2) << "too many rows are left out";
    const RandomStep step = make(seed);
    SCOPED_TRACE(std::to_string(seed) + " " + step.Describe());
    ASSERT_THAT(Validate(step.params, static_cast<int32_t>(step.row.size())), IsOk());
    const StageReference reference = ReferenceOfStages(step.row, step.params, step.context(), step.xtc_acts());
    if (reference.kept.empty()) {
      ASSERT_THAT(distribution.Assign(step.row, step.params, step.context()),
                  HasReason(ErrorReason::kAllTokensExcluded));
      ++empty;
      continue;
    }
    if (TooNear(reference.cuts, {})) continue;
    ++compared;
    ASSERT_THAT(distribution.Assign(step.row, step.params, step.context()), IsOk());
    ExpectIsReference(distribution, step, reference);
    if (::testing::Test::HasFatalFailure()) return;
  }
  EXPECT_GT(empty, 0);
}

class PresetPipelineTest : public ::testing::TestWithParam<StagePreset> {};

TEST_P(PresetPipelineTest, IsTheReference) {
  CompareWithReference(1000, [](uint64_t seed) { return MakeRandomStep(GetParam(), seed); });
}

TEST_P(PresetPipelineTest, GreedyIsTheReferencesFirstToken) {
  CompareWithReference(300, [](uint64_t seed) {
    RandomStep step = MakeRandomStep(GetParam(), seed);
    step.params.temperature = 0;
    return step;
  });
}

INSTANTIATE_TEST_SUITE_P(Presets, PresetPipelineTest,
                         ::testing::Values(StagePreset::kLogitd, StagePreset::kHf, StagePreset::kVllm,
                                           StagePreset::kLlamaCpp, StagePreset::kTrtLlm),
                         [](const auto& info) { return std::string(PresetName(info.param)); });

TEST(StagePipelineTest, AnyOrderWithAnyRulesIsTheReference) { CompareWithReference(2000, MakeRandomOrderStep); }

struct Peer {
  StagePreset preset;
  PeerResult (*sample)(LogitsView, const SamplingParams&, const StepContext&);
};

// A step whose tokens are looked at as the peer of `preset` does.
RandomStep MakePeerStep(StagePreset preset, uint64_t seed) {
  RandomStep step = MakeRandomStep(preset, seed);
  if (preset == StagePreset::kTrtLlm) {
    // TensorRT-LLM has neither other scopes nor a window.
    step.params.repetition_scope = PenaltyScope::kDefault;
    step.params.occurrence_scope = PenaltyScope::kDefault;
    step.params.penalty_window.reset();
  }
  return step;
}

class PeerPipelineTest : public ::testing::TestWithParam<Peer> {};

TEST_P(PeerPipelineTest, APresetGivesItsPeersSetAndProbabilities) {
  Distribution distribution;
  int compared = 0;
  for (uint64_t seed = 0; compared < 1000; ++seed) {
    ASSERT_LT(seed, 1500) << "too many rows are left out";
    const RandomStep step = MakePeerStep(GetParam().preset, seed);
    SCOPED_TRACE(std::to_string(seed) + " " + step.Describe());
    if (ReferenceOfStages(step.row, step.params, step.context(), step.xtc_acts()).kept.empty()) continue;
    const PeerResult peer = GetParam().sample(step.row, step.params, step.context());
    if (TooNear(peer.cuts, {})) continue;
    ++compared;
    ASSERT_THAT(distribution.Assign(step.row, step.params, step.context()), IsOk());
    ASSERT_EQ(Kept(distribution), peer.kept);
    for (TokenId t : peer.kept) {
      ASSERT_NEAR(std::exp(distribution.LogProb(t)), peer.probabilities[t], 1e-6) << t;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Peers, PeerPipelineTest,
                         ::testing::Values(Peer{StagePreset::kHf, &testing::SampleAsTransformers},
                                           Peer{StagePreset::kVllm, &testing::SampleAsVllm},
                                           Peer{StagePreset::kLlamaCpp, &testing::SampleAsLlamaCpp},
                                           Peer{StagePreset::kTrtLlm, &testing::SampleAsTrtLlm}),
                         [](const auto& info) { return std::string(PresetName(info.param.preset)); });

TEST(StagePipelineTest, GreedyInTrtLlmIsItsTopOneAtTemperatureOne) {
  Distribution distribution;
  int compared = 0;
  for (uint64_t seed = 0; compared < 300; ++seed) {
    ASSERT_LT(seed, 450) << "too many rows are left out";
    RandomStep step = MakePeerStep(StagePreset::kTrtLlm, seed);
    step.params.temperature = 0;
    SCOPED_TRACE(std::to_string(seed) + " " + step.Describe());
    const PeerResult peer = testing::SampleAsTrtLlm(step.row, step.params, step.context());
    if (peer.kept.empty() || TooNear(peer.cuts, {})) continue;
    ++compared;
    ASSERT_THAT(distribution.Assign(step.row, step.params, step.context()), IsOk());
    ASSERT_EQ(Kept(distribution), peer.kept);
  }
}

TEST(StagePipelineTest, ReportsSayWhatEachStageRemoved) {
  const std::vector<float> row = {6, 3, 0.5, 0.5};
  const std::vector<TokenId> excluded = {3};
  const SamplingParams params{.temperature = 2, .top_k = 2, .top_p = 0.5};
  Distribution distribution;
  ASSERT_OK_AND_ASSIGN(const std::vector<StageReport> reports,
                       ReportStages(row, params, {.excluded = excluded}, distribution));
  ASSERT_EQ(reports.size(), 4);
  const Stage stages[] = {Stage::kMinTokens, Stage::kTemperature, Stage::kTopK, Stage::kTopP};
  const int32_t kept[] = {4, 3, 3, 2, 1};
  // Of p = 0.740200, 0.165161, 0.047319: what top-k removes, then what top-p removes of 0.817574, 0.182426.
  const double removed[] = {0, 0, 0.047319415 / (1 - 0.047319415), 0.182425524};
  for (int i = 0; i < 4; ++i) {
    SCOPED_TRACE(StageName(stages[i]));
    EXPECT_EQ(reports[i].stage, stages[i]);
    EXPECT_EQ(reports[i].kept_before, kept[i]);
    EXPECT_EQ(reports[i].kept_after, kept[i + 1]);
    if (i > 0) {
      EXPECT_NEAR(reports[i].removed_mass, removed[i], 1e-6);
    }
  }
  // min_tokens comes before the temperature: the mass is that of temperature 1.
  EXPECT_NEAR(reports[0].removed_mass, 0.003862877, 1e-6);
}

TEST(StagePipelineTest, ReportsChangeNothingAndFitTogether) {
  Distribution with, without;
  for (uint64_t seed = 0; seed < 500; ++seed) {
    const RandomStep step = MakeRandomOrderStep(seed);
    SCOPED_TRACE(std::to_string(seed) + " " + step.Describe());
    const auto reported = ReportStages(step.row, step.params, step.context(), with);
    ASSERT_EQ(without.Assign(step.row, step.params, step.context()), reported.status());
    if (!reported.ok()) continue;
    const std::vector<StageReport>& reports = *reported;
    ASSERT_THAT(with.Assign(step.row, step.params, step.context()), IsOk());
    ASSERT_EQ(with.TotalWeight(), without.TotalWeight());
    ASSERT_EQ(Kept(with), Kept(without));
    const StagePlan plan = PlanOf(step.params);
    ASSERT_EQ(reports.size(), plan.stages().size());
    for (size_t i = 0; i < reports.size(); ++i) {
      EXPECT_EQ(reports[i].stage, plan.stages()[i]);
      if (i > 0) {
        EXPECT_EQ(reports[i].kept_before, reports[i - 1].kept_after);
      }
      EXPECT_LE(reports[i].kept_after, reports[i].kept_before);
      if (reports[i].kept_after == reports[i].kept_before) {
        EXPECT_EQ(reports[i].removed_mass, 0);
      }
      EXPECT_GE(reports[i].removed_mass, 0);
      EXPECT_LE(reports[i].removed_mass, 1);
    }
    EXPECT_EQ(reports.back().kept_after, with.CountKept());
  }
}

TEST(StagePipelineTest, KeptMassIsOfTheDistributionAfterTheTemperature) {
  const std::vector<float> row = {6, 3, 0.5, 0.5};
  const DistributionOptions options{.kept_mass = true};
  Distribution distribution;
  ASSERT_THAT(distribution.Assign(row, {.temperature = 2, .top_k = 2}, {}, options), IsOk());
  EXPECT_NEAR(distribution.KeptMass(), 0.740200185 + 0.165160986, 1e-6);
  ASSERT_THAT(distribution.Assign(row, {.temperature = 2, .top_k = 3, .top_p = 0.9}, {}, options), IsOk());
  EXPECT_NEAR(distribution.KeptMass(), 0.740200185 + 0.165160986, 1e-6);
  ASSERT_THAT(distribution.Assign(row, {.temperature = 2}, {}, options), IsOk());
  EXPECT_EQ(distribution.KeptMass(), 1);
}

TEST(StagePipelineTest, KeptMassIsRelativeToTheMaximumThatATruncationTookOut) {
  const std::vector<float> row = {6, -10, -10.5, -10.5};
  const DistributionOptions options{.kept_mass = true};
  Distribution distribution;
  const auto kept_mass = [&](double temperature) {
    // Before the temperature, so that the threshold is of the same logits at each.
    const SamplingParams params{.temperature = temperature,
                                .xtc = {.probability = 1, .threshold = 1e-12},
                                .order = {.stages = {Stage::kXtc, Stage::kTemperature}}};
    EXPECT_THAT(distribution.Assign(row, params, {}, options), IsOk());
    EXPECT_EQ(Kept(distribution), std::vector<TokenId>{3});
    return distribution.KeptMass();
  };
  // exp(-16.5 / T) over 1 + exp(-16 / T) + 2 exp(-16.5 / T): at T = 0.5 less than a weight can say.
  const double at_half = std::exp(-33.0), at_two = std::exp(-8.25);
  EXPECT_NEAR(kept_mass(0.5) / (at_half / (1 + std::exp(-32.0) + 2 * at_half)), 1, 1e-6);
  EXPECT_NEAR(kept_mass(2) / (at_two / (1 + std::exp(-8.0) + 2 * at_two)), 1, 1e-6);
  // exp(-1650) is no double.
  EXPECT_EQ(kept_mass(0.01), 0);
}

// Rows that are added up, through the kernels in use.
int sum_count = 0;

TEST(StagePipelineTest, KeptMassAtTemperatureZeroCostsNoPass) {
  const kernels::RowKernels& before = kernels::ActiveKernels();
  static const kernels::RowKernels* real;
  real = &before;
  kernels::RowKernels counting = before;
  counting.sum_weights = [](const float* logits, size_t n, const uint64_t* mask, float max,
                            const kernels::ExpConstants& constants, uint64_t* block_sums) {
    ++sum_count;
    return real->sum_weights(logits, n, mask, max, constants, block_sums);
  };
  kernels::UseKernels(counting);
  const std::vector<float> row = testing::MakeRow(20000, 2, 3);
  Distribution distribution;
  for (double temperature : {0.0, 0.7}) {
    sum_count = 0;
    EXPECT_THAT(distribution.Assign(row, {.temperature = temperature}, {}, {.kept_mass = true}), IsOk());
    EXPECT_EQ(distribution.KeptMass(), 1);
    EXPECT_EQ(sum_count, temperature == 0 ? 0 : 1) << temperature;
  }
  kernels::UseKernels(before);
}

TEST(StagePipelineTest, XtcActsAsItsOwnDrawSays) {
  const std::vector<float> row = {6, 3, 0.5, 0.5};
  const SamplingParams params{.temperature = 2, .xtc = {.probability = 0.3, .threshold = 0.1}};
  Distribution distribution;
  int acted = 0;
  for (int32_t position = 0; position < 1000; ++position) {
    const uint64_t u = RandomStream(7, 11, position, RandomPurpose::kXtc).Uniform64(0);
    const bool acts = static_cast<double>(u >> 11) * 0x1p-53 < 0.3;
    ASSERT_THAT(distribution.Assign(row, params, {.seed = 7, .sequence_key = 11, .position = position}), IsOk());
    ASSERT_EQ(distribution.Keeps(0), !acts) << position;
    acted += acts;
  }
  // 300 with a standard deviation of 14.5; the draws are fixed.
  EXPECT_GT(acted, 230);
  EXPECT_LT(acted, 370);
}

TEST(StagePipelineTest, XtcActsBelowItsProbabilityAlone) {
  const std::vector<float> row = {6, 3, 0.5, 0.5};
  const double u = static_cast<double>(RandomStream(7, 11, 5, RandomPurpose::kXtc).Uniform64(0) >> 11) * 0x1p-53;
  Distribution distribution;
  for (const auto& [probability, acts] : {std::pair{u, false}, {std::nextafter(u, 1.0), true}}) {
    const SamplingParams params{.temperature = 2, .xtc = {.probability = probability, .threshold = 0.1}};
    ASSERT_THAT(distribution.Assign(row, params, {.seed = 7, .sequence_key = 11, .position = 5}), IsOk());
    EXPECT_EQ(distribution.Keeps(0), !acts) << probability;
  }
}

}  // namespace
}  // namespace logitd
