#include "client/runner/text_calls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/errors.h"

namespace logitd::runner {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

// A tokenizer whose token of a text is its length; `hook` may block or fail it.
class LanedModel : public Model {
 public:
  using Hook = std::function<absl::Status(const std::string& text, const TextTask& task)>;
  LanedModel(std::vector<int64_t> lanes, Hook hook) : lanes_(std::move(lanes)), hook_(std::move(hook)) {}

  v1::ModelInfo Info() const override { return {}; }
  v1::RunnerCapabilities Capabilities() const override { return {}; }
  v1::RunnerCapacity Capacity() const override { return {}; }
  v1::Vocabulary Vocabulary() const override { return {}; }
  void Evaluate(const v1::RunBatch&, RowSink&) override {}
  std::vector<int64_t> TextLanes() const override { return lanes_; }
  absl::StatusOr<std::vector<TokenId>> Tokenize(const std::string& text, const TokenizeOptions&) override {
    return std::vector<TokenId>{static_cast<TokenId>(text.size())};
  }
  absl::StatusOr<std::vector<TokenId>> TokenizeInLane(const std::string& text, const TokenizeOptions& options,
                                                      const TextTask& task) override {
    if (absl::Status status = hook_(text, task); !status.ok()) return status;
    return Tokenize(text, options);
  }
  absl::StatusOr<v1::RenderChatResult> RenderChat(const v1::Chat& chat, const TextTask& task) override {
    if (absl::Status status = hook_(chat.messages(0).content(), task); !status.ok()) return status;
    v1::RenderChatResult result;
    result.set_text(chat.messages(0).content());
    return result;
  }
  absl::StatusOr<std::string> Detokenize(std::span<const TokenId> ids, bool) override {
    return std::string(ids.size(), 'x');
  }

 private:
  const std::vector<int64_t> lanes_;
  const Hook hook_;
};

// Answers as they come.
class Answers {
 public:
  void operator()(const v1::AttachRequest& answer) {
    std::lock_guard lock(mutex_);
    answers_.push_back(answer);
    changed_.notify_all();
  }
  v1::AttachRequest Number(size_t index) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return answers_.size() > index; });
    return answers_[index];
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<v1::AttachRequest> answers_;
};

// Opens once.
class Door {
 public:
  void Open() {
    std::lock_guard lock(mutex_);
    is_open_ = true;
    changed_.notify_all();
  }
  void Pass() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return is_open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_open_ = false;
};

v1::AttachResponse TokenizeCall(int64_t id, const std::vector<std::string>& texts) {
  v1::AttachResponse message;
  message.mutable_tokenize()->set_call_id(id);
  for (const std::string& text : texts) message.mutable_tokenize()->add_texts(text);
  return message;
}

v1::AttachResponse DetokenizeCall(int64_t id) {
  v1::AttachResponse message;
  message.mutable_detokenize()->set_call_id(id);
  message.mutable_detokenize()->add_tokens()->add_token_ids(1);
  return message;
}

TEST(TextCallsTest, ShortCallsPassLongOnes) {
  Door door;
  LanedModel model({4}, [&](const std::string& text, const TextTask&) {
    if (text.size() > 4) door.Pass();
    return absl::OkStatus();
  });
  Answers answers;
  TextCalls calls(model, 10, std::ref(answers));
  calls.Push(TokenizeCall(1, {"long text"}));
  calls.Push(TokenizeCall(2, {"ab", "c"}));
  EXPECT_EQ(answers.Number(0).tokenized().call_id(), 2);
  EXPECT_THAT(answers.Number(0).tokenized().tokens(0).token_ids(), ElementsAre(2));
  EXPECT_THAT(answers.Number(0).tokenized().tokens(1).token_ids(), ElementsAre(1));
  calls.Push(DetokenizeCall(3));
  EXPECT_EQ(answers.Number(1).detokenized().call_id(), 3);
  door.Open();
  EXPECT_EQ(answers.Number(2).tokenized().call_id(), 1);
}

TEST(TextCallsTest, TextThatTakesLongMovesToTheNextLaneWithWhatIsDone) {
  std::vector<std::pair<std::string, int>> tried;
  LanedModel model({100, 200}, [&](const std::string& text, const TextTask& task) {
    tried.emplace_back(text, task.lane);
    return text == "slow" && task.lane < 2 ? absl::AbortedError("") : absl::OkStatus();
  });
  Answers answers;
  TextCalls calls(model, 10, std::ref(answers));
  calls.Push(TokenizeCall(1, {"a", "slow", "bcd"}));
  const v1::TokenizeResult result = answers.Number(0).tokenized();
  ASSERT_EQ(result.tokens_size(), 3);
  EXPECT_THAT(result.tokens(2).token_ids(), ElementsAre(3));
  EXPECT_THAT(tried, ElementsAre(Pair("a", 0), Pair("slow", 0), Pair("slow", 1), Pair("slow", 2), Pair("bcd", 2)));
}

v1::AttachResponse RenderChatCall(int64_t id, const std::string& content) {
  v1::AttachResponse message;
  message.mutable_render_chat()->set_call_id(id);
  message.mutable_render_chat()->mutable_chat()->add_messages()->set_content(content);
  return message;
}

