// A server that does as a test says: what the runner's side of Attach is tested against.
#ifndef LOGITD_TESTS_CLIENT_RUNNER_SCRIPTED_SERVER_H_
#define LOGITD_TESTS_CLIENT_RUNNER_SCRIPTED_SERVER_H_

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/runner/model_runner.h"
#include "core/limits.h"
#include "logitd/v1/model_runner_service.grpc.pb.h"
#include "tests/testing/fake_model.h"

namespace logitd::runner {

using Stream = grpc::ServerReaderWriter<v1::AttachResponse, v1::AttachRequest>;

// A server that runs `script` for the one stream it gets.
class ScriptedServer : public v1::ModelRunnerService::Service {
 public:
  using Script = std::function<grpc::Status(Stream&)>;

  explicit ScriptedServer(Script script) : script_(std::move(script)) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.SetMaxReceiveMessageSize(-1);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = "127.0.0.1:" + std::to_string(port);
  }
  ~ScriptedServer() override { server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(5)); }

  grpc::Status Attach(grpc::ServerContext*, Stream* stream) override { return script_(*stream); }
  const std::string& address() const { return address_; }

 private:
  Script script_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

inline v1::AttachRequest ReadOne(Stream& stream) {
  v1::AttachRequest message;
  EXPECT_TRUE(stream.Read(&message));
  return message;
}

// The answer to hello, of a server of this version.
inline v1::AttachResponse Accepted() {
  v1::AttachResponse response;
  response.mutable_accepted()->set_api_major_version(kApiMajorVersion);
  response.mutable_accepted()->set_api_minor_version(kApiMinorVersion);
  return response;
}

// Hello and accepted, without the vocabulary.
inline void Accept(Stream& stream, int64_t max_message_bytes = 1 << 20) {
  EXPECT_TRUE(ReadOne(stream).has_hello());
  v1::AttachResponse response = Accepted();
  response.mutable_accepted()->set_max_message_bytes(max_message_bytes);
  stream.Write(response);
}

// All outputs of one batch.
inline std::vector<v1::AttachRequest> RunBatch(Stream& stream, const v1::RunBatch& batch) {
  v1::AttachResponse response;
  *response.mutable_batch() = batch;
  stream.Write(response);
  std::vector<v1::AttachRequest> messages;
  do {
    messages.push_back(ReadOne(stream));
    EXPECT_TRUE(messages.back().has_output()) << messages.back().ShortDebugString();
    EXPECT_EQ(messages.back().output().batch_id(), batch.batch_id());
    if (!messages.back().has_output()) break;
  } while (!messages.back().output().final());
  return messages;
}

enum class Rows { kNone, kLast, kAll };

inline v1::SequenceWork& AddWork(v1::RunBatch& batch, int64_t sequence_id, const std::vector<TokenId>& tokens,
                                 Rows rows) {
  v1::SequenceWork& work = *batch.add_work();
  work.set_sequence_id(sequence_id);
  work.mutable_append_token_ids()->Assign(tokens.begin(), tokens.end());
  if (rows == Rows::kNone) return work;
  v1::RowRequest& request = *work.add_rows();
  if (rows == Rows::kLast) request.set_first_row(std::max(0, static_cast<int32_t>(tokens.size()) - 1));
  request.mutable_logits();
  return work;
}

inline std::vector<float> RowOf(const v1::AttachRequest& message, int row) {
  std::vector<float> values(testing::kFakeVocabSize);
  EXPECT_LE((row + 1) * values.size() * sizeof(float), message.payload().size());
  std::memcpy(values.data(), message.payload().data() + row * values.size() * sizeof(float),
              values.size() * sizeof(float));
  return values;
}

template <typename T>
std::vector<T> FromBytes(const std::string& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// Runs `script` against a fake model, and returns how the attachment ended for the runner.
inline absl::Status Serve(ScriptedServer::Script script, testing::FakeModelOptions options = {}) {
  ScriptedServer server(std::move(script));
  testing::AttachedFakeModel fake(server.address(), std::move(options));
  return fake.WaitUntilEnded();
}

}  // namespace logitd::runner

#endif  // LOGITD_TESTS_CLIENT_RUNNER_SCRIPTED_SERVER_H_
