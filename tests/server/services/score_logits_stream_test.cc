#include "server/services/score_logits_stream.h"

#include <grpcpp/generic/generic_stub.h>

#include "core/limits.h"
#include "tests/server/in_process.h"
#include "tests/server/score_logits_messages.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::ErrorOf;
using logitd::testing::Parse;

const std::vector<float> kRow = {6, 3, 0.5, 0.5};

using ScoreLogitsTest = logitd::testing::InProcessServer;

TEST_F(ScoreLogitsTest, ReplyComesAsSoonAsItsSequenceEnds) {
  const auto context = Context();
  const auto stream = scoring_->ScoreLogits(context.get());
  v1::ScoreLogitsResponse response;
  ASSERT_TRUE(stream->Write(Config("vocab_size: 4")) && stream->Write(RowsMessage(0, {kRow}, {0})) &&
              stream->Write(Last(RowsMessage(1, {kRow}, {1}))) && stream->Read(&response));
  EXPECT_EQ(response.sequence_index(), 1);
  EXPECT_NEAR(response.score().totals().cumulative_model_log_prob(), -3.0563431032958081, 1e-6);
  ASSERT_TRUE(stream->Write(RowsMessage(2, {kRow}, {9})) && stream->Read(&response));
  EXPECT_EQ(response.sequence_index(), 2);
  EXPECT_EQ(Describe(response.error()), "TOKEN_ID_OUT_OF_RANGE of rows.target_token_ids[0]");
  // Half-close ends the rest, in order.
  ASSERT_TRUE(stream->Write(RowsMessage(4, {kRow}, {0})) && stream->Write(RowsMessage(3, {kRow}, {0})) &&
              stream->Write(RowsMessage(0, {kRow}, {1})) && stream->WritesDone());
  for (const int index : {0, 3, 4}) {
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.sequence_index(), index);
    EXPECT_EQ(response.score().totals().token_count(), index == 0 ? 2 : 1);
  }
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(Describe(stream->Finish()), "OK");
}

TEST_F(ScoreLogitsTest, AThousandSequencesAndTheirErrorsOnOneStream) {
  std::vector<v1::ScoreLogitsRequest> requests = {Config("vocab_size: 4")};
  for (int i = 0; i < 3000; ++i) requests.push_back(Last(RowsMessage(i % 7, {kRow, kRow}, {0, i % 3 == 0 ? 9 : 1})));
  std::vector<v1::ScoreLogitsResponse> responses;
  ASSERT_EQ(Describe(ScoreLogits(requests, &responses)), "OK");
  ASSERT_EQ(responses.size(), 3000u);
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(responses[i].sequence_index(), i % 7) << i;
    ASSERT_EQ(responses[i].has_error(), i % 3 == 0) << i;
  }
}

TEST_F(ScoreLogitsTest, WhatCannotBeTakenApartEndsTheCallWhateverFollows) {
  std::vector<v1::ScoreLogitsResponse> responses;
  auto bad = RowsMessage(0, {kRow}, {0});
  bad.mutable_payload()->pop_back();
  std::vector<v1::ScoreLogitsRequest> requests = {Config("vocab_size: 4"), Last(RowsMessage(1, {kRow}, {0})), bad};
  requests.resize(2000, RowsMessage(0, Rows(100, kRow), std::vector<int32_t>(100, 0)));
  const grpc::Status status = ScoreLogits(requests, &responses);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Describe(status), "ROW_LENGTH_MISMATCH of rows.payload");
  EXPECT_EQ(responses.size(), 1u) << "what was answered before stays";
}

TEST_F(ScoreLogitsTest, HalfCloseWithoutRowsIsRefused) {
  std::vector<v1::ScoreLogitsResponse> responses;
  EXPECT_EQ(Describe(ScoreLogits({}, &responses)), "UNEXPECTED_MESSAGE of ");
  EXPECT_EQ(Describe(ScoreLogits({Config("vocab_size: 4")}, &responses)), "UNEXPECTED_MESSAGE of ");
}

