// Bytes that are no good request, on every method: each is refused by name, and none is parsed.
#include <grpc/health/v1/health.grpc.pb.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <grpcpp/impl/codegen/rpc_method.h>

#include <string>
#include <vector>

#include "core/limits.h"
#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::ErrorOf;

const std::vector<std::string>& Methods() {
  static const auto& methods =
      *new std::vector<std::string>{"DecodingService/Decode",     "DecodingService/ComputeDistribution",
                                    "GenerationService/Generate", "ScoringService/Score",
                                    "ScoringService/Rank",        "ScoringService/ScoreLogits",
                                    "ModelService/Tokenize",      "ModelService/Detokenize",
                                    "ModelService/ListModels",    "ModelService/GetVocabulary",
                                    "ModelService/RenderChat",    "ServerService/GetServerInfo"};
  return methods;
}

class RawMessagesTest : public logitd::testing::InProcessServer {
 protected:
  // The end of a call whose only message is `bytes`. (On the wire all kinds of calls are the same.)
  grpc::Status Call(const std::string& method, const std::string& bytes) {
    const std::string path = "/logitd.v1." + method;
    const grpc::internal::RpcMethod rpc(path.c_str(), grpc::internal::RpcMethod::NORMAL_RPC, channel_);
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    return grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(channel_.get(), rpc, Context().get(),
                                                                                 request, &response);
  }
};

TEST_F(RawMessagesTest, UnknownFieldsAreRefused) {
  for (const std::string& method : Methods()) {
    SCOPED_TRACE(method);
    // Field 99: a number, a text, a group.
    for (const std::string bytes : {"\x98\x06\x01", "\x9a\x06\x01x", "\x9b\x06\x9c\x06"}) {
      const grpc::Status status = Call(method, bytes);
      EXPECT_EQ(Describe(status), "UNKNOWN_FIELD of request");
      EXPECT_EQ(ErrorOf(status).value_or(v1::Error()).value(), "99");
    }
  }
}

TEST_F(RawMessagesTest, WhatIsNoMessageIsRefused) {
  for (const std::string& method : Methods()) {
    SCOPED_TRACE(method);
    for (const std::string bytes : {"\x0a", "\x0a\xff\xff\xff\xff\x07", "\x07", "\x9a\x06\x05x"}) {
      const grpc::Status status = Call(method, bytes);
      ASSERT_TRUE(ErrorOf(status)) << status.error_message();
      EXPECT_TRUE(Describe(status) == "MALFORMED_MESSAGE of " || Describe(status) == "UNKNOWN_FIELD of request")
          << Describe(status);
    }
  }
  // The scan leaves UTF-8 to protobuf.
  EXPECT_EQ(Describe(Call("ModelService/Tokenize", "\x12\x01\xff")), "MALFORMED_MESSAGE of ");
  EXPECT_EQ(Describe(Call("DecodingService/Decode", "\x0a\x04\x08\x80\x80")), "MALFORMED_MESSAGE of ");
}

TEST_F(RawMessagesTest, UnknownEnumValuesAreRefused) {
  EXPECT_EQ(Describe(Call("DecodingService/ComputeDistribution", "\x18\x63")), "UNKNOWN_ENUM_VALUE of layout");
  EXPECT_EQ(Describe(Call("DecodingService/Decode", "\x0a\x04\x2a\x02\x50\x63")),
            "UNKNOWN_ENUM_VALUE of config.record.layout");
}

// Health ignores what it does not know, for it is not our protocol; but it reads no more than a name.
TEST_F(RawMessagesTest, HealthReadsNoMoreThanAName) {
  const auto health = grpc::health::v1::Health::NewStub(channel_);
  grpc::health::v1::HealthCheckRequest request;
  request.GetReflection()->MutableUnknownFields(&request)->AddVarint(99, 1);
  grpc::health::v1::HealthCheckResponse response;
  EXPECT_TRUE(health->Check(Context().get(), request, &response).ok());
  EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::SERVING);
  for (int i = 0; i < 1000; ++i) request.GetReflection()->MutableUnknownFields(&request)->AddGroup(99);
  EXPECT_EQ(health->Check(Context().get(), request, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const auto context = Context();
  const auto watch = health->Watch(context.get(), request);
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

// A message is counted as what it costs, before it is parsed: 1 MiB of ids of one byte is 12 MiB.
TEST_F(RawMessagesTest, CountsWhatAMessageCosts) {
  Start({.max_bytes_in_work = 8 << 20});
  std::string bytes("\x2a\x80\x80\x40", 4);
  bytes.append(1 << 20, '\1');
  const grpc::Status status = Call("DecodingService/ComputeDistribution", bytes);
  ASSERT_TRUE(ErrorOf(status)) << status.error_message();
  EXPECT_EQ(ErrorOf(status)->reason(), v1::ERROR_REASON_OVERLOADED);
  EXPECT_EQ(ErrorOf(status)->limit(), "max_bytes_in_work");
  bytes = std::string("\x2a\x80\x80\x10", 4) + std::string(1 << 18, '\1');
  EXPECT_EQ(Describe(Call("DecodingService/ComputeDistribution", bytes)), "FIELD_REQUIRED of logits");
}

}  // namespace
}  // namespace logitd::server
