#include "base/model_name.h"

#include "gtest/gtest.h"

namespace logitd {
namespace {

TEST(ModelNameTest, HasOneTo128OfItsCharacters) {
  for (const char* name : {"m", "prod/SmolLM2-135M:f32_v1.0"}) EXPECT_TRUE(IsModelName(name)) << name;
  EXPECT_TRUE(IsModelName(std::string(128, 'a')));
  EXPECT_FALSE(IsModelName(std::string(129, 'a')));
  EXPECT_FALSE(IsModelName(std::string(1, '\0')));
  for (const char* name : {"", "a b", "a\n", "ü", "a+b"}) EXPECT_FALSE(IsModelName(name)) << name;
}

TEST(ModelNameTest, OfAFileIsItsStemInTheCharactersOfAName) {
  EXPECT_EQ(ModelNameOf("/models/a b+c.Q4_1.gguf"), "a-b-c.Q4_1");
  EXPECT_EQ(ModelNameOf(""), "model");
  EXPECT_TRUE(IsModelName(ModelNameOf(std::string(300, 'x') + ".gguf")));
}

}  // namespace
}  // namespace logitd
