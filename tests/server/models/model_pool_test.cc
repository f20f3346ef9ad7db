#include "server/models/model_pool.h"

#include "core/errors.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::HasReason;
using logitd::testing::IsOk;
using ::testing::ElementsAre;

class SilentLink : public RunnerLink {
 public:
  void SendBatch(Batch) override {}
  void SendTokenize(int64_t, std::vector<std::string>, const TokenizationOptions&) override {}
  void SendDetokenize(int64_t, std::vector<std::vector<TokenId>>, bool) override {}
};

std::shared_ptr<AttachedModel> Model(const std::string& name, const std::string& vocab_fingerprint = "v") {
  ModelDescription description;
  description.name = name;
  description.vocab_fingerprint = vocab_fingerprint;
  description.vocab_size = 4;
  return std::make_shared<AttachedModel>(description, RunnerCapabilities{.tokenizer = true}, RunnerCapacity{},
                                         Vocabulary(), std::make_shared<SilentLink>());
}

class ModelPoolTest : public ::testing::Test {
 protected:
  std::vector<std::string> changes_;
  ModelPool pool_{[this](const std::string& name) { changes_.push_back(name); }};
};

TEST_F(ModelPoolTest, FindsByNameAndTheOnlyOneWithout) {
  EXPECT_THAT(pool_.Find(""), HasReason(ErrorReason::kModelUnavailable));
  EXPECT_THAT(pool_.Find("a"), HasReason(ErrorReason::kModelNotFound));
  ASSERT_THAT(pool_.Attach(Model("a")), IsOk());
  EXPECT_THAT(pool_.Find("a"), IsOk());
  EXPECT_THAT(pool_.Find(""), IsOk());
  ASSERT_THAT(pool_.Attach(Model("b")), IsOk());
  EXPECT_THAT(pool_.Find(""), HasReason(ErrorReason::kModelAmbiguous));
  EXPECT_THAT(changes_, ElementsAre("a", "b"));
}

TEST_F(ModelPoolTest, StrangerThatLeftIsForgotten) {
  const auto model = Model("a");
  ASSERT_THAT(pool_.Attach(model), IsOk());
  pool_.Detach(model, errors::RunnerLost("a"));
  EXPECT_THAT(pool_.Find("a"), HasReason(ErrorReason::kModelNotFound));
  EXPECT_THAT(pool_.Attach(Model("a", "another vocabulary")), IsOk());
}

TEST_F(ModelPoolTest, LostModelThatIsExpectedIsUnavailable) {
  pool_.Expect("a");
  const auto model = Model("a");
  ASSERT_THAT(pool_.Attach(model), IsOk());
  pool_.Detach(model, errors::RunnerLost("a"));
  EXPECT_THAT(pool_.Find("a"), HasReason(ErrorReason::kModelUnavailable));
  EXPECT_THAT(model->Tokenize({"x"}, {}, RequestContext()), HasReason(ErrorReason::kRunnerLost));
  EXPECT_THAT(changes_, ElementsAre("a", "a"));
  EXPECT_THAT(pool_.Attach(Model("a", "another vocabulary")), HasReason(ErrorReason::kModelMismatch));
  EXPECT_THAT(pool_.Attach(Model("a")), IsOk());
}

TEST_F(ModelPoolTest, SecondRunnerOfAModelIsRefused) {
  ASSERT_THAT(pool_.Attach(Model("a")), IsOk());
  EXPECT_THAT(pool_.Attach(Model("a")), HasReason(ErrorReason::kModelMismatch));
}

TEST_F(ModelPoolTest, ExpectedModelIsUnavailableUntilItComes) {
  pool_.Expect("a");
  EXPECT_THAT(pool_.Find("a"), HasReason(ErrorReason::kModelUnavailable));
  ASSERT_EQ(pool_.List().size(), 1u);
  EXPECT_EQ(pool_.List()[0].model, nullptr);
}

}  // namespace
}  // namespace logitd::server
