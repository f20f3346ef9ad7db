#include "server/models/token_bound.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "core/errors.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using testing::HasReason;

// "a", "b", "ab", "abba".
Vocabulary FourTokens() { return {.bytes = "abababba", .offsets = {0, 1, 2, 4, 8}, .longest_token_bytes = 4}; }

constexpr RunnerCapabilities kSpells = {.tokenizer = true, .vocabulary = true, .tokens_spell_text = true};

TEST(TokenBoundTest, RoundsUp) {
  const Vocabulary vocabulary = FourTokens();
  EXPECT_EQ(LeastTokens(0, {}, kSpells, vocabulary), 0);
  EXPECT_EQ(LeastTokens(1, {}, kSpells, vocabulary), 1);
  EXPECT_EQ(LeastTokens(4, {}, kSpells, vocabulary), 1);
  EXPECT_EQ(LeastTokens(5, {}, kSpells, vocabulary), 2);
  EXPECT_EQ(LeastTokens(9, {}, kSpells, vocabulary), 3);
}

TEST(TokenBoundTest, SentencePiecesMarkOfASpaceCountsAsAByte) {
  const TextSize size = SizeOf("a\u2581\u2581b\u2582 ");
  EXPECT_EQ(size.bytes, 1 + 3 + 3 + 1 + 3 + 1);
  EXPECT_EQ(size.spelled_bytes, 1 + 1 + 1 + 1 + 3 + 1);
  EXPECT_EQ(SizeOf("").spelled_bytes, 0);
  const TextSize both = size + SizeOf("\u2581");
  EXPECT_EQ(both.bytes, size.bytes + 3);
  EXPECT_EQ(both.spelled_bytes, size.spelled_bytes + 1);
}

TEST(TokenBoundTest, ProvesNothingWhereTokensMayNotSpellTheText) {
  const Vocabulary vocabulary = FourTokens();
  RunnerCapabilities normalises = kSpells;
  normalises.tokens_spell_text = false;
  EXPECT_EQ(LeastTokens(1'000'000, {}, normalises, vocabulary), 0);
  // The names of control tokens have bytes in the text, and none in the vocabulary.
  EXPECT_EQ(LeastTokens(1'000'000, {.parse_special_tokens = true}, kSpells, vocabulary), 0);
  EXPECT_EQ(LeastTokens(1'000'000, {}, kSpells, Vocabulary()), 0);
}

TEST(TokenBoundTest, ErrorNamesFieldMinimumAndBound) {
  const ServedModel model({.name = "m", .vocab_size = 4}, kSpells, std::make_shared<const Vocabulary>(FourTokens()));
  EXPECT_THAT(CheckTextFits("prompt.text", SizeOf("aaaaaaaaaaaa"), {}, model, 3), testing::IsOk());
  const absl::Status status = CheckTextFits("prompt.text", SizeOf("aaaaaaaaaaaaa"), {}, model, 3);
  EXPECT_THAT(status, HasReason(ErrorReason::kContextLengthExceeded));
  const ErrorDetail detail = DetailOf(status);
  EXPECT_EQ(detail.field, "prompt.text");
  EXPECT_EQ(detail.message, "prompt.text must be at most 3 tokens, got 13 bytes, at least 4 tokens");
}

}  // namespace
}  // namespace logitd::server
