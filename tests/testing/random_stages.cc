#include "tests/testing/random_stages.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <span>

#include "tests/testing/reference.h"

namespace logitd::testing {
namespace {

// Its own arithmetic, because std's distributions differ between libraries.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  // [0, count).
  int32_t Below(int64_t count) { return static_cast<int32_t>(engine_() % static_cast<uint64_t>(count)); }
  bool OneIn(int32_t count) { return Below(count) == 0; }
  double In(double low, double high) { return low + (high - low) * static_cast<double>(engine_() >> 11) * 0x1p-53; }
  template <typename T>
  T OneOf(std::initializer_list<T> values) {
    return values.begin()[Below(static_cast<int64_t>(values.size()))];
  }

 private:
  std::mt19937_64 engine_;
};

std::vector<float> RandomRow(int32_t vocab_size, uint64_t seed, Random& random) {
  std::vector<float> row = MakeRow(vocab_size, random.OneOf({0.5, 2.0, 5.0}), seed);
  // One token stays: what leaves none is a test of its own.
  for (int32_t i = random.OneOf({0, 0, vocab_size / 4}); i > 0; --i) {
    row[random.Below(vocab_size)] = -std::numeric_limits<float>::infinity();
  }
  row[random.Below(vocab_size)] = static_cast<float>(random.In(0, 5));
  return row;
}

// Of few kinds, so that tokens and n-grams repeat.
std::vector<TokenId> RandomTokens(int32_t vocab_size, Random& random) {
  const int32_t kinds = std::min(vocab_size, random.OneOf({2, 5, 40}));
  std::vector<TokenId> tokens(random.Below(60));
  for (TokenId& token : tokens) token = static_cast<TokenId>(int64_t{random.Below(kinds)} * vocab_size / kinds);
  return tokens;
}

std::vector<TokenId> SomeOf(std::span<const TokenId> tokens, int32_t vocab_size, int32_t most, Random& random) {
  std::vector<TokenId> some;
  for (int32_t i = 1 + random.Below(most); i > 0; --i) {
    some.push_back(tokens.empty() || random.OneIn(4) ? random.Below(vocab_size)
                                                     : tokens[random.Below(static_cast<int64_t>(tokens.size()))]);
  }
  return some;
}

void TurnOn(Stage stage, RandomStep& step, SamplingLists& lists, Random& random) {
  SamplingParams& params = step.params;
  const int32_t vocab_size = static_cast<int32_t>(step.row.size());
  const std::span<const TokenId> tokens = step.output;
  switch (stage) {
    case Stage::kTokenSets: {
      std::vector<TokenId> ids;
      for (TokenId t = 0; t < vocab_size; ++t) {
        if (t == 0 || !random.OneIn(4)) ids.push_back(t);
      }
      params.subset = std::make_shared<const VocabSubset>(*VocabSubset::Of(vocab_size, ids));
      return;
    }
    case Stage::kMinTokens:
      step.excluded = SomeOf(tokens, vocab_size, 3, random);
      return;
    case Stage::kSequenceBiases:
      for (int i = random.Below(8); i >= 0; --i) {
        SequenceBias bias{.token_ids = SomeOf(tokens, vocab_size, 3, random)};
        if (!random.OneIn(3)) bias.bias = random.In(-5, 5);
        lists.sequence_biases.push_back(bias);
      }
      return;
    case Stage::kLogitBiases:
      for (TokenId t = 0; t < vocab_size; t += 1 + random.Below(20))
        lists.logit_biases.push_back({t, random.In(-3, 3)});
      return;
    case Stage::kRepetitionPenalty:
      params.repetition_penalty = random.In(0.7, 1.8);
      return;
    case Stage::kFrequencyPenalty:
      params.frequency_penalty = random.In(-0.5, 1);
      return;
    case Stage::kPresencePenalty:
      params.presence_penalty = random.In(-2, 2);
      return;
    case Stage::kDry:
      lists.dry.multiplier = random.In(0.1, 2);
      lists.dry.base = random.In(1, 3);
      lists.dry.allowed_length = 1 + random.Below(4);
      if (random.OneIn(3)) lists.dry.window = random.Below(50);
      for (int i = random.Below(4); i > 0; --i) lists.dry.breakers.push_back(SomeOf(tokens, vocab_size, 3, random));
      return;
    case Stage::kNoRepeatNgram:
      params.no_repeat_ngram_size = 2 + random.Below(3);
      return;
    case Stage::kTemperature:
      params.temperature = random.In(0.3, 2.5);
      return;
    case Stage::kTopK:
      params.top_k = 1 + random.Below(vocab_size);
      return;
    case Stage::kTopP:
      params.top_p = random.In(0.05, 0.98);
      return;
    case Stage::kMinP:
      params.min_p = random.In(0.001, 0.3);
      return;
    case Stage::kTypicalP:
      params.typical_p = random.In(0.1, 0.98);
      return;
    case Stage::kEpsilon:
      params.epsilon_cutoff = random.In(0.001, 0.05);
      return;
    case Stage::kEta:
      params.eta_cutoff = random.In(0.001, 0.1);
      return;
    case Stage::kTopNSigma:
      params.top_n_sigma = random.In(0.3, 4);
      return;
    case Stage::kXtc:
      params.xtc = {.probability = 1, .threshold = random.In(0.02, 0.5)};
      return;
  }
}

RandomStep MakeStep(StagePreset preset, std::span<const Stage> stages, bool has_scopes, uint64_t seed) {
  Random random(seed * 1000003 + static_cast<uint64_t>(preset));
  RandomStep step;
  const int32_t vocab_size = random.OneOf({1 + random.Below(10), 64, 300, 1000});
  step.row = RandomRow(vocab_size, seed, random);
  step.prompt = RandomTokens(vocab_size, random);
  step.output = RandomTokens(vocab_size, random);
  step.params.order.preset = preset;
  if (has_scopes) {
    step.params.repetition_scope = static_cast<PenaltyScope>(random.Below(4));
    step.params.occurrence_scope = static_cast<PenaltyScope>(random.Below(4));
  }
  // Of the peers only llama.cpp has a window, and transformers and vLLM have no others.
  const bool has_window = has_scopes || preset == StagePreset::kLlamaCpp;
  if (has_window && random.OneIn(3)) step.params.penalty_window = random.Below(100);
  SamplingLists lists;
  for (Stage stage : stages) {
    if (random.OneIn(3) || (stage == Stage::kTemperature && !random.OneIn(4))) TurnOn(stage, step, lists, random);
  }
  step.params.lists = std::make_shared<const SamplingLists>(lists);
  return step;
}

}  // namespace

