#include "core/stages.h"

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/sampling_params.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::UnorderedElementsAreArray;
using enum Stage;

constexpr StagePreset kPresets[] = {StagePreset::kLogitd, StagePreset::kHf, StagePreset::kVllm, StagePreset::kLlamaCpp,
                                    StagePreset::kTrtLlm};

// Every stage is on that `preset` has.
SamplingParams AllOn(StagePreset preset) {
  SamplingParams params;
  params.order.preset = preset;
  params.temperature = 0.7;
  SamplingLists lists;
  for (Stage stage : StagesOf(preset)) {
    switch (stage) {
      case kTokenSets:
        params.subset = std::make_shared<const VocabSubset>(VocabSubset::All(10));
        break;
      case kSequenceBiases:
        lists.sequence_biases = {{{1, 2}, {}}};
        break;
      case kLogitBiases:
        lists.logit_biases = {{1, 0.5}};
        break;
      case kRepetitionPenalty:
        params.repetition_penalty = 1.2;
        break;
      case kFrequencyPenalty:
        params.frequency_penalty = 0.2;
        break;
      case kPresencePenalty:
        params.presence_penalty = 0.3;
        break;
      case kDry:
        lists.dry.multiplier = 0.8;
        break;
      case kNoRepeatNgram:
        params.no_repeat_ngram_size = 3;
        break;
      case kTopK:
        params.top_k = 5;
        break;
      case kTopP:
        params.top_p = 0.9;
        break;
      case kMinP:
        params.min_p = 0.05;
        break;
      case kTypicalP:
        params.typical_p = 0.9;
        break;
      case kEpsilon:
        params.epsilon_cutoff = 1e-3;
        break;
      case kEta:
        params.eta_cutoff = 1e-3;
        break;
      case kTopNSigma:
        params.top_n_sigma = 2;
        break;
      case kXtc:
        params.xtc.probability = 0.5;
        break;
      case kMinTokens:
      case kTemperature:
        break;
    }
  }
  params.lists = std::make_shared<const SamplingLists>(lists);
  return params;
}

std::vector<Stage> PlannedBy(const SamplingParams& params) {
  EXPECT_THAT(ValidateOrder(params), IsOk());
  const StagePlan plan = PlanOf(params);
  return std::vector<Stage>(plan.stages().begin(), plan.stages().end());
}

TEST(StageOrderTest, PresetsHaveTheirPeersOrders) {
  EXPECT_THAT(StagesOf(StagePreset::kLogitd),
              ElementsAre(kTokenSets, kSequenceBiases, kMinTokens, kLogitBiases, kRepetitionPenalty, kFrequencyPenalty,
                          kPresencePenalty, kDry, kNoRepeatNgram, kTemperature, kTopK, kTopP, kMinP, kTypicalP,
                          kEpsilon, kEta, kTopNSigma, kXtc));
  EXPECT_THAT(StagesOf(StagePreset::kHf),
              ElementsAre(kTokenSets, kLogitBiases, kSequenceBiases, kRepetitionPenalty, kNoRepeatNgram, kMinTokens,
                          kTemperature, kTopK, kTopP, kMinP, kTypicalP, kEpsilon, kEta));
  EXPECT_THAT(StagesOf(StagePreset::kVllm),
              ElementsAre(kTokenSets, kSequenceBiases, kMinTokens, kLogitBiases, kRepetitionPenalty, kFrequencyPenalty,
                          kPresencePenalty, kTemperature, kMinP, kTopK, kTopP));
  EXPECT_THAT(StagesOf(StagePreset::kLlamaCpp),
              ElementsAre(kTokenSets, kMinTokens, kLogitBiases, kRepetitionPenalty, kFrequencyPenalty, kPresencePenalty,
                          kDry, kTopNSigma, kTopK, kTypicalP, kTopP, kMinP, kXtc, kTemperature));
  EXPECT_THAT(StagesOf(StagePreset::kTrtLlm),
              ElementsAre(kTokenSets, kLogitBiases, kTemperature, kRepetitionPenalty, kPresencePenalty,
                          kFrequencyPenalty, kSequenceBiases, kNoRepeatNgram, kMinTokens, kTopK, kTopP, kMinP));
}

