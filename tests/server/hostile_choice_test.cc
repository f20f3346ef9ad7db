// Runners that choose, and say what no decoder would choose, or what they were not asked: each is found, and ends its
// attachment or the completion alone; and what the server sends ahead.
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "client/runner/decoders.h"
#include "core/limits.h"
#include "logitd/v1/model_runner_service.grpc.pb.h"
#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::FakeModel;
using logitd::testing::FakeRow;
using logitd::testing::kFakeVocabSize;
using logitd::testing::Parse;

class HostileChoiceTest : public logitd::testing::InProcessServer {
 protected:
  using Stream = grpc::ClientReaderWriter<v1::AttachRequest, v1::AttachResponse>;

  void AttachRaw() {
    const FakeModel model;
    stub_ = v1::ModelRunnerService::NewStub(
        grpc::CreateChannel(server_->runner_address(), grpc::InsecureChannelCredentials()));
    context_ = Context();
    stream_ = stub_->Attach(context_.get());
    v1::AttachRequest request;
    *request.mutable_hello()->mutable_model() = model.Info();
    *request.mutable_hello()->mutable_capabilities() = model.Capabilities();
    request.mutable_hello()->mutable_capabilities()->set_choice_numerics_version(kNumericsVersion);
    *request.mutable_hello()->mutable_capacity() = model.Capacity();
    request.mutable_hello()->set_api_major_version(kApiMajorVersion);
    ASSERT_TRUE(stream_->Write(request));
    request.Clear();
    *request.mutable_vocabulary() = model.Vocabulary();
    ASSERT_TRUE(stream_->Write(request));
    ASSERT_TRUE(server_->WaitForModel("fake", [] { return false; }));
    decoders_ = std::make_unique<runner::Decoders>(kFakeVocabSize);
  }

  void Call(const std::string& request) {
    caller_ = std::thread([this, request] {
      responses_.clear();
      status_ = Generate(Parse<v1::GenerateRequest>(request), &responses_);
    });
  }

  // The next batch; a batch without work if the stream has ended.
  v1::RunBatch Next() {
    v1::AttachResponse response;
    while (stream_->Read(&response)) {
      if (response.has_batch()) return response.batch();
    }
    return {};
  }

  // What a good runner answers: the first entry's choice from the row after `tokens`.
  v1::AttachRequest Answer(const v1::RunBatch& batch, const std::vector<TokenId>& tokens) {
    v1::AttachRequest request;
    request.mutable_output()->set_batch_id(batch.batch_id());
    request.mutable_output()->set_final(true);
    v1::SequenceOutput& output = *request.mutable_output()->add_outputs();
    output.set_sequence_id(batch.work(0).sequence_id());
    output.set_row_count(1);
    const auto choice = decoders_->Choose(batch.work(0).rows(0).choice(), FakeRow(tokens));
    EXPECT_TRUE(choice.ok()) << choice.status();
    if (choice.ok()) *output.mutable_chosen() = *choice;
    return request;
  }

  grpc::Status EndOfStream() {
    stream_->WritesDone();
    v1::AttachResponse response;
    while (stream_->Read(&response)) {
    }
    return stream_->Finish();
  }

  std::unique_ptr<v1::ModelRunnerService::Stub> stub_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<runner::Decoders> decoders_;
  std::thread caller_;
  grpc::Status status_;
  std::vector<v1::GenerateResponse> responses_;
};

constexpr char kRequest[] = R"(prompt { tokens { token_ids: [5, 6] } }
    sampling { temperature: 1.3 seed: 9 banned_tokens { ids { token_ids: [2] } } }
    stop { max_tokens: 8 min_tokens: 8 stop_token_ids: [3] } record { rank: true draw: true })";