std::string RandomStep::Describe() const {
  std::string text(PresetName(params.order.preset));
  text += ", " + std::to_string(row.size()) + " tokens, temperature " + std::to_string(params.temperature) + ":";
  const StagePlan plan = PlanOf(params);
  for (Stage stage : plan.stages()) text.append(" ").append(StageName(stage));
  return text;
}

RandomStep MakeRandomStep(StagePreset preset, uint64_t seed) {
  const bool has_scopes = preset == StagePreset::kLogitd || preset == StagePreset::kTrtLlm;
  return MakeStep(preset, StagesOf(preset), has_scopes, seed);
}

RandomStep MakeRandomOrderStep(uint64_t seed) {
  RandomStep step =
      MakeStep(StagePreset::kLogitd, StagesOf(StagePreset::kLogitd), /*has_scopes=*/true, seed + (1 << 20));
  Random random(seed);
  StageOrder& order = step.params.order;
  const std::span<const Stage> all = StagesOf(StagePreset::kLogitd);
  order.stages.assign(all.begin(), all.end());
  for (size_t i = order.stages.size() - 1; i > 0; --i) {
    std::swap(order.stages[i], order.stages[random.Below(static_cast<int64_t>(i) + 1)]);
  }
  order.top_k_ties = static_cast<TieRule>(random.Below(3));
  order.top_p_boundary = static_cast<TopPBoundary>(random.Below(5));
  order.typical_ties = static_cast<TieRule>(random.Below(3));
  return step;
}

}  // namespace logitd::testing