TEST_F(ScoreLogitsTest, WhatStreamsHoldTogetherIsBounded) {
  // Three quarters may be held.
  Start({.max_bytes_in_work = 4 << 20});
  const auto config = Config("vocab_size: 4 record { top_n: 4 } sampling { temperature: 0.7 }");
  const auto rows = RowsMessage(0, Rows(1000, kRow), std::vector<int32_t>(1000, 1));
  // A Decode stream answers: what it holds is known to be held. 131,071 resumed tokens: half a MiB.
  const auto idle_context = Context();
  const auto idle = decoding_->Decode(idle_context.get());
  v1::DecodeResponse answer;
  auto open = Parse<v1::DecodeRequest>("batch { batch_id: 1 opens { sequence_id: 1 } }");
  open.mutable_batch()
      ->mutable_opens(0)
      ->mutable_fresh()
      ->mutable_state()
      ->mutable_tokens()
      ->mutable_token_ids()
      ->Resize(131'071, 0);
  ASSERT_TRUE(idle->Write(Parse<v1::DecodeRequest>("config { vocab_size: 4 sampling { frequency_penalty: 0.1 } }")) &&
              idle->Read(&answer));
  ASSERT_TRUE(idle->Write(open) && idle->Read(&answer));

  const auto context = Context();
  const auto greedy = scoring_->ScoreLogits(context.get());
  greedy->Write(config);
  // Until the server has ended it: at the limit of records at the latest, and then with another status.
  while (greedy->Write(rows)) continue;
  const grpc::Status refused = greedy->Finish();
  const auto error = ErrorOf(refused);
  ASSERT_TRUE(error) << refused.error_message();
  EXPECT_EQ(error->reason(), v1::ERROR_REASON_OVERLOADED) << error->message();
  EXPECT_EQ(error->limit(), "max_bytes_in_work");
  EXPECT_GT(error->retry_after_ms(), 0);

  // The other stream goes on, and there is room again, some time after the client has seen the end: for more than
  // half of the limit, again and again.
  EXPECT_TRUE(idle->Write(Parse<v1::DecodeRequest>("batch { batch_id: 2 close_sequence_ids: 1 }")) &&
              idle->Read(&answer));
  const std::vector<v1::ScoreLogitsRequest> requests = {config, rows, rows, rows, rows, rows};
  for (int i = 0; i < 10; ++i) {
    std::string status;
    std::vector<v1::ScoreLogitsResponse> responses;
    do {
      responses.clear();
      status = Describe(ScoreLogits(requests, &responses));
    } while (status == "OVERLOADED of ");
    EXPECT_EQ(status, "OK");
    ASSERT_EQ(responses.size(), 1u);
    EXPECT_EQ(responses[0].score().tokens_size(), 5000);
  }
  idle->WritesDone();
  EXPECT_EQ(Describe(idle->Finish()), "OK");
}

TEST_F(ScoreLogitsTest, DrainEndsAnIdleCallWithOneStatus) {
  const auto context = Context();
  const auto writer = scoring_->ScoreLogits(context.get());
  writer->Write(Config("vocab_size: 4"));
  writer->Write(RowsMessage(0, {kRow}, {0}));
  server_->Drain(std::chrono::seconds(10));
  const grpc::Status status = writer->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(ScoreLogitsTest, CancelledCallsLeaveNothingBehind) {
  for (int i = 0; i < 200; ++i) {
    const auto context = Context();
    const auto writer = scoring_->ScoreLogits(context.get());
    writer->Write(Config("vocab_size: 4"));
    for (int j = 0; j < i % 5; ++j) writer->Write(RowsMessage(0, Rows(50, kRow), std::vector<int32_t>(50, 0)));
    if (i % 3 == 0) writer->WritesDone();
    context->TryCancel();
    const grpc::Status status = writer->Finish();
    EXPECT_TRUE(i % 3 == 0 || !status.ok()) << "no reply without a half-close";
  }
  std::vector<v1::ScoreLogitsResponse> responses;
  EXPECT_TRUE(ScoreLogits({Config("vocab_size: 4"), RowsMessage(0, {kRow}, {0})}, &responses).ok());
}

// A call of ScoreLogits whose messages need not be ScoreLogitsRequests.
grpc::Status RawCall(const std::shared_ptr<grpc::Channel>& channel, grpc::ClientContext* context,
                     const std::vector<std::string>& messages) {
  grpc::GenericStub stub(channel);
  grpc::CompletionQueue queue;
  const auto call = stub.PrepareCall(context, "/logitd.v1.ScoringService/ScoreLogits", &queue);
  const auto wait = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  call->StartCall(nullptr);
  bool is_open = wait();
  for (const std::string& message : messages) {
    if (!is_open) break;
    grpc::Slice slice(message);
    call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    is_open = wait();
  }
  if (is_open) {
    call->WritesDone(nullptr);
    wait();
  }
  // A status waits behind the replies.
  grpc::ByteBuffer reply;
  do {
    call->Read(&reply, nullptr);
  } while (wait());
  grpc::Status status;
  call->Finish(&status, nullptr);
  wait();
  return status;
}

TEST_F(ScoreLogitsTest, AMessageThatCannotBeParsedIsAnErrorAndNotTheEnd) {
  const std::string config = Config("vocab_size: 4").SerializeAsString();
  const std::string rows = RowsMessage(0, {kRow}, {0}).SerializeAsString();
  EXPECT_TRUE(RawCall(channel_, Context().get(), {config, rows}).ok());
  const grpc::Status status = RawCall(channel_, Context().get(), {config, rows, "\xff\xff\xff"});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Describe(status), "MALFORMED_MESSAGE of ");
}

TEST_F(ScoreLogitsTest, AMessageAboveTheCapIsAnErrorAndNotTheEnd) {
  auto large = RowsMessage(0, {kRow}, {0});
  large.mutable_payload()->resize(kMaxMessageBytes);
  const grpc::Status status = RawCall(channel_, Context().get(),
                                      {Config("vocab_size: 4").SerializeAsString(),
                                       RowsMessage(0, {kRow}, {0}).SerializeAsString(), large.SerializeAsString()});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
}

}  // namespace
}  // namespace logitd::server
