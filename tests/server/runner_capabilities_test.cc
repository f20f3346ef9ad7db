// A runner is asked only for what it has announced: every kind of call, against runners that announce everything, all
// but one thing, one thing alone, or nothing.
#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "client/runner/model_runner.h"
#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::FakeModel;
using logitd::testing::FakeModelOptions;
using logitd::testing::Parse;

// Names of fields of RunnerCapabilities.
using Names = std::set<std::string>;
const Names& All() {
  static const auto& all = *new Names{
      "fork",      "trim",         "records_numerics_version", "choice_numerics_version", "tokenizer", "vocabulary",
      "isolation", "chat_template"};
  return all;
}

// Notes what it is asked for.
class NotingModel final : public FakeModel {
 public:
  explicit NotingModel(const Names& announced)
      : FakeModel({.tokenizer = announced.contains("tokenizer"),
                   .chat_template = announced.contains("chat_template"),
                   .records = announced.contains("records_numerics_version"),
                   .fork = announced.contains("fork"),
                   .trim = announced.contains("trim"),
                   .isolation_threads = announced.contains("isolation") ? std::optional(1) : std::nullopt}),
        has_vocabulary_(announced.contains("vocabulary")) {}

  v1::ModelInfo Info() const override {
    // It is its own vocabulary that the fingerprint is made of.
    is_info_ = true;
    v1::ModelInfo info = FakeModel::Info();
    is_info_ = false;
    return info;
  }
  v1::RunnerCapabilities Capabilities() const override {
    v1::RunnerCapabilities capabilities = FakeModel::Capabilities();
    capabilities.set_vocabulary(has_vocabulary_);
    return capabilities;
  }
  v1::Vocabulary Vocabulary() const override {
    if (!is_info_) Note("vocabulary");
    return FakeModel::Vocabulary();
  }
  void Evaluate(const v1::RunBatch& batch, runner::RowSink& sink) override {
    for (const v1::SequenceWork& work : batch.work()) Look(work);
    FakeModel::Evaluate(batch, sink);
  }
  absl::StatusOr<std::vector<TokenId>> Tokenize(const std::string& text,
                                                const runner::TokenizeOptions& options) override {
    Note("tokenizer");
    return FakeModel::Tokenize(text, options);
  }
  absl::StatusOr<v1::RenderChatResult> RenderChat(const v1::Chat& chat, const runner::TextTask& task) override {
    Note("chat_template");
    return FakeModel::RenderChat(chat, task);
  }
  absl::StatusOr<std::string> Detokenize(std::span<const TokenId> token_ids, bool render_special_tokens) override {
    Note("tokenizer");
    return FakeModel::Detokenize(token_ids, render_special_tokens);
  }

  Names asked() const {
    std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  void Note(const std::string& capability) const {
    std::lock_guard lock(mutex_);
    asked_.insert(capability);
  }

  void Look(const v1::SequenceWork& work) {
    int64_t& length = lengths_[work.sequence_id()];
    if (work.has_fork_from_sequence_id()) {
      Note("fork");
      length = lengths_[work.fork_from_sequence_id()];
    }
    if (work.isolated()) Note("isolation");
    if (work.has_keep_prefix_length()) {
      if (work.keep_prefix_length() < length) Note("trim");
      length = work.keep_prefix_length();
    }
    length += work.append_token_ids_size();
    for (const v1::RowRequest& request : work.rows()) {
      switch (request.form_case()) {
        case v1::RowRequest::kLogits:
          // Announced is F32 alone.
          if (request.logits().dtype() != v1::LOGITS_DTYPE_F32 &&
              request.logits().dtype() != v1::LOGITS_DTYPE_UNSPECIFIED) {
            Note("a dtype that is not in dtypes");
          }
          break;
        case v1::RowRequest::kRecords:
          Note("records_numerics_version");
          break;
        case v1::RowRequest::kChoice:
          Note("choice_numerics_version");
          break;
        default:
          Note("a form of rows that has no capability: " + request.ShortDebugString());
      }
    }
    // What a later version adds needs a look here, too.
    if (!work.GetReflection()->GetUnknownFields(work).empty()) Note("unknown fields");
  }

  const bool has_vocabulary_;
  mutable std::mutex mutex_;
  mutable std::atomic<bool> is_info_ = false;
  mutable Names asked_;
  std::map<int64_t, int64_t> lengths_;
};

class RunnerCapabilitiesTest : public logitd::testing::InProcessServer {
 protected:
  // What a runner that announces these is asked for by clients that ask for everything.
  Names AskedOf(const Names& announced) {
    Start({});
    NotingModel model(announced);
    absl::Status end;
    std::jthread runner([&](std::stop_token stop) {
      end = runner::ServeModel({.server_address = server_->runner_address(),
                                .records = announced.contains("records_numerics_version"),
                                .choice = announced.contains("choice_numerics_version")},
                               model, stop);
    });
    EXPECT_TRUE(server_->WaitForModel("fake", [] { return false; }));
    AskForEverything();
    runner.request_stop();
    runner.join();
    EXPECT_TRUE(end.ok()) << end;
    return model.asked();
  }

