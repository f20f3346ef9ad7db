#include "server/models/attached_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/errors.h"
#include "server/models/served_model.h"
#include "server/models/text_outcomes.h"
#include "tests/server/models/runner_doubles.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using ::testing::ElementsAre;
using testing::HasReason;

// Remembers what it is asked, for a test that answers.
class QuietLink : public CallbackLink {
 public:
  void SendTokenize(int64_t call_id, std::vector<std::string> texts, const TokenizationOptions&) override {
    std::lock_guard lock(mutex_);
    calls_[call_id] = std::move(texts);
    changed_.notify_all();
  }
  void SendCancelCall(int64_t call_id) override {
    std::lock_guard lock(mutex_);
    cancelled_.insert(call_id);
    changed_.notify_all();
  }

  std::vector<std::string> AwaitCall(int64_t call_id) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return calls_.contains(call_id); });
    return calls_[call_id];
  }
  void AwaitCancel(int64_t call_id) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return cancelled_.contains(call_id); });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<int64_t, std::vector<std::string>> calls_;
  std::set<int64_t> cancelled_;
};

class AttachedRunnerTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::vector<std::vector<TokenId>>> Tokenize(const std::string& text, const RequestContext& context) {
    return runner_->Tokenize({text}, {}, context);
  }

  const ModelDescription description_ = {.name = "m", .vocab_size = 100, .context_length = 10};
  const std::shared_ptr<QuietLink> link_ = std::make_shared<QuietLink>();
  const std::shared_ptr<AttachedRunner> runner_ =
      std::make_shared<AttachedRunner>("r", description_, RunnerCapacity{}, link_);
  const std::string long_text_ = std::string(1 << 20, 'a');
};

TEST_F(AttachedRunnerTest, ShortCallsHaveRoomWhileLongOnesWait) {
  std::vector<std::jthread> callers;
  for (int i = 0; i < 20; ++i) callers.emplace_back([this] { (void)Tokenize(long_text_, RequestContext()); });
  link_->AwaitCall(8);  // As many as are sent.
  callers.emplace_back([this] { (void)Tokenize("short", RequestContext()); });
  EXPECT_THAT(link_->AwaitCall(9), ElementsAre("short"));
  runner_->OnLost(errors::RunnerLost("m"));
}

TEST_F(AttachedRunnerTest, CallThatIsGivenUpIsCancelledInTheRunner) {
  const RequestContext context{.deadline = std::chrono::system_clock::now()};
  EXPECT_THAT(Tokenize(long_text_, context), HasReason(ErrorReason::kDeadlineExceeded));
  link_->AwaitCancel(1);
  // Its answer may still come, and makes room.
  EXPECT_THAT(runner_->OnTokenized(1, errors::Cancelled()), testing::IsOk());
}

TEST_F(AttachedRunnerTest, WrongAnswerIsFollowedByTheLossThatEndsTheCall) {
  std::jthread caller([this] { EXPECT_THAT(Tokenize("a", RequestContext()), HasReason(ErrorReason::kRunnerLost)); });
  link_->AwaitCall(1);
  EXPECT_THAT(runner_->OnTokenized(1, std::vector<std::vector<TokenId>>{{100}}),
              HasReason(ErrorReason::kRunnerProtocol));
  runner_->OnLost(errors::RunnerLost("m"));
}

// Each call is woken by its own answer, or its own turn: 200 of them woke each other 20,000 times.
TEST_F(AttachedRunnerTest, WaitingCallsSleep) {
  const auto sleeps = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw;
  };
  constexpr int kCalls = 200;
  std::vector<std::jthread> callers;
  for (int i = 0; i < kCalls; ++i) {
    callers.emplace_back([this] { EXPECT_THAT(Tokenize("a", RequestContext()), testing::IsOk()); });
  }
  link_->AwaitCall(16);  // As many as are sent.
  const auto before = sleeps();
  for (int64_t call_id = 1; call_id <= kCalls; ++call_id) {
    link_->AwaitCall(call_id);
    EXPECT_THAT(runner_->OnTokenized(call_id, std::vector<std::vector<TokenId>>{{1}}), testing::IsOk());
  }
  callers.clear();
  EXPECT_LT(sleeps() - before, 20 * kCalls);
}

