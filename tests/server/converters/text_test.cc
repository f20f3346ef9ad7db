#include "server/converters/text.h"

#include "gtest/gtest.h"

namespace logitd::server {
namespace {

TEST(TextTest, CharactersAreCountedNotBytes) {
  EXPECT_EQ(CountCharacters("Grüß"), 4);
  EXPECT_EQ(CountCharacters(""), 0);
  EXPECT_EQ(CountCharacters("\xc3"), std::nullopt);
  EXPECT_EQ(CountCharacters("\xF0\x9F\x8E\x89!"), 2);
}

TEST(TextTest, BytesThatAreNotUtf8AreReplaced) {
  EXPECT_EQ(ToUtf8("a\xff"
                   "b"),
            "a\xEF\xBF\xBD"
            "b");
  EXPECT_TRUE(IsUtf8(ToUtf8("\xc3\x28\xe2\x82")));
}

TEST(TextTest, HalfACharacterIsHeldBack) {
  const struct {
    const char* bytes;
    size_t complete;
  } cases[] = {{"", 0},         {"abc", 3},          {"ab\xc3", 2},        {"ab\xc3\xa9", 4},
               {"\xe2\x82", 0}, {"\xe2\x82\xac", 3}, {"x\xf0\x9f\x8e", 1}, {"\xf0\x9f\x8e\x89", 4}};
  for (const auto& test : cases) EXPECT_EQ(CompletePrefix(test.bytes), test.complete) << test.bytes;
  EXPECT_EQ(CompletePrefix("\x80\x80\x80\x80"), 4u) << "what can never become a character is not held back";
}

}  // namespace
}  // namespace logitd::server
