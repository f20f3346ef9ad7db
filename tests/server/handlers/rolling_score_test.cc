#include "server/handlers/rolling_score.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "server/handlers/rolling_windows.h"
#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::FakeModelOptions;
using logitd::testing::FakeRow;
using logitd::testing::kFakeBos;
using logitd::testing::Parse;

// One window of lm-evaluation-harness: what it feeds, and the tokens at whose end it scores.
struct HarnessWindow {
  std::vector<TokenId> input;
  std::vector<TokenId> targets;
};

// The harness's rule, word for word: utils.get_rolling_token_windows.
std::vector<HarnessWindow> HarnessWindows(const std::vector<TokenId>& tokens, TokenId prefix, size_t max_seq_len,
                                          size_t context_len) {
  std::vector<HarnessWindow> windows;
  const auto slice = [&tokens](size_t begin, size_t end) {
    return std::vector<TokenId>(tokens.begin() + static_cast<ptrdiff_t>(begin),
                                tokens.begin() + static_cast<ptrdiff_t>(end));
  };
  const size_t pred_len = max_seq_len - context_len + 1;
  const size_t first_seq_len = std::min(max_seq_len, tokens.size());
  std::vector<TokenId> first = slice(0, first_seq_len - 1);
  first.insert(first.begin(), prefix);
  windows.push_back({first, slice(0, first_seq_len)});
  size_t predicted = first_seq_len;
  while (predicted < tokens.size()) {
    const size_t window_pred_len = std::min(tokens.size() - predicted, pred_len);
    const size_t window_end = predicted + window_pred_len;
    windows.push_back(
        {slice(window_end - max_seq_len - 1, window_end - 1), slice(window_end - window_pred_len, window_end)});
    predicted += window_pred_len;
  }
  return windows;
}

double LogProb(std::span<const TokenId> before, TokenId target) {
  const std::vector<float> row = FakeRow(before);
  const double most = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float logit : row) sum += std::exp(static_cast<double>(logit) - most);
  return row[static_cast<size_t>(target)] - most - std::log(sum);
}

