#include "core/sampling_params.h"

#include "core/stages.h"

#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/limits.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::IsOk;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr int32_t kVocabSize = 10;
constexpr int32_t kMaxInt = std::numeric_limits<int32_t>::max();

SamplingParams WithLists(SamplingLists lists) {
  SamplingParams params;
  params.temperature = 0.7;
  params.lists = std::make_shared<const SamplingLists>(std::move(lists));
  return params;
}

TEST(SamplingParamsTest, TakesTheEndsOfEveryRange) {
  EXPECT_THAT(Validate({}, 1), IsOk());
  for (double temperature : {0.0, -0.0, 1e-4, 0.7, 1e6}) {
    EXPECT_THAT(Validate({.temperature = temperature}, kVocabSize), IsOk()) << temperature;
  }
  for (double p : {0.0, 5e-324, 0.3, 1.0}) {
    EXPECT_THAT(Validate({.top_p = p}, kVocabSize), IsOk()) << p;
    EXPECT_THAT(Validate({.min_p = p}, kVocabSize), IsOk()) << p;
  }
  const SamplingParams ends[] = {
      {.top_k = kMaxInt},
      {.typical_p = 5e-324},
      {.epsilon_cutoff = 0x1.fffffffffffffp-1},
      {.eta_cutoff = 0x1.fffffffffffffp-1},
      {.top_n_sigma = 0},
      {.top_n_sigma = 100},
      {.xtc = {.probability = 1, .threshold = 0.5}},
      {.xtc = {.probability = 0, .threshold = 5e-324}},
      {.repetition_penalty = 5e-324},
      {.repetition_penalty = 100},
      {.frequency_penalty = -2, .presence_penalty = 2},
      {.frequency_penalty = 2, .presence_penalty = -2},
      {.penalty_window = 0},
      {.penalty_window = kMaxInt},
      {.no_repeat_ngram_size = kMaxInt},
      WithLists({}),
      WithLists({.logit_biases = {{0, -100}, {9, 100}}, .sequence_biases = {{{9}, -100}, {{0, 0}, 100}, {{0}, {}}}}),
      WithLists({.dry = {.multiplier = 100, .base = 8, .allowed_length = 1 << 20, .window = 0, .breakers = {{0}}}}),
      WithLists({.dry = {.multiplier = 0, .base = 1, .allowed_length = 1, .window = kMaxInt}}),
  };
  for (const SamplingParams& params : ends) {
    EXPECT_THAT(Validate(params, kVocabSize), IsOk()) << &params - ends;
  }
}

struct Refusal {
  const char* name;
  SamplingParams params;
  ErrorReason reason;
  const char* field;
  const char* message;
};

class SamplingParamsRefusalTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(SamplingParamsRefusalTest, NamesFieldValueAndBound) {
  const Refusal& refusal = GetParam();
  const absl::Status status = Validate(refusal.params, kVocabSize);
  EXPECT_THAT(status, HasReason(refusal.reason));
  EXPECT_EQ(DetailOf(status).field, refusal.field);
  EXPECT_EQ(std::string(status.message()), refusal.message);
}

constexpr ErrorReason kRange = ErrorReason::kFieldOutOfRange;
constexpr ErrorReason kToken = ErrorReason::kTokenIdOutOfRange;