TEST_F(HostileChoiceTest, WhatNoDecoderChoosesIsFound) {
  const struct {
    const char* name;
    std::function<void(v1::SequenceOutput&)> change;
    // Of the attachment, and of the client's call.
    const char* attachment;
    const char* call;
  } cases[] = {
      {"nothing", [](v1::SequenceOutput& o) { o.clear_chosen(); }, "RUNNER_PROTOCOL of ", "RUNNER_LOST of "},
      {"records instead", [](v1::SequenceOutput& o) { o.mutable_records()->add_log_sum_exps(1), o.clear_chosen(); },
       "RUNNER_PROTOCOL of ", "RUNNER_LOST of "},
      {"of another request", [](v1::SequenceOutput& o) { o.set_request_index(1); }, "RUNNER_PROTOCOL of ",
       "RUNNER_LOST of "},
      {"of no request", [](v1::SequenceOutput& o) { o.set_request_index(-1); }, "RUNNER_PROTOCOL of ",
       "RUNNER_LOST of "},
      {"two rows", [](v1::SequenceOutput& o) { o.set_row_count(2); }, "RUNNER_PROTOCOL of ", "RUNNER_LOST of "},
      {"the second row", [](v1::SequenceOutput& o) { o.set_first_row(1); }, "RUNNER_PROTOCOL of ", "RUNNER_LOST of "},
      {"of another sequence", [](v1::SequenceOutput& o) { o.set_sequence_id(o.sequence_id() + 7); },
       "RUNNER_PROTOCOL of ", "RUNNER_LOST of "},
      {"skipped", [](v1::SequenceOutput& o) { o.set_skipped(true); }, "RUNNER_PROTOCOL of ", "RUNNER_LOST of "},
      {"no token of the vocabulary",
       [](v1::SequenceOutput& o) { o.mutable_chosen()->mutable_token()->set_token_id(kFakeVocabSize); },
       "RUNNER_PROTOCOL of ", "RUNNER_LOST of "},
      {"NaN", [](v1::SequenceOutput& o) { o.mutable_chosen()->mutable_token()->set_model_log_prob(std::nan("")); },
       "RUNNER_PROTOCOL of ", "RUNNER_LOST of "},
      {"banned", [](v1::SequenceOutput& o) { o.mutable_chosen()->mutable_token()->set_token_id(2); }, "OK",
       "MODEL_OUTPUT_INVALID of "},
      {"a stop token before min_tokens",
       [](v1::SequenceOutput& o) { o.mutable_chosen()->mutable_token()->set_token_id(3); }, "OK",
       "MODEL_OUTPUT_INVALID of "},
      {"another position", [](v1::SequenceOutput& o) { o.mutable_chosen()->mutable_token()->set_position(1); }, "OK",
       "MODEL_OUTPUT_INVALID of "},
      {"no rank", [](v1::SequenceOutput& o) { o.mutable_chosen()->mutable_token()->clear_rank(); }, "OK",
       "MODEL_OUTPUT_INVALID of "},
      {"an entropy that nobody asked for",
       [](v1::SequenceOutput& o) { o.mutable_chosen()->mutable_token()->set_model_entropy(1); }, "OK",
       "MODEL_OUTPUT_INVALID of "},
      {"another draw",
       [](v1::SequenceOutput& o) {
         v1::DrawRecord& draw = *o.mutable_chosen()->mutable_token()->mutable_draw();
         draw.set_uniform(draw.uniform() ^ 1);
       },
       "OK", "MODEL_OUTPUT_INVALID of "},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    AttachRaw();
    Call(kRequest);
    const v1::RunBatch batch = Next();
    ASSERT_EQ(batch.work_size(), 1);
    v1::AttachRequest answer = Answer(batch, {5, 6});
    test.change(*answer.mutable_output()->mutable_outputs(0));
    stream_->Write(answer);
    caller_.join();
    EXPECT_EQ(Describe(status_), test.call);
    EXPECT_EQ(Describe(EndOfStream()), test.attachment);
  }
}

TEST_F(HostileChoiceTest, NoTokenIsChosenOnlyWhereSomethingExcludesTokens) {
  const std::pair<const char*, const char*> cases[] = {
      {"prompt { tokens { token_ids: 5 } } stop { max_tokens: 2 }", "MODEL_OUTPUT_INVALID of "},
      {"prompt { tokens { token_ids: 5 } } stop { max_tokens: 2 } sampling { banned_tokens { ids { token_ids: 2 } } }",
       "OK"}};
  for (const auto& [request, call] : cases) {
    AttachRaw();
    Call(request);
    const v1::RunBatch first = Next();
    const v1::RunBatch second = Next();
    ASSERT_EQ(second.work_size(), 1);
    v1::AttachRequest answer = Answer(first, {5});
    answer.mutable_output()->mutable_outputs(0)->mutable_chosen()->clear_token();
    stream_->Write(answer);
    // What ran ahead from it is skipped.
    v1::AttachRequest skipped;
    skipped.mutable_output()->set_batch_id(second.batch_id());
    skipped.mutable_output()->set_final(true);
    skipped.mutable_output()->add_outputs()->set_sequence_id(second.work(0).sequence_id());
    skipped.mutable_output()->mutable_outputs(0)->set_skipped(true);
    stream_->Write(skipped);
    caller_.join();
    EXPECT_EQ(Describe(status_), call);
    EXPECT_EQ(Describe(EndOfStream()), "OK");
    if (!status_.ok()) continue;
    const v1::Completion& completion = responses_.back().final().completions(0);
    EXPECT_EQ(completion.finish().reason(), v1::FINISH_REASON_NO_ADMISSIBLE_TOKEN);
    EXPECT_FALSE(completion.totals().has_cumulative_model_log_prob()) << "a sum of nothing is no log-prob";
  }
}

