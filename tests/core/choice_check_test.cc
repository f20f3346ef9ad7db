#include "core/choice_check.h"

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "core/distribution.h"
#include "core/errors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using testing::HasReason;
using testing::IsOk;

constexpr int32_t kVocabSize = 6;

// A decoder's own choice with everything in its record.
class ChoiceCheckTest : public ::testing::Test {
 protected:
  ChoiceCheckTest() {
    config_.seed = 7;
    config_.sequence_key = 42;
    config_.sampling.temperature = 0.7;
    config_.stop.stop_token_ids = {5};
    config_.stop.min_tokens = 3;
    config_.record = {.rank = true, .entropy = true, .kept_set = true, .draw = true, .top_n = 3};
    config_.record.named_token_ids = {4, 0};
    const std::vector<TokenId> allowed = {0, 1, 3, 4, 5};
    config_.sampling.subset = std::make_shared<const VocabSubset>(*VocabSubset::Of(kVocabSize, allowed));
    Decoder decoder(config_);
    const std::vector<float> row = {1, 0.5f, 3, 0.25f, -1, 2};
    Distribution distribution;
    chosen_ = *decoder.Advance(0, LogitsView(row), distribution)->token;
  }

  absl::Status Check(const std::function<void(TokenRecord&)>& change) {
    TokenRecord record = chosen_;
    change(record);
    return CheckChoice(config_, config_.record, {}, {}, kVocabSize, record);
  }

  DecoderConfig config_;
  TokenRecord chosen_;
};

TEST_F(ChoiceCheckTest, WhatADecoderChoosesPasses) {
  EXPECT_THAT(Check([](TokenRecord&) {}), IsOk());
}

TEST_F(ChoiceCheckTest, WhatTheTokensSoFarExcludeIsFound) {
  const std::vector<TokenId> prompt = {chosen_.token_id};
  EXPECT_THAT(CheckChoice(config_, config_.record, prompt, {}, kVocabSize, chosen_), IsOk());
  config_.sampling.no_repeat_ngram_size = 1;
  EXPECT_THAT(CheckChoice(config_, config_.record, prompt, {}, kVocabSize, chosen_),
              HasReason(ErrorReason::kModelOutputInvalid));
}

TEST_F(ChoiceCheckTest, WhateverIsChangedIsFound) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  const std::pair<const char*, std::function<void(TokenRecord&)>> changes[] = {
      {"below the vocabulary", [](TokenRecord& r) { r.token_id = -1; }},
      {"above it", [](TokenRecord& r) { r.token_id = kVocabSize; }},
      {"banned", [](TokenRecord& r) { r.token_id = 2; }},
      {"a stop token before min_tokens", [](TokenRecord& r) { r.token_id = 5; }},
      {"another position", [](TokenRecord& r) { r.position = 1; }},
      {"given", [](TokenRecord& r) { r.origin = TokenOrigin::kGiven; }},
      {"excluded", [](TokenRecord& r) { r.state = LogProbState::kExcluded; }},
      {"no model log-prob", [](TokenRecord& r) { r.model_log_prob.reset(); }},
      {"NaN", [=](TokenRecord& r) { r.model_log_prob = nan; }},
      {"-inf", [=](TokenRecord& r) { r.model_log_prob = -infinity; }},
      {"above 0", [](TokenRecord& r) { r.sampling_log_prob = 0.5; }},
      {"no sampling log-prob", [](TokenRecord& r) { r.sampling_log_prob.reset(); }},
      {"rank 0", [](TokenRecord& r) { r.rank = 0; }},
      {"rank above the vocabulary", [](TokenRecord& r) { r.rank = kVocabSize + 1; }},
      {"no rank", [](TokenRecord& r) { r.rank.reset(); }},
      {"entropy below 0", [](TokenRecord& r) { r.model_entropy = -1; }},
      {"entropy above any", [](TokenRecord& r) { r.model_entropy = 21; }},
      {"infinite log-sum-exp", [=](TokenRecord& r) { r.model_log_sum_exp = infinity; }},
      {"nothing kept", [](TokenRecord& r) { r.kept_count = 0; }},
      {"mass above 1", [](TokenRecord& r) { r.kept_mass = 1.1; }},
      {"no draw", [](TokenRecord& r) { r.draw.reset(); }},
      {"other random bits", [](TokenRecord& r) { r.draw->uniform ^= 1; }},
      {"no weight", [](TokenRecord& r) { r.draw->weight = 0; }},
      {"a weight above the total", [](TokenRecord& r) { r.draw->weight = r.draw->total_weight + 1; }},
      {"an interval beyond the total", [](TokenRecord& r) { r.draw->interval_start = r.draw->total_weight; }},
      {"a total below any", [](TokenRecord& r) { r.draw->total_weight = 1; }},
      {"another interval",
       [](TokenRecord& r) { r.draw->interval_start = r.draw->interval_start >= r.draw->weight ? 0 : r.draw->weight; }},
      {"fewer top tokens", [](TokenRecord& r) { r.top.pop_back(); }},
      {"top tokens out of order", [](TokenRecord& r) { std::swap(r.top[0], r.top[1]); }},
      {"a top token without rank", [](TokenRecord& r) { r.top[1].rank.reset(); }},
      {"fewer named tokens", [](TokenRecord& r) { r.named.pop_back(); }},
      {"other named tokens", [](TokenRecord& r) { r.named[0].token_id = 1; }},
      {"a named token without log-prob", [](TokenRecord& r) { r.named[0].model_log_prob.reset(); }},
  };
  for (const auto& [what, change] : changes) {
    EXPECT_THAT(Check(change), HasReason(ErrorReason::kModelOutputInvalid)) << what;
  }
}

TEST_F(ChoiceCheckTest, WhatWasNotAskedForIsNotTaken) {
  RecordOptions less;
  EXPECT_THAT(CheckChoice(config_, less, {}, {}, kVocabSize, chosen_), HasReason(ErrorReason::kModelOutputInvalid));
  // At temperature 0 the probability is 1, and nothing is drawn.
  config_.sampling.temperature = 0;
  TokenRecord greedy;
  greedy.model_log_prob = -1.5;
  greedy.sampling_log_prob = 0;
  EXPECT_THAT(CheckChoice(config_, less, {}, {}, kVocabSize, greedy), IsOk());
  greedy.sampling_log_prob = -0.1;
  EXPECT_THAT(CheckChoice(config_, less, {}, {}, kVocabSize, greedy), HasReason(ErrorReason::kModelOutputInvalid));
}

}  // namespace
}  // namespace logitd
