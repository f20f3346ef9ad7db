#include "client/http/token_texts.h"

#include "gmock/gmock.h"

namespace logitd::http {
namespace {

TokenTexts TextsOf(bool as_ids = false) {
  return TokenTexts(std::make_shared<TokenNames>(TokenNames{{2, "<|im_end|>"}}), as_ids);
}

TEST(TokenTextsTest, ATokenIsItsTextItsNameOrItsBytes) {
  const TokenTexts texts = TextsOf();
  EXPECT_EQ(texts.TextOf(7, " a"), " a");
  EXPECT_EQ(texts.TextOf(2, ""), "<|im_end|>");
  EXPECT_EQ(texts.TextOf(9, "\xe2\x82"), "bytes:\\xe2\\x82");
  EXPECT_EQ(texts.TextOf(5, ""), "token_id:5");
  EXPECT_EQ(TextsOf(true).TextOf(7, " a"), "token_id:7");
  EXPECT_EQ(TextsOf(true).TextOf(2, ""), "token_id:2");
}

TEST(TextOffsetsTest, OffsetsCountCharacters) {
  TextOffsets offsets;
  EXPECT_EQ(offsets.Next("a\u00fc"), 0);
  EXPECT_EQ(offsets.Next("\u20ac"), 2);
  EXPECT_EQ(offsets.Next(""), 3);
  EXPECT_EQ(offsets.Next("x"), 3);
  EXPECT_EQ(offsets.Next("y"), 4);
}

TEST(TextOffsetsTest, ATokenWithinACharacterHasTheOffsetOfTheCharacter) {
  TextOffsets offsets;
  EXPECT_EQ(offsets.Next("a\xe2\x82"), 0);
  EXPECT_EQ(offsets.Next("\xac"), 1);
  EXPECT_EQ(offsets.Next("b"), 2);
}

TEST(TextOffsetsTest, BytesThatAreNoCharacterCountAsTheyAreWritten) {
  TextOffsets offsets;
  // U+FFFD each.
  EXPECT_EQ(offsets.Next("\xff\xfe"), 0);
  EXPECT_EQ(offsets.Next("a\xe2"), 2);
  // Another text follows: the open character ends.
  offsets.EndText();
  EXPECT_EQ(offsets.Next("b"), 4);
}

TEST(TextOffsetsTest, ACharacterThatIsNotCompletedStandsBeforeTheNextToken) {
  TextOffsets offsets;
  EXPECT_EQ(offsets.Next("a\xe2\x82"), 0);
  // "a", U+FFFD, "bc".
  EXPECT_EQ(offsets.Next("bc"), 2);
  EXPECT_EQ(offsets.Next("\xe2"), 4);
  EXPECT_EQ(offsets.Next("\x82"), 4);
  // A new character begins: U+FFFD, and the euro sign, whose bytes two tokens share.
  EXPECT_EQ(offsets.Next("\xe2\x82"), 5);
  EXPECT_EQ(offsets.Next("\xac"), 5);
  EXPECT_EQ(offsets.Next("d"), 6);
}

TEST(TextOffsetsTest, SkippedBytesAreNotInTheText) {
  TextOffsets offsets(1);
  EXPECT_EQ(offsets.Next(" The"), 0);
  EXPECT_EQ(offsets.Next(" cat"), 3);
}

}  // namespace
}  // namespace logitd::http
