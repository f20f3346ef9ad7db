#include "server/head_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using ::logitd::testing::IsOk;
using ::logitd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(HeadSpecTest, NameFileAndKeysAreParsed) {
  const auto spec = ParseHeadSpec("--head",
                                  "a/b=dir/m=1.safetensors,weight=w.weight,bias=b,layout=dv,norm=n,norm_eps=1e-6,"
                                  "logit_scale=0.5,soft_cap=30");
  ASSERT_THAT(spec.status(), IsOk());
  EXPECT_EQ(spec->name, "a/b");
  EXPECT_EQ(spec->file, "dir/m=1.safetensors");
  EXPECT_EQ(spec->weight, "w.weight");
  EXPECT_EQ(spec->bias, "b");
  EXPECT_EQ(spec->layout, HeadSpec::Layout::kDimensionsFirst);
  EXPECT_EQ(spec->norm, "n");
  EXPECT_EQ(spec->norm_eps, 1e-6);
  EXPECT_EQ(spec->logit_scale, 0.5f);
  EXPECT_EQ(spec->soft_cap, 30.0f);
  EXPECT_FALSE(spec->is_gguf());
  EXPECT_TRUE(ParseHeadSpec("--head", "a=m.gguf")->is_gguf());
  EXPECT_TRUE(ParseHeadSpec("--head", "a=m.safetensors.index.json")->is_index());
}

TEST(HeadSpecTest, WhatIsWrongIsNamedWithItsOrigin) {
  const struct {
    const char* text;
    const char* what;
  } cases[] = {
      {"", "a name and a file"},
      {"model.safetensors", "a name and a file"},
      {"=m", "a head's name must be 1 to 128 of"},
      {"a b=m", "a head's name must be 1 to 128 of"},
      {"a=", "needs a file"},
      {"a=m,weight", "KEY=VALUE"},
      {"a=m,weight=", "weight of head a must be a tensor's name"},
      {"a=m,color=red", "has the key \"color\"; the keys are weight, bias"},
      {"a=m,weight=x,weight=y", "given once, \"weight\" is given twice"},
      {"a=m,layout=VD", "layout of head a must be vd"},
      {"a=m,norm=n", "norm and norm_eps of head a need each other"},
      {"a=m,norm_eps=1e-6", "norm and norm_eps of head a need each other"},
      {"a=m,norm=n,norm_eps=-1", "norm_eps of head a must be a number in [0, 1]"},
      {"a=m,norm=n,norm_eps=nan", "norm_eps of head a must be a number in [0, 1]"},
      {"a=m,logit_scale=0", "other than 0"},
      {"a=m,logit_scale=1x", "logit_scale of head a must be a number"},
      {"a=m,soft_cap=-1", "soft_cap of head a must be a number"},
      {"a=m,soft_cap=inf", "soft_cap of head a must be a number"},
      {"a=m.gguf,layout=vd", "takes no keys"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.text);
    EXPECT_THAT(ParseHeadSpec("LOGITD_HEAD", test.text).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("LOGITD_HEAD"), HasSubstr(test.what))));
  }
}

TEST(HeadSpecTest, NamesAreDistinctAndNotTooMany) {
  EXPECT_THAT(ParseHeadSpecs("--head", {"a=m", "b=m", "a=n"}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("two heads have the name a")));
  std::vector<std::string> many;
  for (int i = 0; i < 17; ++i) many.push_back("h" + std::to_string(i) + "=m");
  EXPECT_THAT(ParseHeadSpecs("--head", many).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 16 times, is given 17 times")));
  EXPECT_TRUE(ParseHeadSpecs("--head", {})->empty());
}

}  // namespace
}  // namespace logitd::server
