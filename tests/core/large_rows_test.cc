// Distribution on rows of many tokens against the reference of the stages (tests/testing/stage_reference.h), on every
// kernel target: what only large rows have. Cuts that leave more than a list, masks of few and of many tokens, runs of
// ties that span blocks, a top-k of more tokens than there are blocks, and cuts between the stages that change logits.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/distribution.h"
#include "core/kernels/row_kernels.h"
#include "core/sampling_params.h"
#include "core/stages.h"
#include "gtest/gtest.h"
#include "tests/core/kernels/every_target.h"
#include "tests/testing/matchers.h"
#include "tests/testing/reference.h"
#include "tests/testing/stage_reference.h"
#include "tests/testing/weights.h"

namespace logitd {
namespace {

using enum Stage;

using ::logitd::testing::CutDistance;
using ::logitd::testing::IsOk;
using ::logitd::testing::MakeRow;
using ::logitd::testing::StageReference;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int32_t kVocabSize = 128256;

class LargeRowsTest : public testing::EveryTarget {
 protected:
  // The tokens so far, for penalties: few kinds.
  StepContext context() const { return {.prompt = prompt_, .output = output_, .excluded = excluded_}; }

  void ExpectReference(const std::vector<float>& row, const SamplingParams& params, size_t at_least) {
    ASSERT_THAT(Validate(params, static_cast<int32_t>(row.size())), IsOk());
    const StageReference reference = testing::ReferenceOfStages(row, params, context(), /*xtc_acts=*/true);
    // The cases are chosen so that double decides them: no mass within 1e-7, no logit within 2e-6 nats.
    for (const CutDistance& cut : reference.cuts) {
      SCOPED_TRACE(StageName(cut.stage));
      const bool is_of_masses = cut.stage == kTopP || cut.stage == kTypicalP;
      ASSERT_GT(is_of_masses ? cut.mass : cut.nats, is_of_masses ? 1e-7 : 2e-6) << "choose another case";
    }
    std::vector<TokenId> expected = reference.kept;
    std::ranges::sort(expected);
    ASSERT_GE(expected.size(), at_least) << "choose a case that leaves more";
    ASSERT_THAT(distribution_.Assign(row, params, context()), IsOk());
    const std::vector<TokenId> kept = testing::KeptOf(distribution_);
    ASSERT_EQ(kept.size(), expected.size());
    ASSERT_EQ(kept, expected);
    ASSERT_EQ(distribution_.CountKept(), static_cast<int32_t>(expected.size()));
    double entropy = 0;
    uint64_t total = 0;
    for (TokenId t : kept) {
      ASSERT_NEAR(distribution_.LogProb(t), reference.log_probs[t], 1e-6) << t;
      entropy -= std::exp(reference.log_probs[t]) * reference.log_probs[t];
      total += distribution_.Weight(t);
    }
    ASSERT_EQ(distribution_.TotalWeight(), total);
    ASSERT_NEAR(distribution_.Entropy(), entropy, 1e-6);
    // The ends of what can be drawn.
    const auto has_weight = [&](TokenId t) { return distribution_.Weight(t) > 0; };
    ASSERT_EQ(distribution_.DrawToken(0).token_id, *std::ranges::find_if(kept, has_weight));
    ASSERT_EQ(distribution_.DrawToken(~uint64_t{0}).token_id, *std::find_if(kept.rbegin(), kept.rend(), has_weight));
  }