TEST(StageOrderTest, APlanHasWhatIsOn) {
  for (StagePreset preset : kPresets) {
    SCOPED_TRACE(PresetName(preset));
    EXPECT_THAT(PlannedBy(AllOn(preset)), ElementsAreArray(StagesOf(preset)));
  }
  EXPECT_THAT(PlannedBy({}), ElementsAre(kMinTokens));
  EXPECT_THAT(PlannedBy({.temperature = 0.7, .top_p = 0.9}), ElementsAre(kMinTokens, kTemperature, kTopP));
  EXPECT_THAT(PlannedBy({.top_k = 3, .order = {.preset = StagePreset::kLlamaCpp}}), ElementsAre(kMinTokens, kTopK));
}

TEST(StageOrderTest, TheTemperatureStaysWhereSomethingIsAddedToIt) {
  const SamplingParams params{.order = {.preset = StagePreset::kTrtLlm}};
  EXPECT_THAT(PlannedBy(params), ElementsAre(kTemperature, kMinTokens));
  EXPECT_EQ(PlanOf(params).temperature, 1 + 1e-6);
  EXPECT_EQ(TemperatureOf(params), 1 + 1e-6);
  for (StagePreset preset : {StagePreset::kLogitd, StagePreset::kHf, StagePreset::kVllm, StagePreset::kLlamaCpp}) {
    EXPECT_EQ(PlanOf({.order = {.preset = preset}}).temperature, 1);
  }
}

TEST(StageOrderTest, GreedyEndsAtTheTemperatureButBansStay) {
  for (StagePreset preset : kPresets) {
    SCOPED_TRACE(PresetName(preset));
    SamplingParams params = AllOn(preset);
    params.temperature = 0;
    std::vector<Stage> expected;
    bool after = false;
    for (Stage stage : StagesOf(preset)) {
      if (stage == kTemperature) after = true;
      const bool touches_logits = SpecOf(stage).kind != StageKind::kCut;
      if (stage != kTemperature && (!after || touches_logits)) expected.push_back(stage);
    }
    EXPECT_THAT(PlannedBy(params), ElementsAreArray(expected));
  }
  // llama.cpp takes the largest of what its cuts leave; TensorRT-LLM penalises after the temperature.
  SamplingParams llama = AllOn(StagePreset::kLlamaCpp);
  llama.temperature = 0;
  EXPECT_THAT(PlannedBy(llama), ::testing::Contains(kTypicalP));
  SamplingParams trt = AllOn(StagePreset::kTrtLlm);
  trt.temperature = 0;
  EXPECT_THAT(PlannedBy(trt), ElementsAre(kTokenSets, kLogitBiases, kRepetitionPenalty, kPresencePenalty,
                                          kFrequencyPenalty, kSequenceBiases, kNoRepeatNgram, kMinTokens));
}

TEST(StageOrderTest, PresetsHaveTheirPeersRules) {
  struct Case {
    StagePreset preset;
    TieRule top_k_ties;
    TopPBoundary top_p_boundary;
    TieRule typical_ties;
    TopPBoundary typical_boundary;
  };
  const Case cases[] = {
      {StagePreset::kLogitd, TieRule::kLowestId, TopPBoundary::kReached, TieRule::kLowestId, TopPBoundary::kReached},
      {StagePreset::kHf, TieRule::kKeepAll, TopPBoundary::kAscending, TieRule::kKeepAll, TopPBoundary::kReached},
      {StagePreset::kVllm, TieRule::kKeepAll, TopPBoundary::kAscending, TieRule::kLowestId, TopPBoundary::kReached},
      {StagePreset::kLlamaCpp, TieRule::kLowestId, TopPBoundary::kReached, TieRule::kLowestId, TopPBoundary::kExceeded},
      {StagePreset::kTrtLlm, TieRule::kLowestId, TopPBoundary::kReached, TieRule::kLowestId, TopPBoundary::kReached},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(PresetName(c.preset));
    const StagePlan plan = PlanOf({.order = {.preset = c.preset}});
    EXPECT_EQ(plan.top_k_ties, c.top_k_ties);
    EXPECT_EQ(plan.top_p_boundary, c.top_p_boundary);
    EXPECT_EQ(plan.typical_ties, c.typical_ties);
    EXPECT_EQ(plan.typical_boundary, c.typical_boundary);
    const StagePlan asked = PlanOf({.order = {.preset = c.preset,
                                              .top_k_ties = TieRule::kKeepAll,
                                              .top_p_boundary = TopPBoundary::kMassAbove,
                                              .typical_ties = TieRule::kKeepAll}});
    EXPECT_EQ(asked.top_k_ties, TieRule::kKeepAll);
    EXPECT_EQ(asked.top_p_boundary, TopPBoundary::kMassAbove);
    EXPECT_EQ(asked.typical_ties, TieRule::kKeepAll);
  }
  EXPECT_EQ(PlanOf({.order = {.preset = StagePreset::kHf, .top_k_ties = TieRule::kLowestId}}).top_k_ties,
            TieRule::kLowestId);
}

