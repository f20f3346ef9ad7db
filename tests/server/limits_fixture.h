// The common parts of the tests of limits: the limit that an error names, and short ways to Decode, Generate and Score.
#ifndef LOGITD_TESTS_SERVER_LIMITS_FIXTURE_H_
#define LOGITD_TESTS_SERVER_LIMITS_FIXTURE_H_

#include <grpc/health/v1/health.grpc.pb.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/server/in_process.h"

namespace logitd::server {

using logitd::testing::ErrorOf;
using logitd::testing::Parse;

class LimitsTest : public logitd::testing::InProcessServer {
 protected:
  // The limit that an error names, "" if it names none.
  static std::string LimitOf(const v1::Error& error) {
    EXPECT_EQ(error.code(), static_cast<int>(grpc::StatusCode::RESOURCE_EXHAUSTED)) << error.message();
    EXPECT_EQ(error.reason(), v1::ERROR_REASON_LIMIT_EXCEEDED) << error.message();
    EXPECT_NE(error.message(), "");
    return error.limit();
  }
  static std::string LimitOf(const grpc::Status& status) {
    const auto error = ErrorOf(status);
    EXPECT_TRUE(error) << status.error_code() << ": " << status.error_message();
    return error ? LimitOf(*error) : "";
  }

  // Sends the messages on one Decode stream; the last reply, or the stream's end if it ends before.
  struct Decoded {
    v1::DecodeResponse last;
    grpc::Status status;
  };
  Decoded Decode(const std::vector<v1::DecodeRequest>& requests) {
    Decoded decoded;
    const auto context = Context();
    const auto stream = decoding_->Decode(context.get());
    for (const v1::DecodeRequest& request : requests) {
      if (!stream->Write(request) || !stream->Read(&decoded.last)) break;
    }
    stream->WritesDone();
    decoded.status = stream->Finish();
    return decoded;
  }
  static v1::DecodeRequest Config(const std::string& fields) {
    return Parse<v1::DecodeRequest>("config { " + fields + " }");
  }
  static v1::DecodeRequest Open(int64_t batch_id, int count) {
    v1::DecodeRequest request;
    request.mutable_batch()->set_batch_id(batch_id);
    for (int i = 0; i < count; ++i) request.mutable_batch()->add_opens()->set_sequence_id(batch_id * 10'000 + i);
    return request;
  }

  grpc::Status Generate(const std::string& request) {
    std::vector<v1::GenerateResponse> responses;
    return InProcessServer::Generate(Parse<v1::GenerateRequest>(request), &responses);
  }
  grpc::Status Fit(const v1::FitCalibrationRequest& request) {
    v1::FitCalibrationResponse response;
    return fitting_->FitCalibration(Context().get(), request, &response);
  }
  grpc::Status Score(const v1::ScoreRequest& request) {
    const auto context = Context();
    const auto reader = scoring_->Score(context.get(), request);
    v1::ScoreResponse response;
    while (reader->Read(&response)) continue;
    return reader->Finish();
  }
  static v1::ScoreItem& AddItem(v1::ScoreRequest& request, int context_tokens, int continuations) {
    v1::ScoreItem& item = *request.add_items();
    for (int i = 0; i < context_tokens; ++i) item.mutable_context()->mutable_tokens()->add_token_ids(5);
    for (int i = 0; i < continuations; ++i) {
      auto& input = *item.add_continuations();
      input.mutable_tokens()->add_token_ids(7);
    }
    return item;
  }

  // The limit that an OVERLOADED names.
  static std::string OverloadOf(const grpc::Status& status) {
    const auto error = ErrorOf(status);
    EXPECT_TRUE(error) << status.error_code() << ": " << status.error_message();
    if (!error) return "";
    EXPECT_EQ(error->reason(), v1::ERROR_REASON_OVERLOADED) << error->message();
    EXPECT_GT(error->retry_after_ms(), 0);
    return error->limit();
  }

  void ExpectNeverRefused() {
    v1::GetServerInfoResponse info;
    EXPECT_TRUE(info_->GetServerInfo(Context().get(), {}, &info).ok());
    v1::ListModelsResponse models;
    EXPECT_TRUE(models_->ListModels(Context().get(), {}, &models).ok());
    grpc::health::v1::HealthCheckResponse health;
    EXPECT_TRUE(grpc::health::v1::Health::NewStub(channel_)->Check(Context().get(), {}, &health).ok());
    EXPECT_EQ(health.status(), grpc::health::v1::HealthCheckResponse::SERVING);
  }

  // Opens Decode streams, each with its config answered.
  struct OpenStream {
    std::unique_ptr<grpc::ClientContext> context = Context();
    std::unique_ptr<grpc::ClientReaderWriter<v1::DecodeRequest, v1::DecodeResponse>> stream;
  };
  static OpenStream Open(v1::DecodingService::Stub& stub) {
    OpenStream open;
    open.stream = stub.Decode(open.context.get());
    v1::DecodeResponse response;
    EXPECT_TRUE(open.stream->Write(Config("vocab_size: 4")));
    EXPECT_TRUE(open.stream->Read(&response));
    return open;
  }
  std::vector<OpenStream> OpenStreams(int count) {
    std::vector<OpenStream> streams;
    for (int i = 0; i < count; ++i) streams.push_back(Open(*decoding_));
    return streams;
  }
};

}  // namespace logitd::server

#endif  // LOGITD_TESTS_SERVER_LIMITS_FIXTURE_H_
