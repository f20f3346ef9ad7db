#include "server/status.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>

#include <string>

#include "core/errors.h"
#include "server/converters/wire.h"
#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::ErrorOf;
using logitd::testing::Parse;

// What gRPC clients take of trailers, unless they are told otherwise.
constexpr size_t kClientLimit = 8 << 10;

// Bytes of the trailers on the wire, without compression: grpc-message is percent-encoded, the details are base64.
size_t TrailerBytes(const grpc::Status& status) {
  size_t message = 0;
  for (const char c : status.error_message()) message += c < 0x20 || c > 0x7e || c == '%' ? 3 : 1;
  const size_t names = std::string("grpc-status3grpc-messagegrpc-status-details-bin").size() + 3 * 32;
  return names + message + (status.error_details().size() + 2) / 3 * 4;
}

TEST(StatusTest, ReasonsAreThoseOfTheContract) {
  const auto& reasons = *v1::ErrorReason_descriptor();
  for (int i = 0; i < reasons.value_count(); ++i) {
    const auto reason = static_cast<ErrorReason>(reasons.value(i)->number());
    EXPECT_EQ("ERROR_REASON_" + std::string(ReasonName(reason)), reasons.value(i)->name());
  }
}

TEST(StatusTest, TheLongestErrorOfARunnerFitsIntoTrailers) {
  for (const std::string unit : {"a", "%", "\xf0\x9f\x98\x80", "\n", "\xe2\x80\xae"}) {
    std::string text;
    while (text.size() < 100'000) text += unit;
    v1::Error error;
    error.set_code(3);
    error.set_reason(v1::ERROR_REASON_FIELD_OUT_OF_RANGE);
    for (std::string* part : {error.mutable_message(), error.mutable_field(), error.mutable_value(),
                              error.mutable_bound(), error.mutable_limit()}) {
      *part = text;
    }
    error.set_token_id(1 << 30);
    error.set_row(1 << 30);
    error.set_retry_after_ms(1 << 30);
    const grpc::Status status = ToGrpcStatus(FromProto(error));
    EXPECT_LT(TrailerBytes(status), kClientLimit) << unit;
    google::rpc::Status rpc;
    ASSERT_TRUE(rpc.ParseFromString(status.error_details()));
    EXPECT_EQ(rpc.details_size(), 4);
    EXPECT_EQ(Describe(status).substr(0, 19), "FIELD_OUT_OF_RANGE ");
  }
}

using NamesTest = logitd::testing::InProcessServer;

// The client has gRPC's default limits.
TEST_F(NamesTest, AModelNameOfAnyLengthGetsItsDetails) {
  for (const std::string unit : {"a", "\n", "\u6c34"}) {
    auto request = Parse<v1::RankRequest>("items { candidates { text: 'a' } }");
    while (request.model().size() < 100'000) request.mutable_model()->append(unit);
    std::vector<v1::RankResponse> responses;
    const grpc::Status status = Rank(request, &responses);
    EXPECT_EQ(Describe(status), "MODEL_NOT_FOUND of model");
    EXPECT_LT(TrailerBytes(status), 3000u);
    EXPECT_LT(ErrorOf(status)->message().size(), 400u);
  }
}

}  // namespace
}  // namespace logitd::server
