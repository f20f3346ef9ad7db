// The session against a server in this process that breaks its streams; tests/e2e/decode_session_test.py kills real
// ones.
#include "client/logitd/decode_session.h"

#include <stdlib.h>

#include <filesystem>
#include <mutex>
#include <vector>

#include "client/logitd/client_error.h"
#include "gmock/gmock.h"
#include "grpcpp/server_builder.h"
#include "tests/client/logitd/refusal.h"

namespace logitd::client {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Chooses token 7 at each step. Each stream ends with UNAVAILABLE instead of the answer to its batch number
// `answers_per_stream`.
class BreakingServer final : public v1::DecodingService::Service {
 public:
  std::atomic<int> answers_per_stream = 1000;

  std::vector<v1::DecodeRequest> received() {
    std::lock_guard lock(mutex_);
    return received_;
  }

 private:
  grpc::Status Decode(grpc::ServerContext*,
                      grpc::ServerReaderWriter<v1::DecodeResponse, v1::DecodeRequest>* stream) override {
    v1::DecodeRequest request;
    for (int answers = -1; stream->Read(&request); ++answers) {
      {
        std::lock_guard lock(mutex_);
        received_.push_back(request);
      }
      v1::DecodeResponse response;
      if (request.has_config()) {
        response.mutable_started()->set_seed(request.config().sampling().has_seed() ? request.config().sampling().seed()
                                                                                    : 99);
        response.mutable_started()->mutable_provenance()->set_numerics_version(1);
      } else if (answers == answers_per_stream) {
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone");
      } else {
        Answer(request.batch(), *response.mutable_result());
      }
      stream->Write(response);
    }
    return grpc::Status::OK;
  }

  static void Answer(const v1::StepBatch& batch, v1::BatchResult& result) {
    result.set_batch_id(batch.batch_id());
    for (const v1::OpenSequence& open : batch.opens()) {
      v1::OpenResult& opened = *result.add_opens();
      opened.set_sequence_id(open.sequence_id());
      opened.set_seed(99);
      opened.set_sequence_key(open.has_sequence_key() ? open.sequence_key() : 1000);
      opened.set_next_position(open.fresh().state().token_count());
    }
    for (const v1::SequenceStep& step : batch.steps()) {
      v1::StepResult& chosen = *result.add_steps();
      chosen.set_sequence_id(step.sequence_id());
      chosen.set_position(step.position());
      chosen.mutable_chosen()->add_tokens()->set_token_id(7);
      chosen.mutable_chosen()->mutable_resume_state()->set_model_sum(-1.0 - step.position());
    }
  }

  std::mutex mutex_;
  std::vector<v1::DecodeRequest> received_;
};

class DecodeSessionTest : public ::testing::Test {
 protected:
  DecodeSessionTest() {
    char folder[] = "/tmp/logitd-session-test-XXXXXX";
    EXPECT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
    options_.addresses = {"unix:" + folder_ + "/server.sock"};
    options_.patience.sleep = [this](milliseconds duration) { now_ += duration; };
    options_.patience.now = [this] { return now_; };
    grpc::ServerBuilder builder;
    builder.AddListeningPort(options_.addresses[0], grpc::InsecureServerCredentials());
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    config_.set_vocab_size(8);
  }
  ~DecodeSessionTest() override {
    server_->Shutdown();
    std::filesystem::remove_all(folder_);
  }

  static v1::StepBatch Batch(int64_t id, int position) {
    v1::StepBatch batch;
    batch.set_batch_id(id);
    if (position == 0) batch.add_opens()->set_sequence_id(5);
    batch.add_steps()->set_sequence_id(5);
    batch.mutable_steps(0)->set_position(position);
    return batch;
  }

