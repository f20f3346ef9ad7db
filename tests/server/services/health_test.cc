#include <grpc/health/v1/health.grpc.pb.h>

#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using grpc::health::v1::HealthCheckResponse;

class HealthTest : public logitd::testing::InProcessServer {
 protected:
  // The health of `name`; UNKNOWN if the server does not know it.
  HealthCheckResponse::ServingStatus Check(const std::string& name) {
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(name);
    HealthCheckResponse response;
    const grpc::Status status = grpc::health::v1::Health::NewStub(channel_)->Check(Context().get(), request, &response);
    EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::NOT_FOUND);
    return response.status();
  }
};

TEST_F(HealthTest, ModelServesFromItsAttachmentOn) {
  EXPECT_EQ(Check(""), HealthCheckResponse::SERVING);
  EXPECT_EQ(Check("model/fake"), HealthCheckResponse::UNKNOWN);
  server_->StartRunners({"fake", 1, [](const std::string&) { return std::vector<std::string>{"/bin/sleep", "1000"}; }});
  EXPECT_EQ(Check("model/fake"), HealthCheckResponse::NOT_SERVING);
  Attach();
  EXPECT_EQ(Check("model/fake"), HealthCheckResponse::SERVING);
}

TEST_F(HealthTest, WatchTellsOfALostModel) {
  Attach();
  const auto context = Context();
  grpc::health::v1::HealthCheckRequest request;
  request.set_service("model/fake");
  const auto reader = grpc::health::v1::Health::NewStub(channel_)->Watch(context.get(), request);
  HealthCheckResponse response;
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  fake_.reset();
  ASSERT_TRUE(reader->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  context->TryCancel();
  reader->Finish();
}

}  // namespace
}  // namespace logitd::server