 private:
  const std::vector<TokenId> prompt_ = {1, 70000, 3, 1}, output_ = {70000, 3, 100000, 1};
  const std::vector<TokenId> excluded_ = {9, 128255};
  Distribution distribution_;
};
LOGITD_ON_EVERY_TARGET(LargeRowsTest);

std::shared_ptr<const VocabSubset> OneIn(TokenId n) {
  std::vector<TokenId> allowed;
  for (TokenId t = 0; t < kVocabSize; ++t) {
    // Whole words and blocks without a token, and single ones.
    if (n == 1 ? t / 777 % 40 != 3 : t % n == 5 % n) allowed.push_back(t);
  }
  return std::make_shared<const VocabSubset>(*VocabSubset::Of(kVocabSize, allowed));
}

std::vector<float> Rounded(std::vector<float> row, float step) {
  for (float& x : row) x = std::round(x / step) * step;
  return row;
}

std::shared_ptr<const SamplingLists> Biases() {
  SamplingLists lists;
  for (TokenId t = 0; t < kVocabSize; t += 1000) lists.logit_biases.push_back({t, t % 3 == 0 ? 2.5 : -1.25});
  lists.sequence_biases = {{.token_ids = {3, 100000, 1, 77}, .bias = 3}, {.token_ids = {1, 500}}};
  return std::make_shared<const SamplingLists>(lists);
}

struct LargeCase {
  std::string name;
  std::vector<float> row;
  SamplingParams params;
  // So many tokens are left at least: the case is one of many tokens.
  size_t at_least = 1;
};

std::vector<LargeCase> CasesOfMasks() {
  const std::vector<float> flat = MakeRow(kVocabSize, 0.8, 1), wide = MakeRow(kVocabSize, 3, 2);
  return {
      {"few allowed", flat, {.temperature = 0.7, .subset = OneIn(3000)}, 40},
      {"few allowed, top-p", wide, {.temperature = 1.7, .top_p = 0.7, .subset = OneIn(3000)}, 2},
      {"some allowed: a list of more than 4096", flat, {.temperature = 1.3, .subset = OneIn(17)}, 7000},
      {"some allowed, top-p, xtc",
       flat,
       {.temperature = 1.3, .top_p = 0.83, .subset = OneIn(17), .xtc = {.probability = 1, .threshold = 4e-4}},
       2000},
      {"half allowed, top-p", flat, {.temperature = 1.3, .top_p = 0.9, .subset = OneIn(2)}, 20000},
      {"most allowed", wide, {.temperature = 2.5, .subset = OneIn(1)}, 100000},
      {"most allowed, top-k", flat, {.temperature = 2.5, .top_k = 50000, .subset = OneIn(1)}, 50000},
      {"most allowed, top-p, min-p",
       flat,
       {.temperature = 0.8, .top_p = 0.97, .min_p = 0.00712345, .subset = OneIn(1)},
       4097},
      {"most allowed, typical", flat, {.temperature = 0.8, .subset = OneIn(1), .typical_p = 0.6}, 4097},
      {"half allowed, top-n-sigma", flat, {.temperature = 0.8, .subset = OneIn(2), .top_n_sigma = 3.3331}, 4097},
  };
}

std::vector<LargeCase> CasesOfTies() {
  const std::vector<float> halves = Rounded(MakeRow(kVocabSize, 1, 3), 0.5f);
  const std::vector<float> ones = Rounded(MakeRow(kVocabSize, 2, 4), 1);
  const std::vector<float> equal(kVocabSize, -3.25f);
  const StageOrder keep_all = {
      .top_k_ties = TieRule::kKeepAll, .top_p_boundary = TopPBoundary::kMassAbove, .typical_ties = TieRule::kKeepAll};
  return {
      {"top-k in a run of ties", halves, {.temperature = 0.7, .top_k = 60001}, 60001},
      {"top-k 40 in a run of ties", ones, {.temperature = 0.7, .top_k = 40}, 40},
      {"top-k with ties", halves, {.temperature = 0.7, .top_k = 60001, .order = keep_all}, 60002},
      {"top-p in a run of ties", halves, {.temperature = 1.9, .top_p = 0.61}, 20000},
      {"top-p with ties", halves, {.temperature = 1.9, .top_p = 0.61, .order = keep_all}, 20000},
      {"top-k, top-p, both in ties", ones, {.temperature = 1.4, .top_k = 30000, .top_p = 0.77}, 4097},
      {"typical in ties", halves, {.temperature = 1.4, .typical_p = 0.43}, 4097},
      {"top-k on one value", equal, {.temperature = 1.4, .top_k = 100001}, 100001},
      {"top-k, then xtc, on ties",
       halves,
       {.temperature = 1.4, .top_k = 90000, .xtc = {.probability = 1, .threshold = 3e-5}},
       4097},
      {"top-k on one value, then typical", equal, {.temperature = 1.4, .top_k = 90001, .typical_p = 0.5000031}, 45000},
  };
}

std::vector<LargeCase> CasesOfFlatRows() {
  const std::vector<float> flat = MakeRow(kVocabSize, 1, 5), narrow = MakeRow(kVocabSize, 0.2, 6);
  const int32_t blocks = static_cast<int32_t>(kernels::BlockCount(kVocabSize));
  return {
      {"top-k of as many as there are blocks", flat, {.temperature = 0.7, .top_k = blocks}, 501},
      {"top-k of one more than there are blocks", flat, {.temperature = 0.7, .top_k = blocks + 1}, 502},
      {"top-k of many more", flat, {.temperature = 0.7, .top_k = 7000}, 7000},
      {"top-k of all but one", narrow, {.temperature = 0.7, .top_k = kVocabSize - 3}, 128253},
      {"top-p, min-p, epsilon",
       flat,
       {.temperature = 1.2, .top_p = 0.93, .min_p = 0.0456789, .epsilon_cutoff = 4.234e-6},
       4097},
      {"top-p, min-p, epsilon, narrow",
       narrow,
       {.temperature = 0.6, .top_p = 0.9, .min_p = 0.2345, .epsilon_cutoff = 7.4321e-6},
       4097},
      {"top-p, eta", flat, {.temperature = 1.2, .top_p = 0.98, .eta_cutoff = 5.321e-6}, 4097},
      {"top-k, top-p, min-p, typical, epsilon, eta, sigma, xtc",
       flat,
       {.temperature = 1.6,
        .top_k = 90000,
        .top_p = 0.95,
        .min_p = 0.012345,
        .typical_p = 0.9,
        .epsilon_cutoff = 5.4321e-6,
        .eta_cutoff = 5.6543e-6,
        .top_n_sigma = 4.1234,
        .xtc = {.probability = 1, .threshold = 5.1234e-5}},
       4097},
      {"top-p ascending",
       flat,
       {.temperature = 0.9, .top_p = 0.83, .order = {.top_p_boundary = TopPBoundary::kAscending}},
       4097},
  };
}

std::vector<LargeCase> CasesOfOrders() {
  const std::vector<float> flat = MakeRow(kVocabSize, 1, 7), wide = MakeRow(kVocabSize, 3, 8);
  const SamplingParams penalties{.temperature = 0.8,
                                 .repetition_penalty = 1.3,
                                 .frequency_penalty = 0.4,
                                 .presence_penalty = -0.3,
                                 .lists = Biases()};
  std::vector<LargeCase> cases;
  const auto add = [&](std::string name, const std::vector<float>& row, std::vector<Stage> stages, auto change,
                       size_t at_least) {
    SamplingParams params = penalties;
    change(params);
    params.order.stages = stages;
    cases.push_back({name, row, params, at_least});
  };
  add(
      "top-k before everything", flat,
      {kTopK, kRepetitionPenalty, kFrequencyPenalty, kPresencePenalty, kLogitBiases, kSequenceBiases, kTemperature,
       kTopP},
      [](SamplingParams& p) {
        p.top_k = 40000;
        p.top_p = 0.91;
      },
      4097);
  add(
      "a few of top-k before everything", wide,
      {kTopK, kRepetitionPenalty, kFrequencyPenalty, kPresencePenalty, kLogitBiases, kSequenceBiases, kTemperature},
      [](SamplingParams& p) { p.top_k = 300; }, 290);
  add(
      "top-p, biases, temperature, min-p, penalties, top-n-sigma", flat,
      {kTopP, kLogitBiases, kSequenceBiases, kTemperature, kMinP, kRepetitionPenalty, kFrequencyPenalty,
       kPresencePenalty, kTopNSigma},
      [](SamplingParams& p) {
        p.top_p = 0.9604;
        p.min_p = 0.000212345;
        p.top_n_sigma = 7.7123;
      },
      4097);
  add(
      "temperature, top-p, penalties, typical, the sets, stop tokens", flat,
      {kTemperature, kTopP, kRepetitionPenalty, kFrequencyPenalty, kPresencePenalty, kTypicalP, kLogitBiases,
       kSequenceBiases, kTokenSets, kMinTokens},
      [](SamplingParams& p) {
        p.top_p = 0.97;
        p.typical_p = 0.93;
        p.subset = OneIn(2);
      },
      4097);
  add(
      "xtc before the penalties", flat,
      {kTopP, kXtc, kRepetitionPenalty, kFrequencyPenalty, kPresencePenalty, kLogitBiases, kSequenceBiases, kEpsilon,
       kTemperature},
      [](SamplingParams& p) {
        p.top_p = 0.985;
        p.xtc = {.probability = 1, .threshold = 1.2345e-4};
        p.epsilon_cutoff = 3.4321e-6;
      },
      4097);
  return cases;
}

TEST_P(LargeRowsTest, UnderMasksOfFewAndOfManyTokens) {
  for (const LargeCase& c : CasesOfMasks()) {
    SCOPED_TRACE(c.name);
    ExpectReference(c.row, c.params, c.at_least);
  }
}

TEST_P(LargeRowsTest, WithRunsOfTies) {
  for (const LargeCase& c : CasesOfTies()) {
    SCOPED_TRACE(c.name);
    ExpectReference(c.row, c.params, c.at_least);
  }
}

TEST_P(LargeRowsTest, WithCutsThatLeaveManyTokens) {
  for (const LargeCase& c : CasesOfFlatRows()) {
    SCOPED_TRACE(c.name);
    ExpectReference(c.row, c.params, c.at_least);
  }
}

TEST_P(LargeRowsTest, InOrdersWithCutsBeforePenalties) {
  for (const LargeCase& c : CasesOfOrders()) {
    SCOPED_TRACE(c.name);
    ExpectReference(c.row, c.params, c.at_least);
  }
}

}  // namespace
}  // namespace logitd
