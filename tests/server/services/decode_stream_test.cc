#include "server/services/decode_stream.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>

#include "tests/server/decode_messages.h"
#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::ErrorOf;

using DecodeStreamTest = logitd::testing::InProcessServer;

TEST_F(DecodeStreamTest, StreamGoesOnUntilHalfClose) {
  const auto context = Context();
  const auto stream = decoding_->Decode(context.get());
  v1::DecodeResponse response;
  ASSERT_TRUE(stream->Write(Request("config { vocab_size: 4 sampling { temperature: 0 } }")));
  ASSERT_TRUE(stream->Write(StepRequest(1, 0, kRow, " opens { sequence_id: 1 }"))) << "before `started` has come";
  ASSERT_TRUE(stream->Write(StepRequest(2, 1, kRow)));
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(response.has_started());
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.result().batch_id(), 1);
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_EQ(response.result().steps(0).chosen().totals().token_count(), 2);
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(DecodeStreamTest, ErrorOfTheStreamIsItsStatus) {
  const auto context = Context();
  const auto stream = decoding_->Decode(context.get());
  v1::DecodeResponse response;
  stream->Write(Request("config { vocab_size: 4 sampling { temperature: -2 } }"));
  EXPECT_FALSE(stream->Read(&response));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Describe(status), "FIELD_OUT_OF_RANGE of config.sampling.temperature");
}

// Opens two sequences that resume 131,071 tokens each, which a stage looks at: 1 MiB, held until they end.
v1::DecodeRequest HoldOneMebibyte() {
  auto request = Request("batch { batch_id: 1 opens { sequence_id: 1 } opens { sequence_id: 2 } }");
  for (auto& open : *request.mutable_batch()->mutable_opens()) {
    open.mutable_fresh()->mutable_state()->mutable_tokens()->mutable_token_ids()->Resize(131'071, 0);
  }
  return request;
}

TEST_F(DecodeStreamTest, WhatStreamsHoldTogetherIsBounded) {
  // Three quarters may be held.
  Start({.max_bytes_in_work = 7 << 20});
  struct OpenStream {
    std::unique_ptr<grpc::ClientContext> context = Context();
    std::unique_ptr<grpc::ClientReaderWriter<v1::DecodeRequest, v1::DecodeResponse>> stream;
    bool Ask(const v1::DecodeRequest& request) { return stream->Write(request) && stream->Read(&response); }
    v1::DecodeResponse response;
  };
  const auto begin = [&] {
    OpenStream begun;
    begun.stream = decoding_->Decode(begun.context.get());
    EXPECT_TRUE(begun.Ask(Request("config { vocab_size: 4 sampling { temperature: 0.7 frequency_penalty: 0.1 } }")));
    return begun;
  };
  const auto step = [](int batch_id) {
    return Request("batch { batch_id: " + std::to_string(batch_id) +
                       " blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 4 }"
                       " steps { sequence_id: 1 position: 131071 row: 0 } }",
                   kRow);
  };
  OpenStream first = begin();
  OpenStream second = begin();
  OpenStream third = begin();
  OpenStream small = begin();
  ASSERT_TRUE(first.Ask(HoldOneMebibyte()));
  ASSERT_TRUE(second.Ask(HoldOneMebibyte()));
  EXPECT_FALSE(third.Ask(HoldOneMebibyte()))
      << "with the message it came in (3 MiB while it is parsed), it is more than 5.25 MiB";
  const grpc::Status refused = third.stream->Finish();
  const auto error = ErrorOf(refused);
  ASSERT_TRUE(error) << refused.error_message();
  EXPECT_EQ(error->reason(), v1::ERROR_REASON_OVERLOADED);
  EXPECT_EQ(error->limit(), "max_bytes_in_work");
  google::rpc::Status rpc;
  ASSERT_TRUE(rpc.ParseFromString(refused.error_details()));
  EXPECT_TRUE(std::any_of(rpc.details().begin(), rpc.details().end(),
                          [](const auto& detail) { return detail.template Is<google::rpc::RetryInfo>(); }));

  // The others go on; new ones start; what a sequence held is given back when it ends.
  EXPECT_TRUE(small.Ask(Request("batch { batch_id: 1 opens { sequence_id: 1 } }")));
  EXPECT_TRUE(begin().Ask(Request("batch { batch_id: 1 opens { sequence_id: 1 } }")));
  EXPECT_TRUE(second.Ask(step(2)));
  EXPECT_EQ(second.response.result().steps(0).chosen().finish().reason(), v1::FINISH_REASON_MAX_TOKENS);
  ASSERT_TRUE(first.Ask(Request("batch { batch_id: 2 close_sequence_ids: [1, 2] }")));
  OpenStream fourth = begin();
  EXPECT_TRUE(fourth.Ask(HoldOneMebibyte())) << Describe(fourth.stream->Finish());
  for (OpenStream* open : {&first, &second, &small, &fourth}) {
    open->stream->WritesDone();
    EXPECT_EQ(Describe(open->stream->Finish()), "OK");
  }
  // So is all of it when its stream ends, some time after the client has seen the end.
  for (int i = 0; i < 4; ++i) {
    grpc::Status status;
    do {
      OpenStream next = begin();
      next.Ask(HoldOneMebibyte());
      next.stream->WritesDone();
      status = next.stream->Finish();
    } while (Describe(status) == "OVERLOADED of ");
    EXPECT_EQ(Describe(status), "OK");
  }
}

TEST_F(DecodeStreamTest, DrainEndsAnIdleStreamWithOneStatus) {
  const auto context = Context();
  const auto stream = decoding_->Decode(context.get());
  v1::DecodeResponse response;
  stream->Write(Request("config { vocab_size: 4 }"));
  ASSERT_TRUE(stream->Read(&response));
  server_->Drain(std::chrono::seconds(10));
  EXPECT_FALSE(stream->Read(&response));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Describe(status), "DRAINING of ");
}

}  // namespace
}  // namespace logitd::server
