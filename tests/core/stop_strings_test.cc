#include "core/stop_strings.h"

#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/stop_reference.h"

namespace logitd {
namespace {

// The longest string that ends `text`; of equal ones the first.
std::optional<int> LongestAtEnd(std::string_view text, const std::vector<std::string>& strings) {
  std::optional<int> best;
  for (size_t i = 0; i < strings.size(); ++i) {
    if (!text.ends_with(strings[i])) continue;
    if (!best || strings[i].size() > strings[*best].size()) best = static_cast<int>(i);
  }
  return best;
}

TEST(StopStringsTest, FindsWhatASearchAtEveryByteFinds) {
  std::mt19937 random(7);
  const auto text_of = [&](int letters, size_t length) {
    std::string text;
    while (text.size() < length) text.push_back(static_cast<char>('a' + random() % letters));
    return text;
  };
  int match_count = 0;
  for (int round = 0; round < 300; ++round) {
    const int letters = 1 + static_cast<int>(random() % 4);
    std::vector<std::string> strings;
    const size_t count = 1 + random() % 12;
    while (strings.size() < count) strings.push_back(text_of(letters, 1 + random() % 9));
    const StopStrings stops(strings);
    const std::string text = text_of(letters, 200);
    StopStrings::State state = StopStrings::kStart;
    int held_before = 0;
    for (size_t i = 0; i < text.size(); ++i) {
      state = stops.Next(state, text[i]);
      const std::string_view so_far = std::string_view(text).substr(0, i + 1);
      const std::optional<int> expected = LongestAtEnd(so_far, strings);
      const auto match = stops.MatchAt(state);
      ASSERT_EQ(match.has_value(), expected.has_value()) << so_far;
      if (match) {
        ++match_count;
        EXPECT_EQ(match->index, *expected) << so_far;
        EXPECT_EQ(match->length, std::ssize(strings[*expected]));
      }
      EXPECT_EQ(stops.HeldBytes(state), static_cast<int>(testing::HeldReference(so_far, strings))) << so_far;
      EXPECT_LE(stops.HeldBytes(state), held_before + 1);
      held_before = stops.HeldBytes(state);
    }
  }
  EXPECT_GT(match_count, 10'000);
}

TEST(StopStringsTest, TellsAnyBytesApart) {
  std::vector<std::string> strings;
  for (int byte = 0; byte < 256; ++byte) strings.push_back(std::string("x") + static_cast<char>(byte));
  const StopStrings stops(strings);
  for (int byte = 0; byte < 256; ++byte) {
    const auto state = stops.Next(stops.Next(StopStrings::kStart, 'x'), static_cast<char>(byte));
    ASSERT_TRUE(stops.MatchAt(state)) << byte;
    EXPECT_EQ(stops.MatchAt(state)->index, byte);
  }
}

TEST(StopStringsTest, OfEqualStringsTheFirstCounts) {
  const StopStrings stops({"zz", "ab", "b", "ab"});
  const auto state = stops.Next(stops.Next(StopStrings::kStart, 'a'), 'b');
  ASSERT_TRUE(stops.MatchAt(state));
  EXPECT_EQ(stops.MatchAt(state)->index, 1) << "the longest, and of both the first";
}

// Each byte of this text fails all strings at their end. Whoever compares them byte by byte needs 10^11 comparisons.
TEST(StopStringsTest, TimeIsLinearWhateverTheStringsAre) {
  std::vector<std::string> strings;
  for (size_t length = 192; length < 256; ++length) strings.push_back(std::string(length, 'a') + 'b');
  const StopStrings stops(strings);
  StopStrings::State state = StopStrings::kStart;
  for (int i = 0; i < 8'000'000; ++i) state = stops.Next(state, 'a');
  EXPECT_EQ(stops.HeldBytes(state), 255);
  EXPECT_TRUE(stops.MatchAt(stops.Next(state, 'b')));
}

}  // namespace
}  // namespace logitd
