#include "core/completion_text.h"

#include <functional>
#include <random>
#include <vector>

#include "base/utf8.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/stop_reference.h"

namespace logitd {
namespace {

using ::testing::ElementsAre;
using testing::FindStop;
using testing::HeldReference;
using testing::StopReference;

using Strings = std::vector<std::string>;

// The sums after each number of tokens, as a sequence adds them up.
std::vector<SequenceSums> SumsAfter(size_t token_count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<SequenceSums> sums(1);
  for (size_t i = 0; i < token_count; ++i) {
    TokenRecord record;
    record.model_log_prob = -std::uniform_real_distribution<double>(1e-9, 12)(random);
    record.sampling_log_prob = -std::uniform_real_distribution<double>(1e-9, 3)(random);
    sums.push_back(sums.back());
    sums.back().Add(record);
  }
  return sums;
}

void ExpectSameBits(const SequenceSums& a, const SequenceSums& b) {
  for (const auto& [x, y] : {std::pair(a.model, b.model), std::pair(a.sampling, b.sampling)}) {
    ASSERT_TRUE(x && y);
    EXPECT_EQ(x->sum, y->sum);
    EXPECT_EQ(x->compensation, y->compensation);
  }
}

std::shared_ptr<const StopStrings> Compiled(const Strings& stops) {
  return stops.empty() ? nullptr : std::make_shared<const StopStrings>(stops);
}

// Feeds the tokens, and compares every state on the way and the end with the reference.
StopReference Check(const Strings& tokens, const Strings& stops, int min_tokens = 0) {
  const StopReference expected = FindStop(tokens, stops, min_tokens);
  const std::vector<SequenceSums> sums = SumsAfter(tokens.size(), static_cast<uint32_t>(tokens.size()));
  CompletionText text(Compiled(stops));
  std::string told;
  std::string fed;
  int32_t certain = 0;
  for (int i = 0; i < expected.needed_count; ++i) {
    const auto stop = text.Append(tokens[i], sums[i + 1], i >= min_tokens);
    fed += tokens[i];
    told += text.TakeText();
    EXPECT_GE(text.token_count(), certain) << "nothing is taken back";
    certain = text.token_count();
    EXPECT_LE(certain, expected.token_count);
    ExpectSameBits(text.sums(), sums[certain]);
    const bool is_last = i + 1 == expected.needed_count;
    EXPECT_EQ(stop.has_value(), is_last && expected.stop_index) << "token " << i;
    if (stop && expected.stop_index) {
      EXPECT_EQ(stop->index, *expected.stop_index);
      EXPECT_EQ(stop->cut_byte_count, expected.cut_byte_count);
    } else {
      // All is told but what may become a stop string, or a character.
      const std::string_view settled = std::string_view(fed).substr(0, fed.size() - HeldReference(fed, stops));
      EXPECT_EQ(told, ToUtf8(settled.substr(0, CompletePrefix(settled))));
      EXPECT_TRUE(ToUtf8(expected.text).starts_with(told));
    }
    EXPECT_EQ(text.has_ended(), stop.has_value());
  }
  text.End();
  told += text.TakeText();
  EXPECT_EQ(text.bytes(), expected.text);
  EXPECT_EQ(told, ToUtf8(expected.text));
  EXPECT_EQ(text.token_count(), expected.token_count);
  ExpectSameBits(text.sums(), sums[expected.token_count]);
  return expected;
}

std::string RandomText(std::mt19937& random, const Strings& alphabet, size_t parts) {
  std::string text;
  for (size_t i = 0; i < parts; ++i) text += alphabet[random() % alphabet.size()];
  return text;
}

// Cuts at random places; some tokens have no bytes.
Strings RandomTokens(std::mt19937& random, const std::string& text) {
  Strings tokens;
  for (size_t begin = 0; begin < text.size();) {
    const size_t size = random() % 6;
    tokens.push_back(text.substr(begin, size));
    begin += size;
  }
  return tokens;
}

TEST(CompletionTextTest, RandomTextsAreCutAsTheReferenceCutsThem) {
  std::mt19937 random(14);
  int stopped = 0;
  int straddled = 0;
  int ignored = 0;
  for (int round = 0; round < 1000; ++round) {
    SCOPED_TRACE(round);
    const Strings alphabet = round % 2 == 0 ? Strings{"a", "b"} : Strings{"a", "b", "c", " ", "\n", "é", "€", "👍"};
    const std::string text = RandomText(random, alphabet, 1 + random() % 60);
    Strings stops;
    const size_t count = 1 + random() % 5;
    for (size_t i = 0; i < count; ++i) stops.push_back(RandomText(random, alphabet, 1 + random() % 6));
    const Strings tokens = RandomTokens(random, text);
    const int min_tokens = random() % 3 == 0 ? static_cast<int>(random() % (tokens.size() + 1)) : 0;
    const StopReference end = Check(tokens, stops, min_tokens);
    stopped += end.stop_index ? 1 : 0;
    straddled += end.cut_byte_count > 0 ? 1 : 0;
    ignored += min_tokens > 0 && FindStop(tokens, stops, 0).needed_count < end.needed_count ? 1 : 0;
    // Whatever the tokens are, the text is the same.
    if (min_tokens > 0) continue;
    Strings bytes;
    for (const char byte : text) bytes.emplace_back(1, byte);
    EXPECT_EQ(Check(bytes, stops).text, end.text);
    EXPECT_EQ(Check({text}, stops).text, end.text);
  }
  // The cases are all there.
  EXPECT_GT(stopped, 500);
  EXPECT_LT(stopped, 990);
  EXPECT_GT(straddled, 100);
  EXPECT_GT(ignored, 20);
}

TEST(CompletionTextTest, EveryCutOfATextIntoTokensGivesTheSameText) {
  const std::string text =
      "aab\xC3\xA9"
      "bab";
  for (const Strings& stops :
       {Strings{"bab", "ab"}, Strings{"é", "abé"}, Strings{"aabéba", "zz"}, Strings{"ba", "c"}}) {
    const std::string expected = FindStop(Strings{text}, stops, 0).text;
    for (uint32_t cuts = 0; cuts < 1u << (text.size() - 1); ++cuts) {
      Strings tokens = {""};
      for (size_t i = 0; i < text.size(); ++i) {
        tokens.back().push_back(text[i]);
        if (i + 1 < text.size() && (cuts >> i & 1) != 0) tokens.emplace_back();
      }
      EXPECT_EQ(Check(tokens, stops).text, expected);
    }
  }
}

// Broken characters, and bytes that are none, beside and within what may become a stop string.
TEST(CompletionTextTest, RandomBytesNeverBreakIt) {
  std::mt19937 random(15);
  const Strings pieces = {"a",    "\xC3", "\xA9", "\xE2", "\x82", "\xAC", "\xF0",
                          "\x9F", "\x91", "\x8D", "\xFF", "é",    "€"};
  const Strings stop_pieces = {"a", "é", "€", "👍", "aé"};
  int stopped = 0;
  for (int round = 0; round < 2000; ++round) {
    SCOPED_TRACE(round);
    Strings tokens;
    const size_t count = 1 + random() % 30;
    for (size_t i = 0; i < count; ++i) {
      std::string& token = tokens.emplace_back(RandomText(random, pieces, random() % 4));
      if (random() % 4 == 0) token.push_back(static_cast<char>(random()));
    }
    Strings stops;
    const size_t stop_count = random() % 4;
    for (size_t i = 0; i < stop_count; ++i) stops.push_back(RandomText(random, stop_pieces, 1 + random() % 3));
    stopped += Check(tokens, stops, static_cast<int>(random() % 3)).stop_index ? 1 : 0;
  }
  EXPECT_GT(stopped, 300);
}

TEST(CompletionTextTest, WithoutStopStringsEveryTokenIsCertainAtOnce) {
  CompletionText text;
  const std::vector<SequenceSums> sums = SumsAfter(4, 1);
  text.Append("\xE2\x82", sums[1]);
  EXPECT_EQ(text.token_count(), 1) << "its text is not yet";
  EXPECT_EQ(text.TakeText(), "");
  text.Append("", sums[2]);
  EXPECT_EQ(text.token_count(), 2);
  text.Append("\xAC!", sums[3]);
  EXPECT_EQ(text.TakeText(), "€!");
  ExpectSameBits(text.sums(), sums[3]);
  text.Append("\xE2", sums[4]);
  text.End();
  EXPECT_EQ(text.TakeText(), "\xEF\xBF\xBD");
  EXPECT_TRUE(text.has_ended());
}

// Cases in which other servers have gone wrong.
struct Told {
  std::string text;
  int token_count = 0;
  int cut_byte_count = 0;
  std::vector<std::string> deltas;
};
Told Feed(const Strings& tokens, const Strings& stops) {
  Told told;
  CompletionText text(Compiled(stops));
  for (const std::string& token : tokens) {
    const auto stop = text.Append(token, SequenceSums());
    told.deltas.push_back(text.TakeText());
    if (!stop) continue;
    told.cut_byte_count = stop->cut_byte_count;
    break;
  }
  text.End();
  told.deltas.push_back(text.TakeText());
  told.text = text.bytes();
  told.token_count = text.token_count();
  return told;
}

TEST(CompletionTextTest, AStopStringOfManyTokensIsHeldBackFromItsFirstByte) {
  const Told told = Feed({"DEF", "G", "HI", "J", "K"}, {"DEFGHIJ"});
  EXPECT_THAT(told.deltas, ElementsAre("", "", "", "", ""));
  EXPECT_EQ(told.token_count, 0);
  // It begins with the last byte of a token.
  EXPECT_EQ(Feed({"x\n", "User", ": hi"}, {"\nUser:"}).text, "x");
  EXPECT_EQ(Feed({"A B C", " D", " O", " P", " Q", " R"}, {"O P Q"}).text, "A B C D ");
}

TEST(CompletionTextTest, WhatWasHeldBackComesIfNoStopStringDoes) {
  EXPECT_THAT(Feed({"UNO DUE", " TRE"}, {"TRE\nAAAAAAAA"}).deltas, ElementsAre("UNO DUE", " ", "TRE"));
  const Told told = Feed({"Al", "ice", "! Hi"}, {"\n", "Alice:"});
  EXPECT_THAT(told.deltas, ElementsAre("", "", "Alice! Hi", "")) << "once, and not twice";
}

TEST(CompletionTextTest, AStopStringWithinOneTokenCutsThatToken) {
  Told told = Feed({"a", "..."}, {".."});
  EXPECT_EQ(told.text, "a");
  EXPECT_EQ(told.token_count, 1);
  EXPECT_EQ(told.cut_byte_count, 0);
  told = Feed({"so be it.\n\n## ", "x"}, {"\n\n"});
  EXPECT_EQ(told.text, "so be it.");
  EXPECT_EQ(told.token_count, 1);
  EXPECT_EQ(told.cut_byte_count, 5);
  told = Feed({"?\n", "x"}, {"?\n"});
  EXPECT_EQ(told.token_count, 0) << "nothing of the token is in the text";
}

TEST(CompletionTextTest, CharactersInPiecesStopAndStreamLikeWholeOnes) {
  Told told = Feed({"ok", "\xF0\x9F", "\x91", "\x8D", "!"}, {"👍"});
  EXPECT_THAT(told.deltas, ElementsAre("ok", "", "", "", ""));
  EXPECT_EQ(told.token_count, 1);
  // Another character begins with the same bytes.
  EXPECT_THAT(Feed({"ok", "\xF0\x9F", "\x91", "\x8E", "!"}, {"👍"}).deltas, ElementsAre("ok", "", "", "👎", "!", ""));
  // A piece of a character that never becomes whole comes once, and so does what is before it.
  EXPECT_THAT(Feed({"A 世", "\xE7", "ab", "\xE7"}, {"世界"}).deltas, ElementsAre("A ", "",
                                                                                 "世\xEF\xBF\xBD"
                                                                                 "ab",
                                                                                 "", "\xEF\xBF\xBD"));
}

TEST(CompletionTextTest, OverlapsAreSeen) {
  // A search that begins anew after a failed comparison misses these.
  EXPECT_EQ(Feed({"aa", "ab"}, {"aab"}).text, "a");
  EXPECT_EQ(Feed({"\n", "\n", "\nQ"}, {"\n\nQ"}).text, "\n");
  EXPECT_EQ(Feed({"abcabca", "bd"}, {"abcabd"}).text, "abc");
  // "bc" is complete first, although "abcd" begins first.
  EXPECT_EQ(Feed({"abcd"}, {"abcd", "bc"}).text, "a");
  EXPECT_EQ(Feed({"ab", "cd"}, {"abcd", "bc"}).text, "a");
  // Both end with the same byte.
  EXPECT_EQ(Feed({"xab"}, {"b", "ab"}).text, "x");
}

TEST(CompletionTextTest, TokensWithoutBytesAreCutWithTheTextAroundThem) {
  // Before the stop string one stays, within it and behind it none does.
  EXPECT_EQ(Feed({"a", "", "ST", "", "OP"}, {"STOP"}).token_count, 2);
  EXPECT_EQ(Feed({"a", "", "ST", "", "AR"}, {"STOP"}).token_count, 5);
  EXPECT_EQ(Feed({"", "", "STOP"}, {"STOP"}).token_count, 2);
}

}  // namespace
}  // namespace logitd