TEST(TextCallsTest, ConversationsTakeTheLanesOfTheirSizeAndMoveOn) {
  std::vector<std::pair<std::string, int>> tried;
  LanedModel model({100, 200}, [&](const std::string& text, const TextTask& task) {
    tried.emplace_back(text, task.lane);
    if (text == "bad") return errors::ChatTemplateFailed(task.field, "it is bad");
    return text == "slow" && task.lane < 2 ? absl::AbortedError("") : absl::OkStatus();
  });
  Answers answers;
  TextCalls calls(model, 10, std::ref(answers));
  calls.Push(RenderChatCall(4, "slow"));
  EXPECT_EQ(answers.Number(0).rendered_chat().call_id(), 4);
  EXPECT_EQ(answers.Number(0).rendered_chat().text(), "slow");
  calls.Push(RenderChatCall(5, "bad"));
  EXPECT_EQ(answers.Number(1).rendered_chat().call_id(), 5);
  EXPECT_EQ(answers.Number(1).rendered_chat().error().reason(), v1::ERROR_REASON_CHAT_TEMPLATE_FAILED);
  const std::string longer(150, 'a');
  calls.Push(RenderChatCall(6, longer));
  EXPECT_EQ(answers.Number(2).rendered_chat().text(), longer);
  EXPECT_THAT(tried, ElementsAre(Pair("slow", 0), Pair("slow", 1), Pair("slow", 2), Pair("bad", 0), Pair(longer, 1)));
}

TEST(TextCallsTest, ErrorNamesTheText) {
  LanedModel model({100}, [](const std::string& text, const TextTask& task) {
    return text == "bad" ? errors::TokenizerFailed(task.field, 3) : absl::OkStatus();
  });
  Answers answers;
  TextCalls calls(model, 10, std::ref(answers));
  calls.Push(TokenizeCall(1, {"a", "bad"}));
  const v1::TokenizeResult result = answers.Number(0).tokenized();
  EXPECT_THAT(result.tokens(), IsEmpty());
  EXPECT_EQ(result.error().reason(), v1::ERROR_REASON_TOKENIZER_FAILED);
  EXPECT_EQ(result.error().code(), static_cast<int>(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(result.error().field(), "texts[1]");
}

TEST(TextCallsTest, ErrorOfAModelThatDoesNotKnowTheTextsPlaceNamesIt) {
  LanedModel model({100}, [](const std::string& text, const TextTask&) {
    if (text == "odd") return absl::InvalidArgumentError("no token for this");
    return text == "bad" ? errors::MalformedMessage("texts", "no token for byte 66") : absl::OkStatus();
  });
  Answers answers;
  TextCalls calls(model, 10, std::ref(answers));
  calls.Push(TokenizeCall(1, {"a", "bad"}));
  v1::Error error = answers.Number(0).tokenized().error();
  EXPECT_EQ(error.reason(), v1::ERROR_REASON_MALFORMED_MESSAGE);
  EXPECT_EQ(error.field(), "texts[1]");
  EXPECT_EQ(error.message(), "texts[1]: no token for byte 66");
  calls.Push(TokenizeCall(2, {"a", "b", "odd"}));
  error = answers.Number(1).tokenized().error();
  EXPECT_EQ(error.field(), "texts[2]");
  EXPECT_EQ(error.message(), "texts[2]: no token for this");
}

TEST(TextCallsTest, CancelledCallsEndWhetherTheyRunOrWait) {
  Door begun;
  LanedModel model({4}, [&](const std::string&, const TextTask& task) {
    begun.Open();
    while (task.check_wanted().ok()) std::this_thread::yield();
    return task.check_wanted();
  });
  Answers answers;
  TextCalls calls(model, 10, std::ref(answers));
  calls.Push(TokenizeCall(1, {"long text"}));
  calls.Push(TokenizeCall(2, {"long text, too"}));
  begun.Pass();
  google::protobuf::RepeatedField<int64_t> ids;
  for (const int64_t id : {1, 2, 7}) ids.Add(id);
  calls.Cancel(ids);
  EXPECT_EQ(answers.Number(0).tokenized().error().reason(), v1::ERROR_REASON_CANCELLED);
  EXPECT_EQ(answers.Number(1).tokenized().error().reason(), v1::ERROR_REASON_CANCELLED);
}

TEST(TextCallsTest, CloseGivesUpWhatRuns) {
  Door begun;
  LanedModel model({4}, [&](const std::string&, const TextTask& task) {
    begun.Open();
    while (task.check_wanted().ok()) std::this_thread::yield();
    return task.check_wanted();
  });
  Answers answers;
  {
    TextCalls calls(model, 10, std::ref(answers));
    calls.Push(TokenizeCall(1, {"long text"}));
    begun.Pass();
  }  // Ends: the test would hang.
}

// A model that knows nothing of lanes is never called from two threads at once.
TEST(TextCallsTest, WithoutLanesCallsAreAnsweredInOrder) {
  LanedModel model({}, [](const std::string&, const TextTask&) { return absl::OkStatus(); });
  Answers answers;
  TextCalls calls(model, 10, std::ref(answers));
  calls.Push(TokenizeCall(1, {std::string(1 << 20, 'a')}));
  calls.Push(DetokenizeCall(2));
  calls.Push(TokenizeCall(3, {"a"}));
  EXPECT_EQ(answers.Number(0).tokenized().call_id(), 1);
  EXPECT_EQ(answers.Number(1).detokenized().call_id(), 2);
  EXPECT_EQ(answers.Number(2).tokenized().call_id(), 3);
}

}  // namespace
}  // namespace logitd::runner