class RollingScoreTest : public logitd::testing::InProcessServer {
 protected:
  static std::vector<TokenId> RandomTokens(size_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<TokenId> tokens(count);
    for (TokenId& token : tokens) token = static_cast<TokenId>(5 + random() % 50);
    return tokens;
  }
  static std::string Ids(const std::vector<TokenId>& tokens) {
    std::string text = "input { tokens { token_ids: [";
    for (size_t i = 0; i < tokens.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(tokens[i]);
    return text + "] } }";
  }
  v1::ScoreResponse Roll(const std::string& rolling, const std::string& more = "") {
    std::vector<v1::ScoreResponse> responses;
    const grpc::Status status = Score("items { id: 'r' rolling { " + rolling + " } } " + more, &responses);
    EXPECT_TRUE(status.ok()) << Describe(status);
    return responses.size() == 1 ? responses[0] : v1::ScoreResponse();
  }
};

TEST_F(RollingScoreTest, WindowsAreThoseOfTheHarness) {
  for (const bool records : {true, false}) {
    Attach({.records = records});
    for (const auto& [count, window, stride] : std::vector<std::tuple<size_t, int, int>>{{1, 64, 64},
                                                                                         {5, 8, 8},
                                                                                         {8, 8, 8},
                                                                                         {9, 8, 8},
                                                                                         {100, 8, 8},
                                                                                         {100, 8, 3},
                                                                                         {64, 64, 64},
                                                                                         {65, 64, 64},
                                                                                         {200, 64, 64},
                                                                                         {200, 64, 1},
                                                                                         {33, 16, 16}}) {
      SCOPED_TRACE(std::to_string(count) + " tokens, window " + std::to_string(window) + ", stride " +
                   std::to_string(stride));
      const std::vector<TokenId> tokens = RandomTokens(count, static_cast<unsigned>(count + stride));
      const auto windows =
          HarnessWindows(tokens, kFakeBos, static_cast<size_t>(window), static_cast<size_t>(window - stride + 1));
      const v1::ScoreResponse response =
          Roll(Ids(tokens) + " window: " + std::to_string(window) + " stride: " + std::to_string(stride));
      ASSERT_FALSE(response.item().has_error()) << response.item().error().message();
      EXPECT_TRUE(response.item().has_implicit_context_token_id());
      EXPECT_EQ(response.item().implicit_context_token_id(), kFakeBos);
      EXPECT_EQ(response.item().context_token_count(), 1);
      const v1::RollingScore& rolling = response.item().rolling();
      ASSERT_EQ(rolling.windows_size(), static_cast<int>(windows.size()));
      double sum = 0;
      int first = 0;
      for (size_t i = 0; i < windows.size(); ++i) {
        const v1::RollingWindow& message = rolling.windows(static_cast<int>(i));
        EXPECT_EQ(message.first_token(), first);
        ASSERT_EQ(message.token_count(), static_cast<int>(windows[i].targets.size()));
        EXPECT_EQ(message.context_token_count(),
                  static_cast<int>(windows[i].input.size() - windows[i].targets.size() + 1));
        first += message.token_count();
        double window_sum = 0;
        for (size_t t = 0; t < windows[i].targets.size(); ++t) {
          const size_t fed = windows[i].input.size() - windows[i].targets.size() + 1 + t;
          window_sum += LogProb(std::span(windows[i].input).first(fed), windows[i].targets[t]);
        }
        EXPECT_NEAR(message.sum_model_log_prob(), window_sum, 1e-5);
        sum += window_sum;
      }
      EXPECT_EQ(rolling.score().totals().token_count(), static_cast<int>(count));
      EXPECT_NEAR(rolling.score().totals().cumulative_model_log_prob(), sum, 1e-4);
      EXPECT_NEAR(rolling.perplexity(), std::exp(-sum / static_cast<double>(count)), 1e-3);
      EXPECT_EQ(response.usage().scored_token_count(), static_cast<int>(count));
      EXPECT_EQ(response.id(), "r");
    }
    fake_.reset();
  }
}

TEST_F(RollingScoreTest, StridedWindowsScoreEachTokenButTheFirstOnce) {
  Attach();
  const std::vector<TokenId> tokens = RandomTokens(50, 3);
  for (const int stride : {1, 3, 8}) {
    const v1::ScoreResponse response =
        Roll(Ids(tokens) + " window: 8 stride: " + std::to_string(stride) + " rule: ROLLING_RULE_STRIDED");
    double sum = 0;
    size_t scored = 1;
    for (size_t begin = 0; scored < tokens.size(); begin += static_cast<size_t>(stride)) {
      const size_t end = std::min(tokens.size(), begin + 8 + 1);
      for (; scored < end; ++scored) sum += LogProb(std::span(tokens).subspan(begin, scored - begin), tokens[scored]);
    }
    EXPECT_FALSE(response.item().has_implicit_context_token_id());
    const v1::RollingScore& rolling = response.item().rolling();
    EXPECT_NEAR(rolling.score().totals().cumulative_model_log_prob(), sum, 1e-4);
    EXPECT_EQ(rolling.score().totals().token_count(), 49);
    EXPECT_EQ(rolling.windows(0).first_token(), 1);
  }
  // Nothing comes before its only token.
  const v1::ScoreResponse one = Roll("input { tokens { token_ids: 5 } } rule: ROLLING_RULE_STRIDED");
  EXPECT_EQ(one.item().rolling().score().totals().token_count(), 0);
  EXPECT_FALSE(one.item().rolling().score().totals().has_cumulative_model_log_prob());
  EXPECT_FALSE(one.item().rolling().has_perplexity());
}

TEST_F(RollingScoreTest, ATextHasBytesAndCharacters) {
  Attach();
  const v1::ScoreResponse response = Roll("input { text: 'the cat sat.' } window: 2");
  const v1::ScoredSequence& score = response.item().rolling().score();
  EXPECT_EQ(score.byte_count(), 12);
  EXPECT_EQ(score.character_count(), 12);
  EXPECT_NEAR(response.item().rolling().bits_per_byte(),
              -score.totals().cumulative_model_log_prob() / 12 / std::log(2.0), 1e-9);
}

TEST_F(RollingScoreTest, AskingAgainEvaluatesNothing) {
  auto& model = Attach();
  const std::string text = Ids(RandomTokens(300, 9)) + " window: 32";
  const v1::ScoreResponse first = Roll(text);
  const int64_t evaluated = model.token_count();
  EXPECT_EQ(first.usage().evaluated_token_count(), evaluated);
  const v1::ScoreResponse again = Roll(text);
  EXPECT_EQ(model.token_count(), evaluated);
  EXPECT_EQ(again.usage().cached_token_count(), evaluated + first.usage().cached_token_count());
  EXPECT_EQ(again.item().SerializeAsString(), first.item().SerializeAsString());
}

TEST_F(RollingScoreTest, WrongTextsAreErrorsOfTheirItems) {
  Attach();
  for (const auto& [rolling, error] : std::vector<std::pair<std::string, std::string>>{
           {"", "FIELD_REQUIRED of items[0].rolling.input"},
           {"input { text: '' }", "EMPTY_PROMPT of items[0].rolling.input.text"},
           {"input { tokens { } }", "EMPTY_PROMPT of items[0].rolling.input"},
           {"input { tokens { token_ids: 64 } }",
            "TOKEN_ID_OUT_OF_RANGE of items[0].rolling.input.tokens.token_ids[0]"},
           {"input { tokens { token_ids: 5 } } window: 0", "FIELD_OUT_OF_RANGE of items[0].rolling.window"},
           {"input { tokens { token_ids: 5 } } window: 65", "FIELD_OUT_OF_RANGE of items[0].rolling.window"},
           {"input { tokens { token_ids: 5 } } window: 8 stride: 9", "FIELD_OUT_OF_RANGE of items[0].rolling.stride"},
           {"input { tokens { token_ids: 5 } } window: 8 stride: 0",
            "FIELD_OUT_OF_RANGE of items[0].rolling.stride"}}) {
    EXPECT_EQ(Describe(Roll(rolling).item().error()), error);
  }
  std::vector<v1::ScoreResponse> responses;
  EXPECT_TRUE(Score("items { context { text: 'a' } rolling { input { text: 'cat' } } } "
                    "items { continuations { text: 'a' } rolling { input { text: 'cat' } } } "
                    "items { rolling { input { text: 'cat' } } } items { continuations { text: 'cat' } }",
                    &responses)
                  .ok());
  ASSERT_EQ(responses.size(), 4u);
  EXPECT_EQ(responses[0].item_index(), 3);
  EXPECT_EQ(Describe(responses[1].item().error()), "FIELDS_EXCLUSIVE of items[0].rolling");
  EXPECT_EQ(Describe(responses[2].item().error()), "FIELDS_EXCLUSIVE of items[1].rolling");
  EXPECT_TRUE(responses[3].item().has_rolling());
}

TEST_F(RollingScoreTest, ContextsLoseTheirBeginningIfTheRequestAllowsIt) {
  Attach();
  const std::vector<TokenId> context = RandomTokens(80, 4);
  const std::vector<TokenId> continuation = {7, 9, 11};
  const auto item = [](const std::vector<TokenId>& before, const std::vector<TokenId>& after) {
    v1::ScoreRequest request;
    v1::ScoreItem& message = *request.add_items();
    message.mutable_context()->mutable_tokens()->mutable_token_ids()->Add(before.begin(), before.end());
    message.add_continuations()->mutable_tokens()->mutable_token_ids()->Add(after.begin(), after.end());
    message.add_continuations()->mutable_tokens()->add_token_ids(7);
    return request.ShortDebugString();
  };
  const std::string allow = " tokenization { truncation: TRUNCATION_CONTEXT_LEFT }";
  std::vector<v1::ScoreResponse> responses;
  ASSERT_TRUE(Score(item(context, continuation), &responses).ok());
  EXPECT_EQ(Describe(responses[0].item().error()), "CONTEXT_LENGTH_EXCEEDED of items[0].context.tokens");
  responses.clear();
  ASSERT_TRUE(Score(item(context, continuation) + allow, &responses).ok());
  ASSERT_FALSE(responses[0].item().has_error()) << responses[0].item().error().message();
  // 62 tokens of context and 3 of the continuation are as many as fit.
  EXPECT_EQ(responses[0].item().continuations(0).truncated_token_count(), 18);
  EXPECT_EQ(responses[0].item().continuations(1).truncated_token_count(), 16);
  std::vector<TokenId> rest(context.begin() + 18, context.end());
  double sum = 0;
  for (const TokenId target : continuation) {
    sum += LogProb(rest, target);
    rest.push_back(target);
  }
  EXPECT_NEAR(responses[0].item().continuations(0).score().totals().cumulative_model_log_prob(), sum, 1e-5);
  // A continuation that is too long by itself is refused.
  responses.clear();
  ASSERT_TRUE(Score(item({5}, RandomTokens(65, 1)) + allow, &responses).ok());
  EXPECT_EQ(Describe(responses[0].item().continuations(0).error()),
            "CONTEXT_LENGTH_EXCEEDED of items[0].continuations[0].tokens");
  EXPECT_FALSE(responses[0].item().continuations(1).has_error());
}

}  // namespace
}  // namespace logitd::server