TEST(StageOrderTest, AnExplicitOrderIsTakenAsItIs) {
  const std::vector<Stage> stages = {kTopK, kRepetitionPenalty, kMinTokens, kTemperature, kTopP, kXtc};
  SamplingParams params{.temperature = 0.7, .top_k = 5, .top_p = 0.9, .repetition_penalty = 1.1};
  params.order.stages = stages;
  EXPECT_THAT(PlannedBy(params), ElementsAre(kTopK, kRepetitionPenalty, kMinTokens, kTemperature, kTopP));
  params.temperature = 0;
  EXPECT_THAT(PlannedBy(params), ElementsAre(kTopK, kRepetitionPenalty, kMinTokens));
}

TEST(StageOrderTest, MinTokensComesFirstWhereAnExplicitOrderDoesNotSay) {
  SamplingParams params{.temperature = 0.7, .top_k = 5};
  params.order.stages = {kTopK, kTemperature};
  EXPECT_THAT(PlannedBy(params), ElementsAre(kMinTokens, kTopK, kTemperature));
}

TEST(StageOrderTest, EveryStageFitsIntoAPlan) {
  SamplingParams params = AllOn(StagePreset::kLogitd);
  const std::span<const Stage> all = StagesOf(StagePreset::kLogitd);
  params.order.stages.assign(all.rbegin(), all.rend());
  EXPECT_THAT(PlannedBy(params), ElementsAreArray(params.order.stages));
}

TEST(StageOrderTest, LlamaCppReadsZeroSigmasAsOff) {
  EXPECT_THAT(PlannedBy({.top_n_sigma = 0, .order = {.preset = StagePreset::kLlamaCpp}}), ElementsAre(kMinTokens));
  EXPECT_THAT(PlannedBy({.top_n_sigma = 0.5, .order = {.preset = StagePreset::kLlamaCpp}}),
              ElementsAre(kMinTokens, kTopNSigma));
  EXPECT_THAT(PlannedBy({.top_n_sigma = 0}), ElementsAre(kMinTokens, kTopNSigma));
}