  std::string folder_;
  std::chrono::steady_clock::time_point now_{};
  DecodeSessionOptions options_;
  v1::DecodeConfig config_;
  BreakingServer service_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(DecodeSessionTest, EachResultComesOnceInOrderAlthoughStreamsBreak) {
  // A stream answers one batch that opens the sequence again, and two more.
  service_.answers_per_stream = 3;
  const auto session = DecodeSession::Start(options_, config_);
  ASSERT_TRUE(session.ok()) << session.status();
  std::vector<int64_t> ids;
  std::vector<int> positions;
  for (int position = 0; position < 20; ++position) {
    ASSERT_TRUE((*session)->Send(Batch(10 * position + 10, position), "").ok());
    if (position < 3) continue;
    const auto result = (*session)->Receive();
    ASSERT_TRUE(result.ok()) << result.status();
    ids.push_back(result->batch_id());
    positions.push_back(result->steps(0).position());
  }
  EXPECT_TRUE((*session)->Finish().ok());
  EXPECT_EQ((*session)->pending_count(), 3u);
  for (int i = 0; i < 3; ++i) ids.push_back((*session)->Receive()->batch_id());
  for (int i = 0; i < 20; ++i) EXPECT_EQ(ids[static_cast<size_t>(i)], 10 * i + 10);
  EXPECT_GE((*session)->reconnect_count(), 8);
  EXPECT_EQ((*session)->Receive().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(DecodeSessionTest, ASequenceIsOpenedAgainWithItsState) {
  service_.answers_per_stream = 2;
  const auto session = DecodeSession::Start(options_, config_);
  ASSERT_TRUE(session.ok()) << session.status();
  for (int position = 0; position < 3; ++position) {
    ASSERT_TRUE((*session)->Send(Batch(position + 1, position), "rows").ok());
    ASSERT_TRUE((*session)->Receive().ok());
  }
  const std::vector<v1::DecodeRequest> received = service_.received();
  // config, 0, 1, 2 and again: config, open, 2.
  ASSERT_EQ(received.size(), 7u);
  EXPECT_EQ(received[4].config().sampling().seed(), 99u);
  EXPECT_EQ(received[4].config().numerics_version(), 1);
  const v1::OpenSequence& open = received[5].batch().opens(0);
  EXPECT_EQ(open.sequence_id(), 5);
  EXPECT_EQ(open.sequence_key(), 1000u);
  EXPECT_EQ(open.fresh().state().token_count(), 2);
  EXPECT_EQ(open.fresh().state().resume_state().model_sum(), -2);
  EXPECT_EQ(received[6].payload(), "rows");
  EXPECT_EQ(received[6].batch().steps(0).position(), 2);
}

TEST_F(DecodeSessionTest, TokensAreKeptWhereAStageLooksAtThem) {
  service_.answers_per_stream = 2;
  config_.mutable_sampling()->set_repetition_penalty(1.5);
  const auto session = DecodeSession::Start(options_, config_);
  for (int position = 0; position < 3; ++position) {
    v1::StepBatch batch = Batch(position + 1, position);
    if (position == 0) batch.mutable_opens(0)->mutable_fresh()->add_prompt_token_ids(3);
    ASSERT_TRUE((*session)->Send(batch, "").ok());
    ASSERT_TRUE((*session)->Receive().ok());
  }
  const v1::StepBatch reopened = service_.received().at(5).batch();
  EXPECT_THAT(reopened.opens(0).fresh().state().tokens().token_ids(), ElementsAre(7, 7));
  EXPECT_THAT(reopened.shared_prompts(0).token_ids(), ElementsAre(3));
  EXPECT_EQ(reopened.opens(0).fresh().shared_prompt(), 0);
}

TEST_F(DecodeSessionTest, ABatchThatIsNeverAnsweredEndsTheSessionInTime) {
  service_.answers_per_stream = 0;
  options_.patience.retry_for = milliseconds(3000);
  const auto session = DecodeSession::Start(options_, config_);
  ASSERT_TRUE(session.ok());
  ASSERT_TRUE((*session)->Send(Batch(1, 0), "").ok());
  const absl::Status status = (*session)->Receive().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no answer for 3000 ms; the last error: gone"));
  EXPECT_EQ((*session)->Send(Batch(2, 1), ""), status);
  EXPECT_EQ((*session)->Finish(), status);
}

TEST_F(DecodeSessionTest, NobodyListens) {
  options_.addresses = {"unix:" + folder_ + "/nobody.sock"};
  options_.patience.retry_for = milliseconds(3000);
  EXPECT_EQ(DecodeSession::Start(options_, config_).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(DecodeSessionTest, ReplicasAreTakenInTurn) {
  service_.answers_per_stream = 2;
  std::vector<int> attempts;
  options_.connect = [this, &attempts](int attempt) {
    attempts.push_back(attempt);
    // Every second replica is down.
    const std::string address = options_.addresses[0] + (attempt % 2 == 0 ? "" : ".none");
    return Dial({.address = address});
  };
  const auto session = DecodeSession::Start(options_, config_);
  for (int position = 0; position < 4; ++position) {
    ASSERT_TRUE((*session)->Send(Batch(position + 1, position), "").ok());
    ASSERT_TRUE((*session)->Receive().ok());
  }
  EXPECT_THAT(attempts, ElementsAre(0, 1, 2, 3, 4));
}

TEST_F(DecodeSessionTest, AForkIsRefused) {
  const auto session = DecodeSession::Start(options_, config_);
  ASSERT_TRUE(session.ok()) << session.status();
  v1::StepBatch batch = Batch(1, 0);
  batch.mutable_opens(0)->mutable_fork()->set_source_sequence_id(4);
  EXPECT_EQ((*session)->Send(batch, "").message(), "opens.fork cannot be resumed: use fresh");
  // It has not been sent, and the session goes on.
  ASSERT_TRUE((*session)->Send(Batch(1, 0), "").ok());
  EXPECT_TRUE((*session)->Receive().ok());
}

TEST_F(DecodeSessionTest, MisuseIsNamed) {
  const auto session = DecodeSession::Start(options_, config_);
  EXPECT_EQ((*session)->Receive().status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE((*session)->Send(Batch(3, 0), "").ok());
  EXPECT_EQ(ErrorOf((*session)->Send(Batch(3, 1), "")).field, "batch_id");
  EXPECT_TRUE((*session)->Finish().ok());
  EXPECT_EQ((*session)->Send(Batch(4, 1), "").code(), absl::StatusCode::kFailedPrecondition);
  options_.addresses.clear();
  EXPECT_EQ(ErrorOf(DecodeSession::Start(options_, config_).status()).field, "addresses");
  options_.max_batches_in_flight = 0;
  EXPECT_EQ(ErrorOf(DecodeSession::Start(options_, config_).status()).field, "max_batches_in_flight");
}

}  // namespace
}  // namespace logitd::client