INSTANTIATE_TEST_SUITE_P(
    Numbers, SamplingParamsRefusalTest,
    ::testing::Values(
        Refusal{"TemperatureNegative",
                {.temperature = -1},
                kRange,
                "temperature",
                "temperature must be 0 or in [0.0001, 1e+06], got -1"},
        Refusal{"TemperatureNan",
                {.temperature = kNan},
                kRange,
                "temperature",
                "temperature must be 0 or in [0.0001, 1e+06], got nan"},
        Refusal{"TemperatureTiny",
                {.temperature = 0.99e-4},
                kRange,
                "temperature",
                "temperature must be 0 or in [0.0001, 1e+06], got 9.9e-05"},
        Refusal{"TemperatureHuge",
                {.temperature = 1e7},
                kRange,
                "temperature",
                "temperature must be 0 or in [0.0001, 1e+06], got 1e+07"},
        Refusal{"TemperatureInfinite",
                {.temperature = kInf},
                kRange,
                "temperature",
                "temperature must be 0 or in [0.0001, 1e+06], got inf"},
        Refusal{"TopK", {.top_k = -1}, kRange, "top_k", "top_k must be >= 0, got -1"},
        Refusal{"TopPAbove", {.top_p = 1.5}, kRange, "top_p", "top_p must be in [0, 1], got 1.5"},
        Refusal{"TopPNan", {.top_p = kNan}, kRange, "top_p", "top_p must be in [0, 1], got nan"},
        Refusal{"MinPBelow", {.min_p = -0.1}, kRange, "min_p", "min_p must be in [0, 1], got -0.1"},
        Refusal{"MinPNan", {.min_p = kNan}, kRange, "min_p", "min_p must be in [0, 1], got nan"},
        Refusal{"TypicalZero", {.typical_p = 0}, kRange, "typical_p", "typical_p must be in (0, 1], got 0"},
        Refusal{"TypicalAbove", {.typical_p = 1.1}, kRange, "typical_p", "typical_p must be in (0, 1], got 1.1"},
        Refusal{"TypicalNan", {.typical_p = kNan}, kRange, "typical_p", "typical_p must be in (0, 1], got nan"},
        Refusal{
            "EpsilonOne", {.epsilon_cutoff = 1}, kRange, "epsilon_cutoff", "epsilon_cutoff must be in [0, 1), got 1"},
        Refusal{"EpsilonNan",
                {.epsilon_cutoff = kNan},
                kRange,
                "epsilon_cutoff",
                "epsilon_cutoff must be in [0, 1), got nan"},
        Refusal{"EtaNegative", {.eta_cutoff = -1e-3}, kRange, "eta_cutoff", "eta_cutoff must be in [0, 1), got -0.001"},
        Refusal{"EtaOne", {.eta_cutoff = 1}, kRange, "eta_cutoff", "eta_cutoff must be in [0, 1), got 1"},
        Refusal{"SigmaNegative", {.top_n_sigma = -1}, kRange, "top_n_sigma", "top_n_sigma must be in [0, 100], got -1"},
        Refusal{"SigmaNan", {.top_n_sigma = kNan}, kRange, "top_n_sigma", "top_n_sigma must be in [0, 100], got nan"},
        Refusal{"XtcProbability",
                {.xtc = {.probability = 1.5}},
                kRange,
                "xtc.probability",
                "xtc.probability must be in [0, 1], got 1.5"},
        Refusal{"XtcThresholdZero",
                {.xtc = {.threshold = 0}},
                kRange,
                "xtc.threshold",
                "xtc.threshold must be in (0, 0.5], got 0"},
        Refusal{"XtcThresholdAbove",
                {.xtc = {.threshold = 0.51}},
                kRange,
                "xtc.threshold",
                "xtc.threshold must be in (0, 0.5], got 0.51"},
        Refusal{"RepetitionZero",
                {.repetition_penalty = 0},
                kRange,
                "repetition_penalty",
                "repetition_penalty must be in (0, 100], got 0"},
        Refusal{"RepetitionNan",
                {.repetition_penalty = kNan},
                kRange,
                "repetition_penalty",
                "repetition_penalty must be in (0, 100], got nan"},
        Refusal{"Frequency",
                {.frequency_penalty = 2.5},
                kRange,
                "frequency_penalty",
                "frequency_penalty must be in [-2, 2], got 2.5"},
        Refusal{"Presence",
                {.presence_penalty = -2.5},
                kRange,
                "presence_penalty",
                "presence_penalty must be in [-2, 2], got -2.5"},
        // llama.cpp takes these; its preset has logitd's ranges all the same (docs/numerics.md, section 7).
        Refusal{"FrequencyOfLlamaCpp",
                {.frequency_penalty = 2.25, .order = {.preset = StagePreset::kLlamaCpp}},
                kRange,
                "frequency_penalty",
                "frequency_penalty must be in [-2, 2], got 2.25"},
        Refusal{"PresenceOfLlamaCpp",
                {.presence_penalty = 3, .order = {.preset = StagePreset::kLlamaCpp}},
                kRange,
                "presence_penalty",
                "presence_penalty must be in [-2, 2], got 3"},
        Refusal{"MinPOfLlamaCpp",
                {.min_p = 1.25, .order = {.preset = StagePreset::kLlamaCpp}},
                kRange,
                "min_p",
                "min_p must be in [0, 1], got 1.25"},
        Refusal{"Window", {.penalty_window = -1}, kRange, "penalty_window", "penalty_window must be >= 0, got -1"},
        Refusal{"Ngram",
                {.no_repeat_ngram_size = -2},
                kRange,
                "no_repeat_ngram_size",
                "no_repeat_ngram_size must be >= 0, got -2"}),
    [](const auto& info) { return std::string(info.param.name); });

