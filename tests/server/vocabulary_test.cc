// A vocabulary that the runner's base sends: a runner that gives its control tokens bytes attaches, and they are in no
// text.
#include <string>

#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::kFakeBos;
using logitd::testing::Parse;

class VocabularyTest : public logitd::testing::InProcessServer {};

TEST_F(VocabularyTest, ARunnerThatNamesItsControlTokensAttaches) {
  Attach({.names_control_tokens = true});
  v1::TokenizeResponse tokenized;
  ASSERT_TRUE(models_
                  ->Tokenize(Context().get(),
                             Parse<v1::TokenizeRequest>(
                                 "texts: \"the cat\" token_bytes: true options { add_special_tokens: true }"),
                             &tokenized)
                  .ok());
  ASSERT_EQ(tokenized.texts(0).token_ids(0), kFakeBos);
  EXPECT_EQ(tokenized.texts(0).token_bytes(0), "");
  EXPECT_EQ(tokenized.texts(0).token_bytes(1), "the");
}

}  // namespace
}  // namespace logitd::server
