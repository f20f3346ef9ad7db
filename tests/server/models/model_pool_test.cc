#include "server/models/model_pool.h"

#include <chrono>
#include <thread>

#include "core/errors.h"
#include "tests/server/models/runner_doubles.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::HasReason;
using logitd::testing::IsOk;
using ::testing::ElementsAre;

ModelDescription Describe(const std::string& name, const std::string& vocab_fingerprint = "v") {
  ModelDescription description;
  description.name = name;
  description.vocab_fingerprint = vocab_fingerprint;
  description.vocab_size = 4;
  description.precision = "f32";
  return description;
}

class ModelPoolTest : public ::testing::Test {
 protected:
  // A runner of that model attaches; it is `runner_` then, and its model is `model_`.
  absl::Status Attach(const ModelDescription& description, RunnerCapabilities capabilities = {.tokenizer = true}) {
    runner_ =
        std::make_shared<AttachedRunner>("runner", description, RunnerCapacity{}, std::make_shared<CallbackLink>());
    auto model = pool_.Attach(description, capabilities, std::make_shared<const Vocabulary>(vocabulary_), runner_);
    if (!model.ok()) return model.status();
    model_ = *model;
    return absl::OkStatus();
  }
  void Detach() {
    pool_.Detach(model_, runner_);
    runner_->OnLost(errors::RunnerLost(model_->description().name));
  }

  std::vector<std::string> changes_;
  ModelPool pool_{[this](const std::string& model, const std::string&, bool) { changes_.push_back(model); }};
  Vocabulary vocabulary_;
  std::shared_ptr<AttachedRunner> runner_;
  std::shared_ptr<ServedModel> model_;
};

TEST_F(ModelPoolTest, FindsByNameAndTheOnlyOneWithout) {
  EXPECT_THAT(pool_.Find(""), HasReason(ErrorReason::kModelUnavailable));
  EXPECT_THAT(pool_.Find("a"), HasReason(ErrorReason::kModelNotFound));
  ASSERT_THAT(Attach(Describe("a")), IsOk());
  EXPECT_THAT(pool_.Find("a"), IsOk());
  EXPECT_THAT(pool_.Find(""), IsOk());
  ASSERT_THAT(Attach(Describe("b")), IsOk());
  EXPECT_THAT(pool_.Find(""), HasReason(ErrorReason::kModelAmbiguous));
  EXPECT_THAT(std::string(pool_.Find("").status().message()), ::testing::HasSubstr("2 models, \"a\", \"b\""));
  EXPECT_THAT(changes_, ElementsAre("a", "b"));
}

TEST_F(ModelPoolTest, StrangerThatLeftIsForgotten) {
  ASSERT_THAT(Attach(Describe("a")), IsOk());
  Detach();
  EXPECT_THAT(pool_.Find("a"), HasReason(ErrorReason::kModelNotFound));
  EXPECT_THAT(Attach(Describe("a", "another vocabulary")), IsOk());
}

TEST_F(ModelPoolTest, CallsWaitForARunnerThatIsOnItsWayBack) {
  pool_.Expect("a");
  ASSERT_THAT(Attach(Describe("a")), IsOk());
  Detach();
  EXPECT_FALSE(pool_.IsServed("a"));
  const auto model = pool_.Find("a");
  ASSERT_THAT(model, IsOk());
  absl::StatusOr<std::shared_ptr<AttachedRunner>> picked;
  std::thread caller([&] { picked = (*model)->Pick(1, 1, "prompt", RequestContext()); });
  ASSERT_THAT(Attach(Describe("a")), IsOk());
  caller.join();
  ASSERT_THAT(picked, IsOk());
  EXPECT_EQ(*picked, runner_);
  EXPECT_TRUE(pool_.IsServed("a"));
}

TEST_F(ModelPoolTest, CallsDoNotWaitForLongerThanADeadline) {
  pool_.Expect("a");
  ASSERT_THAT(Attach(Describe("a")), IsOk());
  Detach();
  const RequestContext context{{}, std::chrono::system_clock::now() + std::chrono::milliseconds(1)};
  EXPECT_THAT((*pool_.Find("a"))->Pick(1, 1, "prompt", context), HasReason(ErrorReason::kDeadlineExceeded));
}

TEST_F(ModelPoolTest, LostModelThatIsAwayForLongIsUnavailable) {
  pool_.Expect("a");
  ASSERT_THAT(Attach(Describe("a")), IsOk());
  Detach();
  pool_.SetReturning("a", false);
  EXPECT_THAT(pool_.Find("a"), HasReason(ErrorReason::kModelUnavailable));
  EXPECT_THAT(runner_->Tokenize({"x"}, {}, RequestContext()), HasReason(ErrorReason::kRunnerLost));
  EXPECT_THAT(changes_, ElementsAre("a", "a"));
  EXPECT_THAT(Attach(Describe("a", "another vocabulary")), HasReason(ErrorReason::kModelMismatch));
  EXPECT_THAT(Attach(Describe("a")), IsOk());
}

