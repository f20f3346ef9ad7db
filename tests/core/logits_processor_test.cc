#include "core/logits_processor.h"

#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"
#include "tests/testing/process_stages.h"
#include "tests/testing/random_stages.h"
#include "tests/testing/stage_reference.h"

namespace logitd {
namespace {

using ::logitd::testing::IsOk;
using ::logitd::testing::StageReference;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using enum Stage;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kMax = std::numeric_limits<float>::max();

struct Result {
  std::map<TokenId, float> logits;
  std::set<TokenId> banned;
};

Result ResultOf(const LogitsProcessor& processor) {
  Result result;
  for (const LogitEdit& edit : processor.edits()) {
    EXPECT_TRUE(result.logits.emplace(edit.token_id, edit.logit).second) << "twice: " << edit.token_id;
  }
  for (TokenId token_id : processor.banned()) {
    EXPECT_TRUE(result.banned.insert(token_id).second) << "twice: " << token_id;
    EXPECT_EQ(result.logits.count(token_id), 0) << "banned and changed: " << token_id;
  }
  return result;
}

// The example row of docs/numerics.md unless another is given; every stage of the params' plan.
struct Step {
  std::vector<float> row = {6, 3, 0.5, 0.5};
  std::vector<TokenId> prompt;
  std::vector<TokenId> output;
  std::vector<TokenId> excluded;
};

Result ProcessStep(const SamplingParams& params, const Step& step) {
  EXPECT_THAT(Validate(params, static_cast<int32_t>(step.row.size())), IsOk());
  LogitsProcessor processor;
  const StepContext context{.prompt = step.prompt, .output = step.output, .excluded = step.excluded};
  const StagePlan plan = PlanOf(params);
  logitd::testing::ProcessStages(processor, step.row, plan.stages(), params, context);
  return ResultOf(processor);
}

SamplingParams WithLists(SamplingLists lists, SamplingParams params = {}) {
  params.lists = std::make_shared<const SamplingLists>(std::move(lists));
  return params;
}

TEST(LogitsProcessorTest, WithoutStagesNothingChanges) {
  const Result result = ProcessStep({.temperature = 0.7, .top_k = 2}, {.prompt = {0, 1}, .output = {2}});
  EXPECT_THAT(result.logits, IsEmpty());
  EXPECT_THAT(result.banned, IsEmpty());
}

TEST(LogitsProcessorTest, MinTokensBans) {
  EXPECT_THAT(ProcessStep({}, {.excluded = {3, 0, 3}}).banned, ElementsAre(0, 3));
}

TEST(LogitsProcessorTest, LogitBiasIsAdded) {
  EXPECT_THAT(ProcessStep(WithLists({.logit_biases = {{1, 2.5}, {3, -0.25}, {2, 0}}}), {}).logits,
              ElementsAre(Pair(1, 5.5f), Pair(3, 0.25f)));
}

TEST(LogitsProcessorTest, SequenceBiasActsOnTheLastTokenOfAPrefixThatIsThere) {
  const SamplingLists lists = {.sequence_biases = {
                                   {{3}, 1.0},               // always
                                   {{1, 2, 0}, -2.0},        // after 1 2
                                   {{2, 0}, 0.5},            // after 2, added to the one before
                                   {{2, 2}, std::nullopt},   // after 2
                                   {{1, 1}, std::nullopt},   // not after 2
                                   {{3, 1, 2, 2, 2}, -1.0},  // longer than what there is
                               }};
  const Result result = ProcessStep(WithLists(lists), {.prompt = {1}, .output = {2}});
  EXPECT_THAT(result.logits, ElementsAre(Pair(0, 4.5f), Pair(3, 1.5f)));
  EXPECT_THAT(result.banned, ElementsAre(2));
  EXPECT_THAT(ProcessStep(WithLists(lists), {}).logits, ElementsAre(Pair(3, 1.5f)));
  EXPECT_THAT(ProcessStep(WithLists(lists), {.output = {0, 1}}).banned, ElementsAre(1));
}

TEST(LogitsProcessorTest, VllmComparesSequencesWithTheOutputAlone) {
  const SamplingLists lists = {.sequence_biases = {{{1, 2}, std::nullopt}, {{0, 1, 3}, std::nullopt}}};
  const Step step = {.prompt = {0}, .output = {1}};
  EXPECT_THAT(ProcessStep(WithLists(lists), step).banned, ElementsAre(2, 3));
  EXPECT_THAT(ProcessStep(WithLists(lists, {.order = {.preset = StagePreset::kVllm}}), step).banned, ElementsAre(2));
}

TEST(LogitsProcessorTest, RepetitionDividesPositiveLogitsAndMultipliesOthersOnce) {
  const Step step = {.row = {6, -3, 0.5, 0}, .prompt = {0, 1, 0}, .output = {1, 3}};
  EXPECT_THAT(ProcessStep({.repetition_penalty = 1.5}, step).logits, ElementsAre(Pair(0, 4.0f), Pair(1, -4.5f)));
  EXPECT_THAT(ProcessStep({.repetition_penalty = 0.5}, step).logits, ElementsAre(Pair(0, 12.0f), Pair(1, -1.5f)));
}

struct ScopeCase {
  const char* name;
  PenaltyScope scope;
  std::optional<int32_t> window;
  // How often tokens 0 to 3 are counted.
  std::vector<int> counts;
};

class PenaltyScopeTest : public ::testing::TestWithParam<ScopeCase> {};

TEST_P(PenaltyScopeTest, CountsTheLastTokensOfItsScope) {
  const ScopeCase& c = GetParam();
  const Step step = {.row = {6, 3, 0.5, -1}, .prompt = {0, 1, 1}, .output = {1, 2, 2}};
  for (Stage stage : {kRepetitionPenalty, kFrequencyPenalty, kPresencePenalty}) {
    SCOPED_TRACE(StageName(stage));
    SamplingParams params{
        .temperature = 0.7, .repetition_scope = c.scope, .occurrence_scope = c.scope, .penalty_window = c.window};
    if (stage == kRepetitionPenalty) params.repetition_penalty = 2;
    if (stage == kFrequencyPenalty) params.frequency_penalty = 0.25;
    if (stage == kPresencePenalty) params.presence_penalty = -0.75;
    std::map<TokenId, float> expected;
    for (TokenId t = 0; t < 4; ++t) {
      if (c.counts[t] == 0) continue;
      if (stage == kRepetitionPenalty) expected[t] = step.row[t] / 2;
      if (stage == kFrequencyPenalty) expected[t] = step.row[t] - 0.25f * c.counts[t];
      if (stage == kPresencePenalty) expected[t] = step.row[t] + 0.75f;
    }
    EXPECT_EQ(ProcessStep(params, step).logits, expected);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Scopes, PenaltyScopeTest,
    ::testing::Values(ScopeCase{"Both", PenaltyScope::kPromptAndOutput, {}, {1, 3, 2, 0}},
                      ScopeCase{"Output", PenaltyScope::kOutput, {}, {0, 1, 2, 0}},
                      ScopeCase{"Prompt", PenaltyScope::kPrompt, {}, {1, 2, 0, 0}},
                      ScopeCase{"BothWindow", PenaltyScope::kPromptAndOutput, 4, {0, 2, 2, 0}},
                      ScopeCase{"OutputWindow", PenaltyScope::kOutput, 2, {0, 0, 2, 0}},
                      ScopeCase{"PromptWindow", PenaltyScope::kPrompt, 1, {0, 1, 0, 0}},
                      ScopeCase{"WindowLargerThanAll", PenaltyScope::kPromptAndOutput, 100, {1, 3, 2, 0}},
                      ScopeCase{"WindowOfNone", PenaltyScope::kPromptAndOutput, 0, {0, 0, 0, 0}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(LogitsProcessorTest, RepetitionAndOccurrencesMayHaveDifferentScopes) {
  const Result result = ProcessStep({.repetition_penalty = 2,
                                     .frequency_penalty = 0.5,
                                     .presence_penalty = 0.25,
                                     .repetition_scope = PenaltyScope::kPrompt},
                                    {.prompt = {0, 0}, .output = {0, 1, 1}});
  EXPECT_THAT(result.logits, ElementsAre(Pair(0, 3 - 0.5f - 0.25f), Pair(1, 3 - 1 - 0.25f)));
}

TEST(LogitsProcessorTest, StagesActInTheOrderGiven) {
  // Bias then repetition: (6 - 8) * 2. Repetition then bias: 6 / 2 - 8.
  SamplingParams params = WithLists({.logit_biases = {{0, -8}}}, {.repetition_penalty = 2});
  const Step step = {.output = {0}};
  EXPECT_THAT(ProcessStep(params, step).logits, ElementsAre(Pair(0, -4.0f)));
  params.order.stages = {kRepetitionPenalty, kLogitBiases};
  EXPECT_THAT(ProcessStep(params, step).logits, ElementsAre(Pair(0, -5.0f)));
}

TEST(LogitsProcessorTest, NoRepeatNgramBansWhatWouldCompleteOneThatOccurred) {
  struct Case {
    const char* name;
    int32_t n;
    PenaltyScope scope;
    std::vector<TokenId> prompt, output;
    std::vector<TokenId> banned;
  };
  const PenaltyScope both = PenaltyScope::kDefault;
  const Case cases[] = {
      {"nothing yet", 1, both, {}, {}, {}},
      {"1-gram: all that occurred", 1, both, {1}, {2}, {1, 2}},
      {"1-gram of one token", 1, both, {1}, {}, {1}},
      {"1-gram of the output", 1, PenaltyScope::kOutput, {1}, {2}, {2}},
      {"1-gram of the prompt", 1, PenaltyScope::kPrompt, {1}, {2}, {1}},
      {"2-gram", 2, both, {1, 2, 1}, {3, 1}, {2, 3}},
      {"2-gram of the output", 2, PenaltyScope::kOutput, {1, 2, 1}, {3, 1}, {}},
      {"2-gram of the prompt, suffix in the output", 2, PenaltyScope::kPrompt, {1, 2, 1}, {3, 1}, {2}},
      {"3-gram across the border", 3, both, {0, 1}, {2, 0, 1}, {2}},
      {"3-gram not of the prompt", 3, PenaltyScope::kPrompt, {0, 1}, {2, 0, 1}, {}},
      {"overlap", 3, both, {}, {3, 3, 3}, {3}},
      {"too short", 4, both, {}, {3, 3, 3}, {}},
      {"longer than any", std::numeric_limits<int32_t>::max(), both, {}, {3, 3, 3}, {}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const Result result = ProcessStep({.temperature = 0.7, .repetition_scope = c.scope, .no_repeat_ngram_size = c.n},
                                      {.prompt = c.prompt, .output = c.output});
    EXPECT_THAT(result.banned, ::testing::ElementsAreArray(c.banned));
    EXPECT_THAT(result.logits, IsEmpty());
  }
}

TEST(LogitsProcessorTest, DryTakesThePowerOfTheMatch) {
  // "1 2" occurred twice: 0 came next, then 3. After "0 1 2" came 3.
  const Step step = {.prompt = {1, 2, 0, 1, 2}, .output = {3, 0, 1, 2}};
  const auto run = [&](DryPenalty dry) { return ProcessStep(WithLists({.dry = dry}), step).logits; };
  EXPECT_THAT(run({.multiplier = 0.5, .base = 2, .allowed_length = 2}),
              ElementsAre(Pair(0, 6 - 0.5f), Pair(3, 0.5f - 0.5f * 2)));
  EXPECT_THAT(run({.multiplier = 0.5, .base = 3, .allowed_length = 1}),
              ElementsAre(Pair(0, 6 - 0.5f * 3), Pair(3, 0.5f - 0.5f * 9)));
  EXPECT_THAT(run({.multiplier = 0.5, .base = 1, .allowed_length = 1}), ElementsAre(Pair(0, 5.5f), Pair(3, 0.0f)));
  EXPECT_THAT(run({.multiplier = 0.5, .base = 2, .allowed_length = 2, .breakers = {{0}}}),
              ElementsAre(Pair(3, 0.5f - 0.5f)));
  EXPECT_THAT(run({.multiplier = 0.5, .base = 2, .allowed_length = 2, .window = 6}), ElementsAre(Pair(3, 0.5f - 0.5f)));
}

// The logits of a step with DRY, by a processor that has had others before.
std::map<TokenId, float> ProcessDry(LogitsProcessor& processor, std::shared_ptr<const SamplingLists> lists) {
  const Step step = {.prompt = {1, 2, 0, 1, 2}, .output = {3, 0, 1, 2}};
  const SamplingParams params{.lists = std::move(lists)};
  const StagePlan plan = PlanOf(params);
  logitd::testing::ProcessStages(processor, step.row, plan.stages(), params,
                                 {.prompt = step.prompt, .output = step.output});
  return ResultOf(processor).logits;
}

TEST(LogitsProcessorTest, BreakersAreLookedAtOnceForTheSameLists) {
  const auto lists = std::make_shared<SamplingLists>(SamplingLists{.dry = {.multiplier = 0.5, .base = 2}});
  LogitsProcessor processor;
  const std::map<TokenId, float> before = ProcessDry(processor, lists);
  EXPECT_THAT(before, ElementsAre(Pair(0, 5.5f), Pair(3, -0.5f)));
  // Nobody may do that; here it shows that they are not sorted at every step.
  lists->dry.breakers = {{0}};
  EXPECT_EQ(ProcessDry(processor, lists), before);
}

TEST(LogitsProcessorTest, ListsAtTheAddressOfOthersHaveTheirOwnBreakers) {
  LogitsProcessor processor;
  SamplingLists with{.dry = {.multiplier = 0.5, .base = 2, .breakers = {{0}}}};
  SamplingLists without{.dry = {.multiplier = 0.5, .base = 2}};
  SamplingLists place;
  for (int round = 0; round < 3; ++round) {
    for (const SamplingLists* lists : {&with, &without}) {
      place = *lists;
      const std::shared_ptr<const SamplingLists> shared(&place, [](const SamplingLists*) {});
      EXPECT_EQ(ProcessDry(processor, shared).count(0), lists == &without ? 1 : 0);
    }
  }
}

TEST(LogitsProcessorTest, PowersAreOfTheStepsOwnBase) {
  LogitsProcessor processor;
  for (double base : {2.0, 3.0, 3.0, 1.0, 2.0}) {
    SCOPED_TRACE(base);
    const auto lists = std::make_shared<const SamplingLists>(
        SamplingLists{.dry = {.multiplier = 0.5, .base = base, .allowed_length = 1}});
    EXPECT_THAT(ProcessDry(processor, lists), ElementsAre(Pair(0, static_cast<float>(6 - 0.5 * base)),
                                                          Pair(3, static_cast<float>(0.5 - 0.5 * base * base))));
  }
}

TEST(LogitsProcessorTest, DrysLargestPenaltyIsAFiniteLogit) {
  const Step step = {.output = std::vector<TokenId>(400, 1)};
  const auto logit = [&](double multiplier, double base) {
    return ProcessStep(WithLists({.dry = {.multiplier = multiplier, .base = base}}), step).logits.at(1);
  };
  // The match is 399 long, the cap of 1.99 is 128: 1.99^128 is just below the largest f32.
  EXPECT_FLOAT_EQ(logit(1, 1.99), static_cast<float>(3 - std::pow(1.99, 128)));
  EXPECT_EQ(logit(100, 1.99), -kMax);
  EXPECT_EQ(logit(100, 8), -kMax);
  EXPECT_FLOAT_EQ(logit(1, 8), static_cast<float>(-std::pow(8, 42)));
}

TEST(LogitsProcessorTest, NoBiasBringsAnExcludedTokenBack) {
  const Step step = {.row = {-kInf, 3, 0.5, -kInf}, .output = {0, 3, 3}, .excluded = {1}};
  SamplingParams params = WithLists(
      {.logit_biases = {{0, 100}, {1, 100}}, .sequence_biases = {{{3}, 100.0}}, .dry = {.multiplier = 1, .base = 2}},
      {.repetition_penalty = 0.5, .frequency_penalty = -2, .presence_penalty = -2});
  const Result result = ProcessStep(params, step);
  EXPECT_THAT(result.logits, IsEmpty());
  EXPECT_THAT(result.banned, ElementsAre(1));
}

TEST(LogitsProcessorTest, ResultsAreClampedToFiniteFloats) {
  const Step step = {.row = {kMax, -kMax, 1, 0}, .output = {0, 1, 2}};
  EXPECT_THAT(ProcessStep({.repetition_penalty = 0.25}, step).logits, ElementsAre(Pair(1, -kMax / 4), Pair(2, 4.0f)));
  EXPECT_THAT(ProcessStep({.repetition_penalty = 4}, step).logits, ElementsAre(Pair(0, kMax / 4), Pair(2, 0.25f)));
  EXPECT_EQ(ProcessStep({.repetition_penalty = 5e-324}, step).logits.at(2), kMax);
}

TEST(LogitsProcessorTest, IsRoundedOnceAtTheEnd) {
  // In f32 2^-24 would be lost at the bias and not come back at the penalty.
  const Step step = {.row = {1, 0, 0, 0}, .output = {0}};
  const SamplingParams params = WithLists({.logit_biases = {{0, 0x1p-24}}}, {.presence_penalty = 1});
  EXPECT_THAT(ProcessStep(params, step).logits, ElementsAre(Pair(0, 0x1p-24f)));
}

TEST(LogitsProcessorTest, AfterTheTemperatureStagesWorkOnTheDividedLogit) {
  SamplingParams params{.temperature = 2, .presence_penalty = 0.5};
  params.order.stages = {kTemperature, kPresencePenalty};
  // 6 / 2 - 0.5 = 2.5: as a logit of the row, 5.
  EXPECT_THAT(ProcessStep(params, {.output = {0}}).logits, ElementsAre(Pair(0, 5.0f)));
  params.order.stages = {kPresencePenalty, kTemperature};
  EXPECT_THAT(ProcessStep(params, {.output = {0}}).logits, ElementsAre(Pair(0, 5.5f)));
}

TEST(LogitsProcessorTest, TrtLlmPenalisesAfterTheTemperature) {
  const SamplingParams params = WithLists({.logit_biases = {{0, 2}}}, {.temperature = 2,
                                                                       .repetition_penalty = 1.25,
                                                                       .frequency_penalty = 0.25,
                                                                       .presence_penalty = 0.5,
                                                                       .order = {.preset = StagePreset::kTrtLlm}});
  const double t = 2 + 1e-6;
  const Result result = ProcessStep(params, {.prompt = {0, 1}, .output = {0}});
  ASSERT_EQ(result.logits.size(), 2);
  EXPECT_FLOAT_EQ(result.logits.at(0), static_cast<float>((8 / t / 1.25 - 0.5 - 2 * 0.25) * t));
  EXPECT_FLOAT_EQ(result.logits.at(1), static_cast<float>((3 / t / 1.25 - 0.5 - 0.25) * t));
}

TEST(LogitsProcessorTest, ATemperatureAloneChangesNoLogit) {
  SamplingParams params =
      WithLists({.logit_biases = {{1, 0}}}, {.temperature = 0.3, .repetition_penalty = 1.0000000001});
  params.order.stages = {kLogitBiases, kTemperature, kRepetitionPenalty};
  EXPECT_THAT(ProcessStep(params, {.row = {0.1f, 0.7f, 1e30f, 1e-40f}, .output = {0, 1, 2}}).logits, IsEmpty());
}

// docs/numerics.md, section 7: what a run touches is divided and multiplied, a token of the bias alone too. The logits
// are numpy's: float32((17.00040054321289 + 100) / 0.7 * 0.7), which differs from float32(17.00040054321289 + 100).
TEST(LogitsProcessorTest, EveryTouchedLogitOfARunPassesTheTemperature) {
  SamplingParams params = WithLists({.logit_biases = {{0, 100}}}, {.temperature = 0.7, .presence_penalty = 0.5});
  const Step step = {.row = {17.00040054321289f, 3, 2, 1}, .output = {1}};
  params.order.stages = {kLogitBiases, kTemperature, kPresencePenalty};
  EXPECT_EQ(ProcessStep(params, step).logits.at(0), 117.00040435791016f);
  params.temperature = 1;
  EXPECT_EQ(ProcessStep(params, step).logits.at(0), 117.00039672851562f);
}

TEST(LogitsProcessorTest, ARunAfterACutGoesOnWhereTheTemperatureLeftIt) {
  SamplingParams params{.temperature = 2, .top_k = 3, .presence_penalty = 0.5};
  params.order.stages = {kTemperature, kTopK, kPresencePenalty};
  const std::vector<float> row = {6, 3, 0.5, 0.5};
  const std::vector<TokenId> output = {0};
  LogitsProcessor processor;
  logitd::testing::ProcessStages(processor, row, std::vector<Stage>{kPresencePenalty}, params, {.output = output},
                                 /*divisor=*/2);
  EXPECT_THAT(ResultOf(processor).logits, ElementsAre(Pair(0, 5.0f)));
}

TEST(LogitsProcessorTest, NothingIsLeftOverFromTheRowBefore) {
  LogitsProcessor processor;
  const SamplingParams params =
      WithLists({.logit_biases = {{2, 1}}, .dry = {.multiplier = 1, .base = 2, .breakers = {{1}}}},
                {.repetition_penalty = 2, .frequency_penalty = 1, .no_repeat_ngram_size = 2});
  const StagePlan plan = PlanOf(params);
  const std::vector<TokenId> before = {1, 2, 3, 1, 2, 3}, now = {0};
  const std::vector<float> large(1000, 1.0f), small = {6, 3, 0.5, 0.5};
  const std::vector<TokenId> excluded = {999};
  logitd::testing::ProcessStages(processor, large, plan.stages(), params, {.output = before, .excluded = excluded});
  EXPECT_FALSE(processor.edits().empty());
  EXPECT_FALSE(processor.banned().empty());
  logitd::testing::ProcessStages(processor, small, plan.stages(), params, {.output = now});
  const Result result = ResultOf(processor);
  EXPECT_THAT(result.logits, ElementsAre(Pair(0, 2.0f), Pair(2, 1.5f)));
  EXPECT_THAT(result.banned, IsEmpty());
}

// The last logits are those of the reference, bit for bit: both follow the same order of f64 operations.
TEST(LogitsProcessorTest, AgreesWithTheReferenceOnRandomSteps) {
  int edits = 0, bans = 0;
  for (StagePreset preset :
       {StagePreset::kLogitd, StagePreset::kHf, StagePreset::kVllm, StagePreset::kLlamaCpp, StagePreset::kTrtLlm}) {
    LogitsProcessor processor;
    for (uint64_t seed = 0; seed < 1000; ++seed) {
      testing::RandomStep step = testing::MakeRandomStep(preset, seed);
      SCOPED_TRACE(std::to_string(seed) + " " + step.Describe());
      const StageReference reference =
          testing::ReferenceOfStages(step.row, step.params, step.context(), step.xtc_acts());
      const StagePlan plan = PlanOf(step.params);
      logitd::testing::ProcessStages(processor, step.row, plan.stages(), step.params, step.context());
      std::vector<float> logits = step.row;
      for (const LogitEdit& edit : processor.edits()) logits[edit.token_id] = edit.logit;
      for (TokenId token_id : processor.banned()) logits[token_id] = -kInf;
      for (TokenId t = 0; step.params.subset != nullptr && t < static_cast<TokenId>(logits.size()); ++t) {
        if (!step.params.subset->Contains(t)) logits[t] = -kInf;
      }
      ASSERT_EQ(logits, reference.logits);
      edits += !processor.edits().empty();
      bans += !processor.banned().empty();
    }
  }
  EXPECT_GT(edits, 2500);
  EXPECT_GT(bans, 1000);
}

}  // namespace
}  // namespace logitd
