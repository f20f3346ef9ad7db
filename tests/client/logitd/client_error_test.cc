#include "client/logitd/client_error.h"

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"

namespace logitd::client {
namespace {

google::rpc::ErrorInfo Info() {
  google::rpc::ErrorInfo info;
  info.set_reason("OVERLOADED");
  info.set_domain("logitd");
  (*info.mutable_metadata())["field"] = "n";
  (*info.mutable_metadata())["value"] = "9";
  (*info.mutable_metadata())["bound"] = "[1, 8]";
  (*info.mutable_metadata())["limit"] = "max_n";
  return info;
}

absl::Status Wire(const std::vector<const google::protobuf::Message*>& details, grpc::StatusCode code) {
  google::rpc::Status status;
  status.set_code(code);
  for (const google::protobuf::Message* detail : details) status.add_details()->PackFrom(*detail);
  return FromGrpcStatus(grpc::Status(code, "n must be in [1, 8], got 9", status.SerializeAsString()));
}

TEST(ClientErrorTest, ReadsErrorInfoBadRequestAndRetryInfo) {
  const google::rpc::ErrorInfo info = Info();
  google::rpc::BadRequest bad;
  bad.add_field_violations()->set_field("n");
  bad.add_field_violations()->set_field("stop.max_tokens");
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(2);
  retry.mutable_retry_delay()->set_nanos(500'000'000);
  const ClientError error = ErrorOf(Wire({&info, &bad, &retry}, grpc::StatusCode::RESOURCE_EXHAUSTED));
  EXPECT_EQ(error.code, absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(error.message, "n must be in [1, 8], got 9");
  EXPECT_EQ(error.reason, "OVERLOADED");
  EXPECT_EQ(error.field, "n");
  EXPECT_EQ(error.value, "9");
  EXPECT_EQ(error.bound, "[1, 8]");
  EXPECT_EQ(error.limit, "max_n");
  EXPECT_EQ(error.retry_delay, std::chrono::milliseconds(2500));
  EXPECT_FALSE(error.error.has_value());
  EXPECT_FALSE(error.is_unreachable());
}

TEST(ClientErrorTest, TheServersOwnErrorIsKeptWhole) {
  v1::Error wire;
  wire.set_code(3);
  wire.set_reason(v1::ERROR_REASON_NON_FINITE_LOGIT);
  wire.set_message("logits[2] must be finite or -inf, got nan");
  wire.set_token_id(2);
  wire.set_row(0);
  const absl::Status status = Wire({&wire}, grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ErrorOf(status).reason, "NON_FINITE_LOGIT");
  EXPECT_EQ(ErrorMessageOf(status).SerializeAsString(), wire.SerializeAsString());
}

TEST(ClientErrorTest, AnErrorWithoutDetailsBecomesCodeAndMessage) {
  const v1::Error error = ErrorMessageOf(FromGrpcStatus(grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "what?")));
  EXPECT_EQ(error.code(), 12);
  EXPECT_EQ(error.message(), "what?");
  EXPECT_EQ(error.reason(), v1::ERROR_REASON_UNSPECIFIED);
}

TEST(ClientErrorTest, AnInputErrorKeepsWhatItNames) {
  const absl::Status status = InputError("--logits", "rows.npy", "float32", "it holds int8");
  EXPECT_TRUE(IsInputError(status));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "it holds int8");
  const v1::Error error = ErrorMessageOf(status);
  EXPECT_EQ(error.field(), "--logits");
  EXPECT_EQ(error.value(), "rows.npy");
  EXPECT_EQ(error.bound(), "float32");
  EXPECT_FALSE(IsInputError(absl::InvalidArgumentError("it holds int8")));
}

TEST(ClientErrorTest, OnlyAnUnavailableThatNoServerStatedIsUnreachable) {
  EXPECT_TRUE(ErrorOf(FromGrpcStatus(grpc::Status(grpc::StatusCode::UNAVAILABLE, "refused"))).is_unreachable());
  EXPECT_FALSE(ErrorOf(FromGrpcStatus(grpc::Status(grpc::StatusCode::INTERNAL, "bug"))).is_unreachable());
  v1::Error draining;
  draining.set_code(14);
  draining.set_reason(v1::ERROR_REASON_DRAINING);
  EXPECT_FALSE(ErrorOf(Wire({&draining}, grpc::StatusCode::UNAVAILABLE)).is_unreachable());
}

TEST(ClientErrorTest, DetailsThatAreNotAStatusAreIgnored) {
  const ClientError error = ErrorOf(FromGrpcStatus(grpc::Status(grpc::StatusCode::INTERNAL, "bug", "\xff\xff\xff")));
  EXPECT_EQ(error.code, absl::StatusCode::kInternal);
  EXPECT_EQ(error.reason, "");
}

TEST(ClientErrorTest, AReasonFromTheFutureShowsItsNumber) {
  EXPECT_EQ(ReasonName(v1::ERROR_REASON_EMPTY_PROMPT), "EMPTY_PROMPT");
  EXPECT_EQ(ReasonName(static_cast<v1::ErrorReason>(9999)), "9999");
}

TEST(ClientErrorTest, OkStaysOk) { EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok()); }

}  // namespace
}  // namespace logitd::client