TEST_F(ModelPoolTest, SeveralRunnersServeOneModel) {
  ASSERT_THAT(Attach(Describe("a")), IsOk());
  const auto first_model = model_;
  ASSERT_THAT(Attach(Describe("a")), IsOk());
  EXPECT_EQ(model_, first_model);
  EXPECT_EQ(model_->runner_count(), 2);
  Detach();
  EXPECT_THAT(pool_.Find("a"), IsOk()) << "the other one serves on";
  EXPECT_EQ(model_->runner_count(), 1);
}

TEST_F(ModelPoolTest, RunnersOfOneNameMustBeInterchangeable) {
  ASSERT_THAT(Attach(Describe("a")), IsOk());
  const struct {
    const char* what;
    void (*change)(ModelDescription&);
  } cases[] = {
      {"vocabulary", [](ModelDescription& d) { d.vocab_fingerprint = "w"; }},
      {"vocabulary", [](ModelDescription& d) { d.vocab_size = 5; }},
      {"eos", [](ModelDescription& d) { d.end_token_ids = {1}; }},
      {"eos", [](ModelDescription& d) { d.eos_token_id = 1; }},
      {"bos", [](ModelDescription& d) { d.bos_token_id = 1; }},
      {"bos", [](ModelDescription& d) { d.adds_bos = true; }},
      {"fingerprint", [](ModelDescription& d) { d.model_fingerprint = "x"; }},
      {"precision (f32)", [](ModelDescription& d) { d.precision = "f16"; }},
      {"context length", [](ModelDescription& d) { d.context_length = 7; }},
      {"hidden width", [](ModelDescription& d) { d.hidden_width = 64; }},
  };
  for (const auto& test : cases) {
    ModelDescription other = Describe("a");
    test.change(other);
    const absl::Status status = Attach(other);
    EXPECT_THAT(status, HasReason(ErrorReason::kModelMismatch));
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(test.what));
  }
  EXPECT_THAT(Attach(Describe("a"), RunnerCapabilities{.fork = true, .tokenizer = true}),
              HasReason(ErrorReason::kModelMismatch));
  EXPECT_THAT(Attach(Describe("a")), IsOk());
}

TEST_F(ModelPoolTest, FileMayBeReplacedWhileItsRunnerIsAway) {
  pool_.Expect("a");
  ASSERT_THAT(Attach(Describe("a")), IsOk());
  Detach();
  const auto before = model_;
  ModelDescription other = Describe("a");
  other.model_fingerprint = "new weights";
  ASSERT_THAT(Attach(other), IsOk());
  EXPECT_NE(model_, before) << "what waits for the old weights does not get the new ones";
  EXPECT_THAT(before->Tokenize({"x"}, {}, RequestContext()), HasReason(ErrorReason::kRunnerLost));
}

TEST_F(ModelPoolTest, VocabularyIsAskedForOnce) {
  vocabulary_ = {"abcd", {0, 1, 2, 3, 4}};
  EXPECT_EQ(pool_.KnownVocabulary(Describe("a")), nullptr);
  ASSERT_THAT(Attach(Describe("a")), IsOk());
  EXPECT_NE(pool_.KnownVocabulary(Describe("a")), nullptr);
  EXPECT_EQ(pool_.KnownVocabulary(Describe("a", "w")), nullptr);
  EXPECT_EQ(pool_.KnownVocabulary(Describe("b")), nullptr);
  ModelDescription larger = Describe("a");
  larger.vocab_size = 5;
  EXPECT_EQ(pool_.KnownVocabulary(larger), nullptr) << "a fingerprint is not believed";
}

TEST_F(ModelPoolTest, ModelWithoutTokensBytesIsNoSourceOfThem) {
  ASSERT_THAT(Attach(Describe("a")), IsOk());
  EXPECT_EQ(pool_.KnownVocabulary(Describe("a")), nullptr);
}

TEST_F(ModelPoolTest, ReplacedFileMustHaveTheSameVocabulary) {
  pool_.Expect("a");
  ASSERT_THAT(Attach(Describe("a")), IsOk());
  Detach();
  ModelDescription larger = Describe("a");
  larger.vocab_size = 5;
  EXPECT_THAT(Attach(larger), HasReason(ErrorReason::kModelMismatch));
}

TEST_F(ModelPoolTest, ExpectedModelIsUnavailableUntilItComes) {
  pool_.Expect("a");
  EXPECT_THAT(pool_.Find("a"), HasReason(ErrorReason::kModelUnavailable));
  ASSERT_EQ(pool_.List().size(), 1u);
  EXPECT_EQ(pool_.List()[0].model, nullptr);
}

}  // namespace
}  // namespace logitd::server
