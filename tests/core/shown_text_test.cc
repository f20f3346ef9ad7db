#include "core/shown_text.h"

#include <string>

#include "gtest/gtest.h"

namespace logitd {
namespace {

TEST(ShownTextTest, WhatIsHarmlessStaysAsItIs) {
  for (const std::string text : {"", "llama-3/8b:Q4", "a b", "M\u00fcller", "\u6c34", "\U0001f600", "\u00a0"}) {
    EXPECT_EQ(Quoted(text), "\"" + text + "\"");
    EXPECT_EQ(OnOneLine(text, 100), text);
  }
}

TEST(ShownTextTest, WhatDoesHarmIsEscaped) {
  const struct {
    std::string text;
    const char* shown;
  } cases[] = {
      {"a\nb\tc\rd", "a\\nb\\tc\\rd"},
      {std::string("\0", 1), "\\u{0}"},
      {"\x1b[31m", "\\u{1b}[31m"},
      {"\x7f", "\\u{7f}"},
      {"\u0085", "\\u{85}"},
      {"\u009b", "\\u{9b}"},
      {"\u200b", "\\u{200b}"},
      {"\u2028", "\\u{2028}"},
      {"\u202e", "\\u{202e}"},
      {"\u2066", "\\u{2066}"},
      {"\ufeff", "\\u{feff}"},
      {"\U000e0041", "\\u{e0041}"},
      // Bytes that are not UTF-8: alone, cut off, overlong, a surrogate, above U+10FFFF.
      {"\xff", "\\xff"},
      {"\x80", "\\x80"},
      {"a\xe2\x82", "a\\xe2\\x82"},
      {"\xc0\x80", "\\xc0\\x80"},
      {"\xe0\x80\x80", "\\xe0\\x80\\x80"},
      {"\xed\xa0\x80", "\\xed\\xa0\\x80"},
      {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
      {"\xe2(", "\\xe2("},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.shown);
    EXPECT_EQ(OnOneLine(test.text, 100), test.shown);
    EXPECT_EQ(Quoted(test.text), "\"" + std::string(test.shown) + "\"");
  }
  // Only a quoted text has its quotation marks and backslashes escaped.
  EXPECT_EQ(Quoted("a\"b\\c"), "\"a\\\"b\\\\c\"");
  EXPECT_EQ(OnOneLine("a\"b\\c", 100), "a\"b\\c");
}

TEST(ShownTextTest, AQuotedTextShowsSixtyFourCharacters) {
  EXPECT_EQ(Quoted(std::string(64, 'a')), "\"" + std::string(64, 'a') + "\"");
  EXPECT_EQ(Quoted(std::string(65, 'a')), "\"" + std::string(64, 'a') + "...\" (65 bytes)");
  EXPECT_EQ(Quoted(std::string(1234567, 'a')), "\"" + std::string(64, 'a') + "...\" (1,234,567 bytes)");
  // Characters, not bytes; one is shown as a whole or not at all.
  std::string long_text, shown;
  for (int i = 0; i < 65; ++i) long_text += "\U0001f600";
  for (int i = 0; i < 64; ++i) shown += "\U0001f600";
  EXPECT_EQ(Quoted(long_text), "\"" + shown + "...\" (260 bytes)");
  // So is an escape: sixteen of four characters.
  shown.clear();
  for (int i = 0; i < 16; ++i) shown += "\\xff";
  EXPECT_EQ(Quoted(std::string(17, '\xff')), "\"" + shown + "...\" (17 bytes)");
  EXPECT_EQ(Quoted(std::string(62, 'a') + "\xff"), "\"" + std::string(62, 'a') + "...\" (63 bytes)");
}

TEST(ShownTextTest, ALineIsCutAtABorder) {
  EXPECT_EQ(OnOneLine("abcdef", 6), "abcdef");
  EXPECT_EQ(OnOneLine("abcdefg", 6), "abc...");
  EXPECT_EQ(OnOneLine("ab\u00e9defg", 6), "ab...");
  EXPECT_EQ(OnOneLine("ab\x1b"
                      "defg",
                      6),
            "ab...");
  EXPECT_EQ(OnOneLine("abcdefg", 3), "...");
  for (size_t bytes = 3; bytes < 40; ++bytes) {
    const std::string once = OnOneLine("\u6c34\n\xff\U0001f600 and so on, and so forth", bytes);
    EXPECT_LE(once.size(), bytes);
    EXPECT_EQ(OnOneLine(once, bytes), once);
  }
}

}  // namespace
}  // namespace logitd
