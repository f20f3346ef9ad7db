#include "tests/testing/stage_reference.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"
#include "tests/testing/peer_samplers.h"
#include "tests/testing/random_stages.h"

namespace logitd::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using enum Stage;

const std::vector<float>& ExampleRow() {
  static const std::vector<float> row = {6, 3, 0.5, 0.5};
  return row;
}

// Logits whose probabilities at temperature 1 are these.
std::vector<float> LogitsOf(const std::vector<double>& probabilities) {
  std::vector<float> row;
  for (double p : probabilities) row.push_back(static_cast<float>(std::log(p)));
  return row;
}

StageReference Of(const SamplingParams& params, const std::vector<float>& row = ExampleRow(),
                  const StepContext& context = {}, bool xtc_acts = true) {
  EXPECT_THAT(Validate(params, static_cast<int32_t>(row.size())), IsOk());
  return ReferenceOfStages(row, params, context, xtc_acts);
}

struct CutCase {
  const char* name;
  SamplingParams params;
  std::vector<float> row;
  std::vector<TokenId> kept;
};

class CutReferenceTest : public ::testing::TestWithParam<CutCase> {};

TEST_P(CutReferenceTest, KeepsWhatTheHandComputed) {
  const CutCase& c = GetParam();
  EXPECT_THAT(Of(c.params, c.row).kept, ::testing::ElementsAreArray(c.kept));
}

// p at temperature 1: 0.945215, 0.047059, 0.003863, 0.003863; H = 0.240013.
// At temperature 2: 0.740200, 0.165161, 0.047319, 0.047319; H = 0.808833.
INSTANTIATE_TEST_SUITE_P(
    Example, CutReferenceTest,
    ::testing::Values(
        CutCase{"None", {.temperature = 0.7}, ExampleRow(), {0, 1, 2, 3}},
        CutCase{"Greedy", {.temperature = 0}, {1, 5, 5, 2}, {1}},
        CutCase{"TopK", {.temperature = 2, .top_k = 3}, ExampleRow(), {0, 1, 2}},
        CutCase{"TopKKeepsTies", {.top_k = 3, .order = {.top_k_ties = TieRule::kKeepAll}}, ExampleRow(), {0, 1, 2, 3}},
        CutCase{"TopP", {.temperature = 2, .top_p = 0.9}, ExampleRow(), {0, 1}},
        CutCase{"TopPNone", {.temperature = 2, .top_p = 0}, ExampleRow(), {0}},
        CutCase{"MinP", {.temperature = 2, .min_p = 0.2}, ExampleRow(), {0, 1}},       // 0.2231, 0.0639
        CutCase{"MinPSharper", {.temperature = 1, .min_p = 0.05}, ExampleRow(), {0}},  // e^-3 = 0.0498
        // |-ln p - H|: 0.5080, 0.9921, 2.2421, 2.2421.
        CutCase{"Typical", {.temperature = 2, .typical_p = 0.7}, ExampleRow(), {0}},
        CutCase{"TypicalMore", {.temperature = 2, .typical_p = 0.91}, ExampleRow(), {0, 1, 2}},
        CutCase{"TypicalTies",
                {.temperature = 2, .typical_p = 0.91, .order = {.typical_ties = TieRule::kKeepAll}},
                ExampleRow(),
                {0, 1, 2, 3}},
        CutCase{"Epsilon", {.temperature = 2, .epsilon_cutoff = 0.05}, ExampleRow(), {0, 1}},
        CutCase{"EpsilonKeepsTheFirst", {.temperature = 2, .epsilon_cutoff = 0.9}, ExampleRow(), {0}},
        // min(0.1, sqrt(0.1) exp(-0.8088) = 0.1408); min(0.3, 0.5477 * 0.4454 = 0.2439).
        CutCase{"Eta", {.temperature = 2, .eta_cutoff = 0.1}, ExampleRow(), {0, 1}},
        CutCase{"EtaByEntropy", {.temperature = 2, .eta_cutoff = 0.3}, ExampleRow(), {0}},
        // Mean 2.5, sigma 2.2638.
        CutCase{"Sigma", {.temperature = 2, .top_n_sigma = 1}, ExampleRow(), {0}},
        CutCase{"SigmaMore", {.temperature = 2, .top_n_sigma = 1.4}, ExampleRow(), {0, 1}},
        CutCase{"SigmaAll", {.temperature = 2, .top_n_sigma = 2.5}, ExampleRow(), {0, 1, 2, 3}},
        CutCase{"Xtc", {.temperature = 2, .xtc = {1, 0.1}}, ExampleRow(), {1, 2, 3}},
        CutCase{"XtcTies", {.temperature = 2, .xtc = {1, 0.04}}, ExampleRow(), {3}},
        CutCase{"XtcOnlyOne", {.temperature = 1, .xtc = {1, 0.1}}, ExampleRow(), {0, 1, 2, 3}}),
    [](const auto& info) { return std::string(info.param.name); });