TEST_F(AttachedRunnerTest, TokenizerMayTakeLongerForLongTexts) {
  using std::chrono::minutes;
  std::jthread caller([this] { (void)Tokenize(std::string(4 << 20, 'a'), RequestContext()); });
  link_->AwaitCall(1);
  const auto now = std::chrono::steady_clock::now();
  EXPECT_FALSE(runner_->IsOverdue(now + minutes(6)));
  EXPECT_TRUE(runner_->IsOverdue(now + minutes(7)));
  runner_->OnLost(errors::RunnerLost("m"));
}

TEST_F(AttachedRunnerTest, TextThatEndsTheTokenizerDoesNotEndTheOthers) {
  ServedModel model(description_, {.tokenizer = true}, std::make_shared<const Vocabulary>());
  model.Add(runner_);
  const RequestContext context;
  TextOutcomes texts(model, context);
  absl::StatusOr<std::vector<TextOutcome>> outcomes;
  {
    std::jthread caller([&] { outcomes = texts.Tokenize({"a", "bad", "c", "odd", "e"}, {}); });
    // Those before one that fails are asked for again, and once only.
    EXPECT_THAT(link_->AwaitCall(1), ElementsAre("a", "bad", "c", "odd", "e"));
    EXPECT_THAT(runner_->OnTokenized(1, errors::TokenizerFailed("texts[1]", 3)), testing::IsOk());
    EXPECT_THAT(link_->AwaitCall(2), ElementsAre("a"));
    EXPECT_THAT(runner_->OnTokenized(2, std::vector<std::vector<TokenId>>{{1}}), testing::IsOk());
    EXPECT_THAT(link_->AwaitCall(3), ElementsAre("c", "odd", "e"));
    EXPECT_THAT(runner_->OnTokenized(3, errors::MalformedMessage("texts[1]", "what")), testing::IsOk());
    EXPECT_THAT(link_->AwaitCall(4), ElementsAre("c"));
    EXPECT_THAT(runner_->OnTokenized(4, std::vector<std::vector<TokenId>>{{2, 3}}), testing::IsOk());
    EXPECT_THAT(link_->AwaitCall(5), ElementsAre("e"));
    EXPECT_THAT(runner_->OnTokenized(5, std::vector<std::vector<TokenId>>{{}}), testing::IsOk());
  }
  ASSERT_THAT(outcomes, testing::IsOk());
  ASSERT_EQ(outcomes->size(), 5u);
  EXPECT_THAT(*(*outcomes)[0], ElementsAre(1));
  EXPECT_THAT((*outcomes)[1], HasReason(ErrorReason::kTokenizerFailed));
  EXPECT_THAT(*(*outcomes)[2], ElementsAre(2, 3));
  EXPECT_THAT((*outcomes)[3], HasReason(ErrorReason::kMalformedMessage));
  EXPECT_THAT(*(*outcomes)[4], ElementsAre());
}

TEST_F(AttachedRunnerTest, ErrorThatIsOfNoTextEndsTheCall) {
  ServedModel model(description_, {.tokenizer = true}, std::make_shared<const Vocabulary>());
  model.Add(runner_);
  const RequestContext context;
  TextOutcomes texts(model, context);
  int64_t call_id = 0;
  for (const absl::Status& status :
       {errors::Internal("x"), errors::MalformedMessage("texts[2]", "of two"), errors::MalformedMessage("texts", "x"),
        errors::MalformedMessage("texts[1]x", "x"), errors::TokenizerUnavailable("m")}) {
    absl::StatusOr<std::vector<TextOutcome>> outcomes;
    {
      std::jthread caller([&] { outcomes = texts.Tokenize({"a", "b"}, {}); });
      link_->AwaitCall(++call_id);
      EXPECT_THAT(runner_->OnTokenized(call_id, status), testing::IsOk());
    }
    EXPECT_EQ(outcomes.status().message(), status.message());
  }
}

}  // namespace
}  // namespace logitd::server