TEST_F(HostileChoiceTest, TheNextBatchComesBeforeTheFirstIsAnswered) {
  AttachRaw();
  Call(kRequest);
  const v1::RunBatch first = Next();
  ASSERT_EQ(first.work_size(), 1);
  const v1::SequenceWork& read = first.work(0);
  EXPECT_FALSE(read.has_append_chosen_decoder_id());
  EXPECT_EQ(read.append_token_ids_size(), 2);
  EXPECT_TRUE(read.rows(0).choice().has_start());
  const v1::RunBatch second = Next();
  ASSERT_EQ(second.work_size(), 1);
  const v1::SequenceWork& ahead = second.work(0);
  EXPECT_EQ(ahead.sequence_id(), read.sequence_id());
  EXPECT_EQ(ahead.append_chosen_decoder_id(), read.rows(0).choice().decoder_id());
  EXPECT_TRUE(ahead.append_token_ids().empty());
  EXPECT_EQ(ahead.rows(0).choice().decoder_id(), read.rows(0).choice().decoder_id());
  EXPECT_FALSE(ahead.rows(0).choice().has_start()) << "the runner has been told";
  const v1::AttachRequest answer = Answer(first, {5, 6});
  const TokenId token = answer.output().outputs(0).chosen().token().token_id();
  ASSERT_TRUE(stream_->Write(answer));
  ASSERT_TRUE(stream_->Write(Answer(second, {5, 6, token})));
  // One step ahead, and no more: the third, then the fourth.
  EXPECT_EQ(Next().work(0).append_chosen_decoder_id(), read.rows(0).choice().decoder_id());
  EXPECT_EQ(Next().work(0).append_chosen_decoder_id(), read.rows(0).choice().decoder_id());
  // What the server has not received is drawn again, on another runner.
  EXPECT_EQ(Describe(EndOfStream()), "OK");
  caller_.join();
  EXPECT_EQ(Describe(status_), "RUNNER_LOST of ");
  int tokens = 0;
  for (const v1::GenerateResponse& response : responses_) tokens += response.delta().tokens_size();
  EXPECT_EQ(tokens, 2);
}

TEST_F(HostileChoiceTest, WhatGoesOnIsNotSkipped) {
  AttachRaw();
  Call(kRequest);
  const v1::RunBatch first = Next();
  const v1::RunBatch second = Next();
  ASSERT_EQ(second.work_size(), 1);
  ASSERT_TRUE(stream_->Write(Answer(first, {5, 6})));
  v1::AttachRequest answer;
  answer.mutable_output()->set_batch_id(second.batch_id());
  answer.mutable_output()->set_final(true);
  answer.mutable_output()->add_outputs()->set_sequence_id(second.work(0).sequence_id());
  answer.mutable_output()->mutable_outputs(0)->set_skipped(true);
  ASSERT_TRUE(stream_->Write(answer));
  caller_.join();
  EXPECT_EQ(Describe(status_), "MODEL_OUTPUT_INVALID of ");
  EXPECT_EQ(Describe(EndOfStream()), "OK");
}

TEST_F(HostileChoiceTest, OutputOfALaterBatchMayNotComeFirst) {
  AttachRaw();
  Call(kRequest);
  const v1::RunBatch first = Next();
  const v1::RunBatch second = Next();
  ASSERT_EQ(second.work_size(), 1);
  const TokenId token = Answer(first, {5, 6}).output().outputs(0).chosen().token().token_id();
  stream_->Write(Answer(second, {5, 6, token}));
  caller_.join();
  EXPECT_EQ(Describe(status_), "RUNNER_LOST of ");
  EXPECT_EQ(Describe(EndOfStream()), "RUNNER_PROTOCOL of ");
}

}  // namespace
}  // namespace logitd::server