TEST(StageOrderTest, RefusesAStageThatThePresetDoesNotHave) {
  const SamplingParams all = AllOn(StagePreset::kLogitd);
  struct Case {
    StagePreset preset;
    std::vector<Stage> lacking;
  };
  const Case cases[] = {
      {StagePreset::kHf, {kFrequencyPenalty, kPresencePenalty, kDry, kTopNSigma, kXtc}},
      {StagePreset::kVllm, {kDry, kNoRepeatNgram, kTypicalP, kEpsilon, kEta, kTopNSigma, kXtc}},
      {StagePreset::kLlamaCpp, {kSequenceBiases, kNoRepeatNgram, kEpsilon, kEta}},
      {StagePreset::kTrtLlm, {kDry, kTypicalP, kEpsilon, kEta, kTopNSigma, kXtc}},
  };
  for (const Case& c : cases) {
    for (Stage stage : c.lacking) {
      SCOPED_TRACE(std::string(PresetName(c.preset)).append(" ").append(StageName(stage)));
      SamplingParams params;
      params.order.preset = c.preset;
      if (stage == kFrequencyPenalty) params.frequency_penalty = all.frequency_penalty;
      if (stage == kPresencePenalty) params.presence_penalty = all.presence_penalty;
      if (stage == kDry) params.lists = std::make_shared<SamplingLists>(SamplingLists{.dry = all.lists->dry});
      if (stage == kSequenceBiases) {
        params.lists = std::make_shared<SamplingLists>(SamplingLists{.sequence_biases = all.lists->sequence_biases});
      }
      if (stage == kNoRepeatNgram) params.no_repeat_ngram_size = all.no_repeat_ngram_size;
      if (stage == kTypicalP) params.typical_p = all.typical_p;
      if (stage == kEpsilon) params.epsilon_cutoff = all.epsilon_cutoff;
      if (stage == kEta) params.eta_cutoff = all.eta_cutoff;
      if (stage == kTopNSigma) params.top_n_sigma = all.top_n_sigma;
      if (stage == kXtc) params.xtc = all.xtc;
      ASSERT_TRUE(IsOn(params, stage));
      EXPECT_THAT(ValidateOrder(params), HasReason(ErrorReason::kFieldsExclusive));
    }
  }
}

TEST(StageOrderTest, NamesWhatIsWrongWithAnOrder) {
  struct Case {
    const char* name;
    SamplingParams params;
    ErrorReason reason;
    const char* field;
    const char* message;
  };
  const Case cases[] = {
      {"stage without a place",
       {.temperature = 0.7, .min_p = 0.1, .order = {.stages = {kTemperature, kTopK}}},
       ErrorReason::kFieldRequired,
       "stage_order.stages",
       "stage_order.stages must contain MIN_P, which is on"},
      {"temperature without a place",
       {.temperature = 0, .order = {.stages = {kTopK}}},
       ErrorReason::kFieldRequired,
       "stage_order.stages",
       "stage_order.stages must contain TEMPERATURE, which is on"},
      {"twice",
       {.order = {.stages = {kTopK, kTemperature, kTopK}}},
       ErrorReason::kFieldOutOfRange,
       "stage_order.stages[2]",
       "stage_order.stages[2] must be a stage that is not there already, got \"TOP_K\""},
      {"no stage",
       {.order = {.stages = {kTopK, static_cast<Stage>(19)}}},
       ErrorReason::kFieldOutOfRange,
       "stage_order.stages[1]",
       "stage_order.stages[1] must be the number of a stage, got 19"},
      {"preset and stages",
       {.order = {.preset = StagePreset::kHf, .stages = {kTopK}}},
       ErrorReason::kFieldsExclusive,
       "stage_order.preset",
       "stage_order.preset and stage_order.stages exclude each other: set one of them"},
      {"not in the preset",
       {.xtc = {.probability = 0.5}, .order = {.preset = StagePreset::kVllm}},
       ErrorReason::kFieldsExclusive,
       "xtc",
       "xtc and stage_order.preset VLLM exclude each other: set one of them"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const absl::Status status = ValidateOrder(c.params);
    EXPECT_THAT(status, HasReason(c.reason));
    EXPECT_EQ(DetailOf(status).field, c.field);
    EXPECT_EQ(std::string(status.message()), c.message);
  }
}

TEST(StageOrderTest, NamesAreDistinct) {
  std::set<std::string_view> names;
  for (Stage stage : StagesOf(StagePreset::kLogitd)) names.insert(StageName(stage));
  EXPECT_EQ(names.size(), kMaxStages);
  EXPECT_EQ(names.count("UNKNOWN"), 0);
  EXPECT_EQ(StageName(static_cast<Stage>(19)), "UNKNOWN");
  std::set<std::string_view> presets;
  for (StagePreset preset : kPresets) presets.insert(PresetName(preset));
  EXPECT_THAT(presets, UnorderedElementsAreArray({"LOGITD", "HF", "VLLM", "LLAMA_CPP", "TRT_LLM"}));
}

}  // namespace
}  // namespace logitd