INSTANTIATE_TEST_SUITE_P(
    Lists, SamplingParamsRefusalTest,
    ::testing::Values(
        Refusal{"BiasToken", WithLists({.logit_biases = {{3, 1}, {10, 1}}}), kToken, "logit_biases[1].token_id",
                "logit_biases[1].token_id must be in [0, 10), got 10"},
        Refusal{"BiasTokenNegative", WithLists({.logit_biases = {{-1, 1}}}), kToken, "logit_biases[0].token_id",
                "logit_biases[0].token_id must be in [0, 10), got -1"},
        Refusal{"BiasAbove", WithLists({.logit_biases = {{3, 100.5}}}), kRange, "logit_biases[0].bias",
                "logit_biases[0].bias must be in [-100, 100], got 100.5"},
        Refusal{"BiasInfinite", WithLists({.logit_biases = {{3, -kInf}}}), kRange, "logit_biases[0].bias",
                "logit_biases[0].bias must be in [-100, 100], got -inf"},
        Refusal{"BiasTwice", WithLists({.logit_biases = {{3, 1}, {5, 2}, {3, 1}, {5, 1}}}),
                ErrorReason::kDuplicateTokenId, "logit_biases[2].token_id",
                "logit_biases[2].token_id must be an id that the set does not have already, got 3"},
        Refusal{"SequenceEmpty", WithLists({.sequence_biases = {{{1}, 1}, {{}, 1}}}), ErrorReason::kFieldRequired,
                "sequence_biases[1].token_ids", "sequence_biases[1].token_ids is required"},
        Refusal{"SequenceToken", WithLists({.sequence_biases = {{{1, 10}, {}}}}), kToken,
                "sequence_biases[0].token_ids[1]", "sequence_biases[0].token_ids[1] must be in [0, 10), got 10"},
        Refusal{"SequenceBias", WithLists({.sequence_biases = {{{1}, kNan}}}), kRange, "sequence_biases[0].bias",
                "sequence_biases[0].bias must be in [-100, 100], got nan"},
        Refusal{"DryMultiplier", WithLists({.dry = {.multiplier = -1}}), kRange, "dry.multiplier",
                "dry.multiplier must be in [0, 100], got -1"},
        Refusal{"DryBaseBelow", WithLists({.dry = {.base = 0.9}}), kRange, "dry.base",
                "dry.base must be in [1, 8], got 0.9"},
        Refusal{"DryBaseNan", WithLists({.dry = {.base = kNan}}), kRange, "dry.base",
                "dry.base must be in [1, 8], got nan"},
        Refusal{"DryAllowedLength", WithLists({.dry = {.allowed_length = 0}}), kRange, "dry.allowed_length",
                "dry.allowed_length must be in [1, 1048576], got 0"},
        Refusal{"DryWindow", WithLists({.dry = {.window = -1}}), kRange, "dry.window",
                "dry.window must be >= 0, got -1"},
        Refusal{"DryBreakerEmpty", WithLists({.dry = {.breakers = {{1}, {}}}}), ErrorReason::kFieldRequired,
                "dry.breakers[1].token_ids", "dry.breakers[1].token_ids is required"},
        Refusal{"DryBreakerToken", WithLists({.dry = {.breakers = {{1, -1}}}}), kToken, "dry.breakers[0].token_ids[1]",
                "dry.breakers[0].token_ids[1] must be in [0, 10), got -1"}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(SamplingParamsTest, RefusesListsThatAreTooLong) {
  std::vector<LogitBias> biases;
  for (int32_t i = 0; i <= kMaxLogitBiases; ++i) biases.push_back({i, 1});
  EXPECT_THAT(Validate(WithLists({.logit_biases = biases}), 1 << 20), HasReason(ErrorReason::kLimitExceeded));
  EXPECT_EQ(DetailOf(Validate(WithLists({.logit_biases = biases}), 1 << 20)).limit, "max_logit_biases");
  biases.pop_back();
  EXPECT_THAT(Validate(WithLists({.logit_biases = biases}), 1 << 20), IsOk());

  std::vector<SequenceBias> sequences(kMaxSequenceBiases + 1, SequenceBias{{1}, {}});
  EXPECT_EQ(DetailOf(Validate(WithLists({.sequence_biases = sequences}), kVocabSize)).limit, "max_sequence_biases");
  sequences.pop_back();
  EXPECT_THAT(Validate(WithLists({.sequence_biases = sequences}), kVocabSize), IsOk());

  std::vector<std::vector<TokenId>> breakers(kMaxDryBreakers + 1, {1});
  EXPECT_EQ(DetailOf(Validate(WithLists({.dry = {.breakers = breakers}}), kVocabSize)).limit, "max_dry_breakers");
  breakers.pop_back();
  EXPECT_THAT(Validate(WithLists({.dry = {.breakers = breakers}}), kVocabSize), IsOk());

  const std::vector<TokenId> longest(kMaxDryBreakerTokens, 1);
  EXPECT_THAT(Validate(WithLists({.dry = {.breakers = {longest}}}), kVocabSize), IsOk());
  const std::vector<TokenId> too_long(kMaxDryBreakerTokens + 1, 1);
  const absl::Status status = Validate(WithLists({.dry = {.breakers = {{1}, too_long}}}), kVocabSize);
  EXPECT_THAT(status, HasReason(ErrorReason::kLimitExceeded));
  EXPECT_EQ(DetailOf(status).field, "dry.breakers[1].token_ids");
}

TEST(SamplingParamsTest, ListsShareOneBoundOfTokens) {
  SamplingLists lists;
  lists.sequence_biases.assign(1, SequenceBias{std::vector<TokenId>(kMaxListTokens - 2, 1), {}});
  lists.dry.breakers = {{1, 2}};
  EXPECT_THAT(Validate(WithLists(lists), kVocabSize), IsOk());
  lists.dry.breakers.push_back({3});
  const absl::Status status = Validate(WithLists(lists), kVocabSize);
  EXPECT_THAT(status, HasReason(ErrorReason::kLimitExceeded));
  EXPECT_EQ(DetailOf(status).limit, "max_list_tokens");
  EXPECT_EQ(std::string(status.message()),
            "sequence_biases must be in [0, 65536] tokens in sequence_biases and dry.breakers, got 65537");
}

TEST(SamplingParamsTest, RandomBitsAreUsedByADrawAndByAnXtcThatTheOrderLetsRun) {
  const XtcParams xtc{.probability = 0.5};
  const StageOrder llama_cpp{.preset = StagePreset::kLlamaCpp};
  const StageOrder before{.stages = {Stage::kXtc, Stage::kTemperature}};
  const StageOrder after{.stages = {Stage::kTemperature, Stage::kXtc}};
  const struct {
    const char* name;
    SamplingParams params;
    bool uses;
  } cases[] = {
      {"a draw", {}, true},
      {"a draw of a cool one", {.temperature = 0.3}, true},
      {"a draw without xtc in its order", {.temperature = 0.3, .order = llama_cpp}, true},
      {"greedy", {.temperature = 0}, false},
      {"greedy, xtc after the temperature", {.temperature = 0, .xtc = xtc}, false},
      {"greedy, the same order given", {.temperature = 0, .xtc = xtc, .order = after}, false},
      {"greedy, xtc before the temperature", {.temperature = 0, .xtc = xtc, .order = before}, true},
      {"greedy as llama.cpp", {.temperature = 0, .xtc = xtc, .order = llama_cpp}, true},
      {"greedy as llama.cpp, xtc off", {.temperature = 0, .order = llama_cpp}, false},
  };
  for (const auto& test : cases) {
    ASSERT_THAT(Validate(test.params, kVocabSize), IsOk()) << test.name;
    EXPECT_EQ(UsesRandomBits(test.params), test.uses) << test.name;
  }
}

// Params that turn on one stage, and what it looks at.
struct OneStage {
  const char* name;
  Stage stage;
  SamplingParams params;
  bool history = false;
  bool prompt = false;
};

std::vector<OneStage> EachStage() {
  SamplingParams subset;
  subset.subset = std::make_shared<const VocabSubset>(VocabSubset::All(kVocabSize));
  return {
      {"subset", Stage::kTokenSets, subset},
      {"word", Stage::kSequenceBiases, WithLists({.sequence_biases = {{{1}, {}}}})},
      {"sequence", Stage::kSequenceBiases, WithLists({.sequence_biases = {{{1}, {}}, {{1, 2}, 1}}}), true, true},
      {"bias", Stage::kLogitBiases, WithLists({.logit_biases = {{1, 0}}})},
      {"repetition", Stage::kRepetitionPenalty, {.repetition_penalty = 0.9}, true, true},
      {"repetition of output",
       Stage::kRepetitionPenalty,
       {.repetition_penalty = 1.2, .repetition_scope = PenaltyScope::kOutput},
       true},
      {"frequency", Stage::kFrequencyPenalty, {.frequency_penalty = -0.1}, true},
      {"frequency of prompt",
       Stage::kFrequencyPenalty,
       {.frequency_penalty = 0.1, .occurrence_scope = PenaltyScope::kPrompt},
       true,
       true},
      {"presence", Stage::kPresencePenalty, {.presence_penalty = 0.1}, true},
      {"presence in LLAMA_CPP",
       Stage::kPresencePenalty,
       {.presence_penalty = 0.1, .order = {.preset = StagePreset::kLlamaCpp}},
       true,
       true},
      {"dry", Stage::kDry, WithLists({.dry = {.multiplier = 0.8}}), true, true},
      {"ngram", Stage::kNoRepeatNgram, {.no_repeat_ngram_size = 1}, true, true},
      {"ngram of output",
       Stage::kNoRepeatNgram,
       {.repetition_scope = PenaltyScope::kOutput, .no_repeat_ngram_size = 3},
       true},
      {"top_k", Stage::kTopK, {.top_k = 1}},
      {"top_p", Stage::kTopP, {.top_p = 0}},
      {"min_p", Stage::kMinP, {.min_p = 1}},
      {"typical", Stage::kTypicalP, {.typical_p = 0.5}},
      {"epsilon", Stage::kEpsilon, {.epsilon_cutoff = 1e-4}},
      {"eta", Stage::kEta, {.eta_cutoff = 1e-4}},
      {"sigma", Stage::kTopNSigma, {.top_n_sigma = 0}},
      {"xtc", Stage::kXtc, {.xtc = {.probability = 0.1}}},
  };
}

TEST(SamplingParamsTest, OneParameterTurnsOneStageOn) {
  for (OneStage& c : EachStage()) {
    SCOPED_TRACE(c.name);
    EXPECT_THAT(Validate(c.params, kVocabSize), IsOk());
    c.params.temperature = 1;
    for (Stage stage : StagesOf(StagePreset::kLogitd)) {
      EXPECT_EQ(IsOn(c.params, stage), stage == c.stage) << StageName(stage);
    }
    EXPECT_TRUE(HasStages(c.params));
    EXPECT_FALSE(IsNeutral(c.params));
    EXPECT_EQ(NeedsHistory(c.params), c.history);
    EXPECT_EQ(NeedsPrompt(c.params), c.prompt);
  }
}

TEST(SamplingParamsTest, NeutralMeansTheModelsOwnDistribution) {
  EXPECT_TRUE(IsNeutral(SamplingParams{}));
  EXPECT_FALSE(HasStages(SamplingParams{.temperature = 0.7}));
  EXPECT_FALSE(IsNeutral(SamplingParams{.temperature = 0.7}));
  EXPECT_FALSE(IsNeutral(SamplingParams{.temperature = 0}));
  EXPECT_TRUE(IsNeutral(SamplingParams{.order = {.preset = StagePreset::kHf}}));
  // 1e-6 is added to its temperature.
  EXPECT_FALSE(IsNeutral(SamplingParams{.order = {.preset = StagePreset::kTrtLlm}}));
  EXPECT_FALSE(HasStages(SamplingParams{.order = {.preset = StagePreset::kTrtLlm}}));
  EXPECT_FALSE(HasStages(WithLists({.dry = {.breakers = {{1}}}})));
}

TEST(SamplingParamsTest, DefaultScopesAreThePresets) {
  const auto occurrence = [](StagePreset preset) {
    return SamplingParams{.order = {.preset = preset}}.OccurrenceScope();
  };
  EXPECT_EQ(occurrence(StagePreset::kLogitd), PenaltyScope::kOutput);
  EXPECT_EQ(occurrence(StagePreset::kVllm), PenaltyScope::kOutput);
  EXPECT_EQ(occurrence(StagePreset::kLlamaCpp), PenaltyScope::kPromptAndOutput);
  EXPECT_EQ(occurrence(StagePreset::kTrtLlm), PenaltyScope::kPromptAndOutput);
  SamplingParams asked{.occurrence_scope = PenaltyScope::kPrompt, .order = {.preset = StagePreset::kLlamaCpp}};
  EXPECT_EQ(asked.OccurrenceScope(), PenaltyScope::kPrompt);
  EXPECT_EQ(SamplingParams{}.RepetitionScope(), PenaltyScope::kPromptAndOutput);
  EXPECT_EQ(SamplingParams{.repetition_scope = PenaltyScope::kOutput}.RepetitionScope(), PenaltyScope::kOutput);
  EXPECT_EQ(SamplingParams{}.SequenceScope(), PenaltyScope::kPromptAndOutput);
  EXPECT_EQ(SamplingParams{.order = {.preset = StagePreset::kVllm}}.SequenceScope(), PenaltyScope::kOutput);
}

TEST(SamplingParamsTest, RefusesAnOrderThatLacksAStage) {
  EXPECT_THAT(Validate({.min_p = 0.1, .order = {.stages = {Stage::kTemperature, Stage::kTopK}}}, kVocabSize),
              HasReason(ErrorReason::kFieldRequired));
}

}  // namespace
}  // namespace logitd
