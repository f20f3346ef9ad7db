#include "client/http/stop_names.h"

#include <string>
#include <vector>

#include "client/http/request_error.h"
#include "gmock/gmock.h"

namespace logitd::http {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class StopNamesTest : public ::testing::Test {
 protected:
  StopNamesTest() { model_.add_end_token_ids(2); }

  absl::Status Add(const std::vector<std::string>& texts) {
    stop_.clear_stop_strings();
    for (const std::string& text : texts) stop_.add_stop_strings(text);
    return AddNamedStops(names_, model_, stop_);
  }

  const TokenNames names_ = {{1, "<|im_start|>"}, {2, "<|im_end|>"}, {5, "<x>"}, {6, "<x>"}};
  v1::ModelInfo model_;
  v1::StopCriteria stop_;
};

TEST_F(StopNamesTest, ANameIsATokenToo) {
  ASSERT_TRUE(Add({"\n", "<|im_start|>", "<|im_end|>"}).ok());
  EXPECT_THAT(stop_.stop_token_ids(), ElementsAre(1, 2));
  EXPECT_THAT(stop_.stop_strings(), ElementsAre("\n", "<|im_start|>", "<|im_end|>"));
  // Two tokens of one name, and one that the client named by its id already.
  ASSERT_TRUE(Add({"<x>", "<|im_end|>"}).ok());
  EXPECT_THAT(stop_.stop_token_ids(), UnorderedElementsAre(1, 2, 5, 6));
}

TEST_F(StopNamesTest, ATextWithoutANameStaysAsItIs) {
  ASSERT_TRUE(Add({"<|im_end", "im_end|>", "</x>"}).ok());
  EXPECT_THAT(stop_.stop_token_ids(), IsEmpty());
}

TEST_F(StopNamesTest, ANameWithMoreIsRefusedUnlessTheCompletionEndsThereAnyway) {
  EXPECT_EQ(ApiErrorOf(Add({"a", "<|im_start|>user"})).param, "stop[1]");
  EXPECT_EQ(ApiErrorOf(Add({"\n<|im_end|>"})).param, "stop[0]");
  EXPECT_TRUE(Add({"<|im_end|>\n"}).ok());
  stop_.set_ignore_eos(true);
  EXPECT_EQ(ApiErrorOf(Add({"<|im_end|>\n"})).code, "invalid_value");
}

}  // namespace
}  // namespace logitd::http
