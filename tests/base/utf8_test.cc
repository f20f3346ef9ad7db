#include "base/utf8.h"

#include "gtest/gtest.h"

namespace logitd {
namespace {

TEST(Utf8Test, CharactersAreCountedNotBytes) {
  EXPECT_EQ(CountCharacters("Grüß"), 4);
  EXPECT_EQ(CountCharacters(""), 0);
  EXPECT_EQ(CountCharacters("\xc3"), std::nullopt);
  EXPECT_EQ(CountCharacters("\xF0\x9F\x8E\x89!"), 2);
}

TEST(Utf8Test, BytesThatAreNotUtf8AreReplaced) {
  EXPECT_EQ(ToUtf8("a\xff"
                   "b"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_TRUE(IsUtf8(ToUtf8("\xc3\x28\xe2\x82")));
}

TEST(Utf8Test, HalfACharacterIsHeldBack) {
  const struct {
    const char* bytes;
    size_t complete;
  } cases[] = {{"", 0},         {"abc", 3},          {"ab\xc3", 2},        {"ab\xc3\xa9", 4},
               {"\xe2\x82", 0}, {"\xe2\x82\xac", 3}, {"x\xf0\x9f\x8e", 1}, {"\xf0\x9f\x8e\x89", 4}};
  for (const auto& test : cases) EXPECT_EQ(CompletePrefix(test.bytes), test.complete) << test.bytes;
  EXPECT_EQ(CompletePrefix("\x80\x80\x80\x80"), 4u) << "what can never become a character is not held back";
}

TEST(Utf8Test, PiecesGiveTheTextOfTheWhole) {
  // Overlong forms, surrogates, bytes above U+10FFFF, parts of characters, and characters.
  const std::string bytes =
      "\xed\xa0\x80\xe2\xf4\x90\x80\x80\xc0\xaf\xc3\xa9\xe2\x82\xac\xe2\x82\xf0\x9f\x8e\x89\xf0\x9f\x8ez\xff\x80\xc3";
  const std::string whole = ToUtf8(bytes);
  EXPECT_TRUE(IsUtf8(whole));
  for (size_t step = 1; step <= bytes.size(); ++step) {
    std::string text, held;
    for (size_t begin = 0; begin < bytes.size(); begin += step) {
      held += bytes.substr(begin, step);
      const size_t complete = begin + step >= bytes.size() ? held.size() : CompletePrefix(held);
      text += ToUtf8(held.substr(0, complete));
      held.erase(0, complete);
    }
    EXPECT_EQ(text, whole) << "in pieces of " << step;
  }
}

}  // namespace
}  // namespace logitd
