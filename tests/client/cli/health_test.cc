#include "gmock/gmock.h"
#include "tests/client/cli/command_rig.h"

namespace logitd::cli {
namespace {

using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;
using ::testing::DoAll;
using ::testing::HasSubstr;
using ::testing::Property;
using ::testing::Return;
using ::testing::SetArgPointee;

class HealthTest : public ::testing::Test {
 protected:
  int Run(std::vector<std::string> args, const std::string& service, HealthCheckResponse::ServingStatus status) {
    HealthCheckResponse response;
    response.set_status(status);
    EXPECT_CALL(rig_.health(), Check(::testing::_, Property(&HealthCheckRequest::service, service), ::testing::_))
        .WillOnce(DoAll(SetArgPointee<2>(response), Return(grpc::Status::OK)));
    args.insert(args.begin(), "health");
    return rig_.Run(args);
  }
  CommandRig rig_;
};

TEST_F(HealthTest, OfTheServer) {
  EXPECT_EQ(Run({}, "", HealthCheckResponse::SERVING), 0);
  EXPECT_EQ(rig_.out(), "logitd at 127.0.0.1:50051 is serving\n");
}

TEST_F(HealthTest, OfAServerThatStops) {
  EXPECT_EQ(Run({}, "", HealthCheckResponse::NOT_SERVING), 1);
  EXPECT_EQ(rig_.out(), "logitd at 127.0.0.1:50051 is not serving\n");
}

TEST_F(HealthTest, OfAModelWhoseRunnerIsAway) {
  EXPECT_EQ(Run({"smollm2", "--json"}, "model/smollm2", HealthCheckResponse::NOT_SERVING), 1);
  EXPECT_EQ(rig_.out(), "{\"status\":\"NOT_SERVING\"}\n");
}

TEST_F(HealthTest, AStatusThatIsNotKnownIsNotServing) { EXPECT_EQ(Run({}, "", HealthCheckResponse::UNKNOWN), 1); }

TEST_F(HealthTest, OfAModelThatTheServerHasNotHad) {
  EXPECT_CALL(rig_.health(), Check).WillOnce(Return(grpc::Status(grpc::StatusCode::NOT_FOUND, "no such service")));
  EXPECT_EQ(rig_.Run({"health", "other"}), kExitRefused);
  EXPECT_THAT(rig_.err(), HasSubstr("no such service"));
}

TEST_F(HealthTest, OfAServerThatIsNotThere) {
  EXPECT_CALL(rig_.health(), Check).WillOnce(Return(grpc::Status(grpc::StatusCode::UNAVAILABLE, "refused")));
  EXPECT_EQ(rig_.Run({"health"}), kExitUnreachable);
}

TEST_F(HealthTest, OfTwoModelsIsAUsageError) {
  EXPECT_EQ(rig_.Run({"health", "a", "b"}), kExitUsage);
  EXPECT_THAT(rig_.err(), HasSubstr("MODEL must be one name, or none, got \"2\""));
}

}  // namespace
}  // namespace logitd::cli