  // Each call is served, or refused because the runner cannot do it: nothing else goes wrong.
  void Expect(const grpc::Status& status) {
    EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::FAILED_PRECONDITION)
        << status.error_code() << ": " << status.error_message();
  }

  void AskForEverything() {
    for (
        const char* request :
        {R"(prompt { tokens { token_ids: [5, 9] } } n: 3 sampling { temperature: 0.7 } stop { max_tokens: 5 })",
         R"(prompt { tokens { token_ids: 5 } } sampling { temperature: 0 } stop { max_tokens: 3 } record { top_n: 3 })",
         R"(prompt { text: "the cat" } sampling { temperature: 1.3 top_p: 0.9 } stop { max_tokens: 5 })"}) {
      std::vector<v1::GenerateResponse> responses;
      Expect(Generate(Parse<v1::GenerateRequest>(request), &responses));
    }
    const std::string tokens =
        R"(context { tokens { token_ids: [5, 9, 12, 7] } } continuations { tokens { token_ids: [7, 8] } } continuations { tokens { token_ids: [7, 9, 3] } })";
    const std::string text = R"(context { text: "the c" } continuations { text: "at" } continuations { text: "the" })";
    for (const std::string& request :
         {"items { " + tokens + " }", "items { " + tokens + " } sampling { temperature: 0.5 }",
          "items { " + tokens + " } record { top_n: 2 rank: true entropy: true }",
          "items { " + tokens + " } evaluation { reproducible: true }", "items { " + text + " }"}) {
      std::vector<v1::ScoreResponse> responses;
      Expect(Score(request, &responses));
    }
    v1::TokenizeRequest tokenize;
    tokenize.add_texts("the cat");
    tokenize.set_token_bytes(true);
    v1::TokenizeResponse tokenized;
    Expect(models_->Tokenize(Context().get(), tokenize, &tokenized));
    v1::DetokenizeRequest detokenize;
    detokenize.add_tokens()->add_token_ids(5);
    v1::DetokenizeResponse detokenized;
    Expect(models_->Detokenize(Context().get(), detokenize, &detokenized));
    v1::RenderChatResponse rendered;
    Expect(models_->RenderChat(Context().get(),
                               Parse<v1::RenderChatRequest>(R"(chat { messages { role: "user" content: "the cat" } })"),
                               &rendered));
  }
};

std::string Show(const Names& capabilities) {
  std::string text;
  for (const std::string& capability : capabilities) text += (text.empty() ? "" : ", ") + capability;
  return text.empty() ? "nothing" : text;
}

TEST_F(RunnerCapabilitiesTest, ARunnerIsAskedOnlyForWhatItAnnounces) {
  // Else the rest shows nothing.
  EXPECT_EQ(AskedOf(All()), All());
  std::vector<Names> cases = {{}};
  for (const std::string& capability : All()) {
    cases.push_back({capability});
    cases.push_back(All());
    cases.back().erase(capability);
  }
  for (const Names& announced : cases) {
    SCOPED_TRACE("announced: " + Show(announced));
    for (const std::string& asked : AskedOf(announced)) EXPECT_TRUE(announced.contains(asked)) << asked;
  }
}

// A capability that is added has a case above.
TEST(RunnerCapabilitiesTableTest, IsComplete) {
  Names fields;
  const auto& descriptor = *v1::RunnerCapabilities::descriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) fields.insert(descriptor.field(i)->name());
  Names looked_at = All();
  // Types of rows: every request for logits is looked at. What tokens spell is a promise, and lets nothing be asked
  // for.
  looked_at.insert({"dtypes", "tokens_spell_text"});
  EXPECT_EQ(fields, looked_at);
  // Nor is there a kind of message that the cases above do not know.
  Names kinds;
  const auto& kind = *v1::AttachResponse::descriptor()->FindOneofByName("kind");
  for (int i = 0; i < kind.field_count(); ++i) kinds.insert(kind.field(i)->name());
  EXPECT_EQ(kinds, (Names{"accepted", "batch", "cancel", "tokenize", "detokenize", "heartbeat", "render_chat"}));
}

}  // namespace
}  // namespace logitd::server
