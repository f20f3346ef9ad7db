// Runs whole `logit` commands against gRPC's generated mocks: no process, no network, no terminal, no time.
//
//   CommandRig rig;
//   EXPECT_CALL(rig.decoding(), ComputeDistribution).WillOnce(DoAll(SetArgPointee<2>(response),
//   Return(grpc::Status::OK))); EXPECT_EQ(rig.Run({"distribution", "--logits", "1,2"}), 0); EXPECT_EQ(rig.out(),
//   "...");
#ifndef LOGITD_TESTS_CLIENT_CLI_COMMAND_RIG_H_
#define LOGITD_TESTS_CLIENT_CLI_COMMAND_RIG_H_

#include <deque>
#include <map>
#include <memory>
#include <sstream>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "client/cli/commands.h"
#include "client/cli/environment.h"
#include "gmock/gmock.h"
#include "grpc/health/v1/health_mock.grpc.pb.h"
#include "logitd/v1/decoding_service_mock.grpc.pb.h"
#include "logitd/v1/fitting_service_mock.grpc.pb.h"
#include "logitd/v1/generation_service_mock.grpc.pb.h"
#include "logitd/v1/model_service_mock.grpc.pb.h"
#include "logitd/v1/scoring_service_mock.grpc.pb.h"
#include "logitd/v1/server_service_mock.grpc.pb.h"
#include "tests/client/logitd/refusal.h"

namespace logitd::cli {

// A server stream that was recorded.
template <typename Response>
class ScriptedReader final : public grpc::ClientReaderInterface<Response> {
 public:
  explicit ScriptedReader(std::vector<Response> responses, grpc::Status status = grpc::Status::OK)
      : responses_(responses.begin(), responses.end()), status_(std::move(status)) {}
  bool NextMessageSize(uint32_t* size) override { return !responses_.empty(); }
  bool Read(Response* response) override {
    if (responses_.empty()) return false;
    *response = std::move(responses_.front());
    responses_.pop_front();
    return true;
  }
  void WaitForInitialMetadata() override {}
  grpc::Status Finish() override { return status_; }

 private:
  std::deque<Response> responses_;
  grpc::Status status_;
};

using client::MakeError;
using client::Refusal;

class CommandRig {
 public:
  CommandRig() : connection_(new MockConnection) {}

  auto& decoding() { return stubs_->decoding; }
  auto& generation() { return stubs_->generation; }
  auto& scoring() { return stubs_->scoring; }
  auto& fitting() { return stubs_->fitting; }
  auto& models() { return stubs_->models; }
  auto& server() { return stubs_->server; }
  auto& health() { return stubs_->health; }

  // Standard input; without it, it is a terminal.
  void SetInput(const std::string& text) {
    in_.str(text);
    environment_.in_is_terminal = false;
  }
  void SetVariable(const std::string& name, const std::string& value) { variables_[name] = value; }
  Environment& environment() { return environment_; }
  // Ctrl-C.
  void Interrupt() { interrupts_.request_stop(); }

  int Run(const std::vector<std::string>& args) { return RunLogit(args, environment_); }

  std::string out() const { return out_.str(); }
  std::string err() const { return err_.str(); }
  // What the command connected to; empty: it did not.
  const std::vector<client::Options>& connections() const { return connections_; }
  const std::vector<std::chrono::milliseconds>& sleeps() const { return sleeps_; }

 private:
  struct Stubs {
    ::testing::StrictMock<v1::MockDecodingServiceStub> decoding;
    ::testing::StrictMock<v1::MockGenerationServiceStub> generation;
    ::testing::StrictMock<v1::MockScoringServiceStub> scoring;
    ::testing::StrictMock<v1::MockFittingServiceStub> fitting;
    ::testing::StrictMock<v1::MockModelServiceStub> models;
    ::testing::StrictMock<v1::MockServerServiceStub> server;
    ::testing::StrictMock<grpc::health::v1::MockHealthStub> health;
  };
  class MockConnection final : public client::Connection {
   public:
    v1::DecodingService::StubInterface& decoding() override { return stubs.decoding; }
    v1::GenerationService::StubInterface& generation() override { return stubs.generation; }
    v1::ScoringService::StubInterface& scoring() override { return stubs.scoring; }
    v1::FittingService::StubInterface& fitting() override { return stubs.fitting; }
    v1::ModelService::StubInterface& models() override { return stubs.models; }
    v1::ServerService::StubInterface& server() override { return stubs.server; }
    grpc::health::v1::Health::StubInterface& health() override { return stubs.health; }
    Stubs stubs;
  };

  // Handed to the client when the command connects, and gone when it ends: one command per rig.
  std::unique_ptr<MockConnection> connection_;
  Stubs* stubs_ = &connection_->stubs;
  std::istringstream in_;
  std::ostringstream out_;
  std::ostringstream err_;
  std::map<std::string, std::string> variables_;
  std::vector<client::Options> connections_;
  std::vector<std::chrono::milliseconds> sleeps_;
  std::chrono::steady_clock::time_point now_{};
  std::stop_source interrupts_;
  Environment environment_{
      .in = in_,
      .out = out_,
      .err = err_,
      .in_is_terminal = true,
      .out_is_terminal = false,
      .err_is_terminal = false,
      .width = 80,
      .in_bytes = std::nullopt,
      .variable = [this](const std::string& name) { return variables_[name]; },
      .connect = [this](client::Options options) -> absl::StatusOr<std::unique_ptr<client::Client>> {
        connections_.push_back(options);
        return std::make_unique<client::Client>(std::move(connection_), std::move(options));
      },
      .now = [this] { return now_ += std::chrono::seconds(1); },
      .sleep = [this](std::chrono::milliseconds duration) { sleeps_.push_back(duration); },
      .take_interrupts = [this] { return interrupts_.get_token(); },
  };
};

}  // namespace logitd::cli

#endif  // LOGITD_TESTS_CLIENT_CLI_COMMAND_RIG_H_