const std::vector<float>& Fractions() {
  static const std::vector<float> row = LogitsOf({0.4, 0.3, 0.2, 0.1});
  return row;
}

INSTANTIATE_TEST_SUITE_P(
    Boundaries, CutReferenceTest,
    ::testing::Values(
        CutCase{"Reached", {.top_p = 0.5}, std::vector<float>(4, 1.5f), {0, 1}},
        CutCase{"Exceeded",
                {.top_p = 0.5, .order = {.top_p_boundary = TopPBoundary::kExceeded}},
                std::vector<float>(4, 1.5f),
                {0, 1, 2}},
        CutCase{"Ascending",
                {.top_p = 0.5, .order = {.top_p_boundary = TopPBoundary::kAscending}},
                std::vector<float>(4, 1.5f),
                {0, 1}},
        CutCase{"MassAbove",
                {.top_p = 0.5, .order = {.top_p_boundary = TopPBoundary::kMassAbove}},
                {2, 1.5, 1.5, 1.5},
                {0, 1, 2, 3}},
        CutCase{"AscendingNone",
                {.top_p = 0, .order = {.top_p_boundary = TopPBoundary::kAscending}},
                std::vector<float>(3, 1.5f),
                {0}},
        CutCase{
            "NineOfTen", {.temperature = 0.7, .top_p = 0.9}, std::vector<float>(10, 1.5f), {0, 1, 2, 3, 4, 5, 6, 7, 8}},
        // Each works on what the one before left: 4/7 reaches 0.5 alone.
        CutCase{"OneAfterTheOther", {.top_k = 2, .top_p = 0.5}, Fractions(), {0}},
        CutCase{"TheOtherFirst", {.top_k = 2, .top_p = 0.5, .order = {.stages = {kTopP, kTopK}}}, Fractions(), {0, 1}},
        // Temperature last: the cut sees p at 1, 0.4 and 0.3; at 4 it would need three.
        CutCase{"BeforeTheTemperature",
                {.temperature = 4, .top_p = 0.65, .order = {.preset = StagePreset::kLlamaCpp}},
                Fractions(),
                {0, 1}},
        CutCase{"AfterTheTemperature", {.temperature = 4, .top_p = 0.65}, Fractions(), {0, 1, 2}},
        // H = 1.2799; |-ln p - H|: 0.3636, 0.0759, 0.3296, 1.0227. 0.3 + 0.2 reaches 0.5 and does not exceed it.
        CutCase{"TypicalReached", {.typical_p = 0.4999}, Fractions(), {1, 2}},
        CutCase{"TypicalMayDropTheFirst", {.typical_p = 0.2}, Fractions(), {1}},
        CutCase{"TypicalExceeded",
                {.typical_p = 0.5, .order = {.preset = StagePreset::kLlamaCpp}},
                std::vector<float>(4, 1.5f),
                {0, 1, 2}},
        CutCase{"TypicalOfEqual", {.typical_p = 0.5}, std::vector<float>(4, 1.5f), {0, 1}},
        // What is -inf has no share in sigma: mean 4.5, sigma 1.5.
        CutCase{"SigmaOfTheFinite",
                {.top_n_sigma = 1.99},
                {6, 3, -std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()},
                {0}},
        // What a cut removed has: sigma is 2.2638 and not 1.5.
        CutCase{"SigmaOfTheCut", {.top_k = 2, .top_n_sigma = 1.9}, ExampleRow(), {0, 1}},
        // Below the bound the first token stays alone, whatever equals it.
        CutCase{"EpsilonKeepsTheFirstAlone", {.epsilon_cutoff = 0.6}, {2, 2, 1}, {0}},
        // Sigma 0: whatever equals the maximum.
        CutCase{"NoSigma", {.top_n_sigma = 0}, {2, 3, 3, 1}, {1, 2}},
        // The maximum that typical removed counts too: 0.3 and 0.2 are left, and ln 0.4 - sigma = ln 0.238.
        CutCase{"SigmaOfTheRemovedMaximum", {.typical_p = 0.4999, .top_n_sigma = 1}, Fractions(), {1}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(StageReferenceTest, LogProbsAreOverWhatIsLeft) {
  const StageReference all = Of({.temperature = 2});
  EXPECT_NEAR(std::exp(all.log_probs[0]), 0.740200185, 1e-9);
  EXPECT_NEAR(std::exp(all.log_probs[2]), 0.047319415, 1e-9);
  const StageReference two = Of({.temperature = 2, .top_k = 2});
  EXPECT_NEAR(two.log_probs[0], -std::log1p(std::exp(-1.5)), 1e-12);
  EXPECT_EQ(two.log_probs[2], -std::numeric_limits<double>::infinity());
  EXPECT_EQ(Of({.temperature = 0}).log_probs[0], 0);
}

TEST(StageReferenceTest, XtcActsOnlyWhenItsDrawSaysSo) {
  EXPECT_THAT(Of({.temperature = 2, .xtc = {0.5, 0.1}}, ExampleRow(), {}, false).kept, ElementsAre(0, 1, 2, 3));
}

TEST(StageReferenceTest, LogitsStagesMeetTheCutsInTheirOrder) {
  const std::vector<TokenId> output = {0};
  SamplingParams params{.temperature = 2, .top_k = 1, .presence_penalty = 2};
  params.frequency_penalty = 2;
  // 6 - 2 - 2 = 2 falls behind 3.
  EXPECT_THAT(Of(params, ExampleRow(), {.output = output}).kept, ElementsAre(1));
  params.order.stages = {kTopK, kFrequencyPenalty, kPresencePenalty, kTemperature};
  const StageReference cut_first = Of(params, ExampleRow(), {.output = output});
  EXPECT_THAT(cut_first.kept, ElementsAre(0));
  EXPECT_EQ(cut_first.logits[0], 2);
}

TEST(StageReferenceTest, NothingIsLeftWhereAllIsBanned) {
  const std::vector<TokenId> excluded = {0, 1, 2, 3};
  EXPECT_THAT(Of({.temperature = 0.7, .top_k = 2}, ExampleRow(), {.excluded = excluded}).kept, IsEmpty());
}

TEST(StageReferenceTest, SaysHowNearACutCame) {
  // The first token has 0.740200 at temperature 2.
  const StageReference near = Of({.temperature = 2, .top_p = 0.7402});
  EXPECT_NEAR(near.cuts.at(0).mass, 0.000000185, 1e-9);
  EXPECT_TRUE(TooNear(near.cuts, {}));
  EXPECT_FALSE(TooNear(near.cuts, {.mass = 1e-8}));
  const StageReference far = Of({.temperature = 2, .top_p = 0.8});
  EXPECT_NEAR(far.cuts.at(0).mass, 0.8 - 0.740200185, 1e-9);
  EXPECT_FALSE(TooNear(far.cuts, {}));
  // ln 0.2 T = -3.2189 below 6; 3 is 0.2189 above, as a logit.
  EXPECT_NEAR(Of({.temperature = 2, .min_p = 0.2}).cuts.at(0).ulps, (3 - (6 + 2 * std::log(0.2))) / 0x1p-22, 1e-3);
}

using PeerSampler = PeerResult (*)(LogitsView, const SamplingParams&, const StepContext&);

struct Peer {
  StagePreset preset;
  PeerSampler sample;
};

class PeerTest : public ::testing::TestWithParam<Peer> {};

TEST_P(PeerTest, ThePresetIsThePeersOwnAlgorithm) {
  int compared = 0;
  for (uint64_t seed = 0; compared < 1000; ++seed) {
    ASSERT_LT(seed, 1500) << "too many rows are left out";
    const RandomStep step = MakeRandomStep(GetParam().preset, seed);
    SCOPED_TRACE(std::to_string(seed) + " " + step.Describe());
    ASSERT_THAT(Validate(step.params, static_cast<int32_t>(step.row.size())), IsOk());
    const StageReference reference = ReferenceOfStages(step.row, step.params, step.context(), step.xtc_acts());
    if (reference.kept.empty()) continue;
    const PeerResult peer = GetParam().sample(step.row, step.params, step.context());
    if (TooNear(reference.cuts, {}) || TooNear(peer.cuts, {})) continue;
    ++compared;
    std::vector<TokenId> kept = reference.kept;
    std::ranges::sort(kept);
    ASSERT_EQ(kept, peer.kept);
    for (size_t t = 0; t < step.row.size(); ++t) {
      ASSERT_NEAR(std::exp(reference.log_probs[t]), peer.probabilities[t], 1e-6) << t;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Peers, PeerTest,
                         ::testing::Values(Peer{StagePreset::kHf, &SampleAsTransformers},
                                           Peer{StagePreset::kVllm, &SampleAsVllm},
                                           Peer{StagePreset::kLlamaCpp, &SampleAsLlamaCpp}),
                         [](const auto& info) { return std::string(PresetName(info.param.preset)); });

}  // namespace
}  // namespace logitd::testing
