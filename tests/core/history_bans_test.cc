#include "core/history_bans.h"

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/logits_processor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/process_stages.h"

namespace logitd {
namespace {

using Tokens = std::vector<TokenId>;

constexpr int32_t kVocabSize = 5;

SamplingParams NoRepeat(int32_t n, PenaltyScope scope = PenaltyScope::kPromptAndOutput) {
  SamplingParams params;
  params.no_repeat_ngram_size = n;
  params.repetition_scope = scope;
  return params;
}

TEST(HistoryBansTest, NgramsByHand) {
  // 1 2 3 1 2: the 3-gram 1 2 3 occurred, and 1 2 is its beginning.
  EXPECT_STREQ(BannedBy(NoRepeat(3), Tokens{1, 2, 3}, Tokens{1, 2}, 3), "no_repeat_ngram_size");
  EXPECT_EQ(BannedBy(NoRepeat(3), Tokens{1, 2, 3}, Tokens{1, 2}, 4), nullptr);
  EXPECT_EQ(BannedBy(NoRepeat(4), Tokens{1, 2, 3}, Tokens{1, 2}, 3), nullptr);
  // Every token that occurred is a 1-gram.
  EXPECT_STREQ(BannedBy(NoRepeat(1), Tokens{1}, Tokens{}, 1), "no_repeat_ngram_size");
  EXPECT_EQ(BannedBy(NoRepeat(1), Tokens{1}, Tokens{}, 2), nullptr);
  EXPECT_EQ(BannedBy(NoRepeat(1, PenaltyScope::kOutput), Tokens{1}, Tokens{}, 1), nullptr);
  EXPECT_EQ(BannedBy(NoRepeat(1, PenaltyScope::kPrompt), Tokens{1}, Tokens{2}, 2), nullptr);
}

TEST(HistoryBansTest, BadWordsByHand) {
  SamplingParams params;
  auto lists = std::make_shared<SamplingLists>();
  lists->sequence_biases = {{{1, 2}, std::nullopt}, {{3}, std::nullopt}, {{4}, -5.0}};
  params.lists = lists;
  EXPECT_STREQ(BannedBy(params, Tokens{1}, Tokens{}, 2), "sequence_biases");
  EXPECT_EQ(BannedBy(params, Tokens{1}, Tokens{0}, 2), nullptr);
  EXPECT_STREQ(BannedBy(params, Tokens{}, Tokens{}, 3), "sequence_biases");
  EXPECT_EQ(BannedBy(params, Tokens{}, Tokens{}, 4), nullptr);
}

// The same as the stages themselves, which look at all tokens at once.
TEST(HistoryBansTest, AgreesWithTheStages) {
  std::mt19937 random(3);
  const auto below = [&random](size_t n) { return static_cast<int>(random() % n); };
  const auto draw = [&](size_t most) {
    Tokens tokens(static_cast<size_t>(below(most + 1)));
    for (TokenId& token : tokens) token = below(kVocabSize);
    return tokens;
  };
  const std::vector<float> row(kVocabSize, 1);
  LogitsProcessor processor;
  int banned_count = 0;
  for (int i = 0; i < 20000; ++i) {
    SamplingParams params = NoRepeat(below(5), static_cast<PenaltyScope>(below(4)));
    auto lists = std::make_shared<SamplingLists>();
    for (int j = below(3); j > 0; --j) {
      Tokens sequence = draw(2);
      sequence.push_back(below(kVocabSize));
      lists->sequence_biases.push_back({sequence, below(2) == 0 ? std::nullopt : std::optional<double>(1.0)});
    }
    params.lists = lists;
    const Tokens prompt = draw(8);
    const Tokens output = draw(12);
    StepContext context;
    context.prompt = prompt;
    context.output = output;
    const Stage stages[] = {Stage::kSequenceBiases, Stage::kNoRepeatNgram};
    logitd::testing::ProcessStages(processor, LogitsView(row), stages, params, context);
    for (TokenId token = 0; token < kVocabSize; ++token) {
      const auto banned = processor.banned();
      const bool is_banned = std::find(banned.begin(), banned.end(), token) != banned.end();
      banned_count += is_banned;
      ASSERT_EQ(BannedBy(params, prompt, output, token) != nullptr, is_banned)
          << "n " << params.no_repeat_ngram_size << " scope " << static_cast<int>(params.repetition_scope) << " prompt "
          << ::testing::PrintToString(prompt) << " output " << ::testing::PrintToString(output) << " token " << token;
    }
  }
  EXPECT_GT(banned_count, 1000);
}

}  // namespace
}  // namespace logitd
