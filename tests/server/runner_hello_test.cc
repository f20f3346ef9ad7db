// Runners of other versions: one of tomorrow attaches and serves, one of another major version is told why it does not.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/limits.h"
#include "logitd/v1/model_runner_service.grpc.pb.h"
#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::ErrorOf;
using logitd::testing::FakeModel;
using logitd::testing::FakeRow;
using logitd::testing::kFakeVocabSize;
using logitd::testing::Parse;

// Bytes of the wire format, built here: https://protobuf.dev/programming-guides/encoding/
std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes += static_cast<char>(value % 128 + 128);
  return bytes + static_cast<char>(value);
}
std::string Tag(uint64_t field, uint64_t wire_type) { return Varint(field * 8 + wire_type); }
std::string Number(uint64_t field, uint64_t value) { return Tag(field, 0) + Varint(value); }
std::string Field(uint64_t field, std::string_view bytes) {
  return Tag(field, 2) + Varint(bytes.size()) + std::string(bytes);
}

// One field of each kind, with numbers that no message of this version has.
std::string Unknown() {
  return Number(100, 1) + Field(101, "text") + Field(102, Number(1, 7) + Field(2, "deep")) + Tag(103, 5) + "1234" +
         Tag(104, 1) + "12345678" + Number(5000, 1);
}

std::string Version(uint64_t major, uint64_t minor) {
  return Number(v1::RunnerHello::kApiMajorVersionFieldNumber, major) +
         Number(v1::RunnerHello::kApiMinorVersionFieldNumber, minor);
}

// A runner's stream of any bytes.
class RawStream {
 public:
  RawStream(const std::shared_ptr<grpc::Channel>& channel, grpc::ClientContext* context)
      : stub_(channel), stream_(stub_.PrepareCall(context, "/logitd.v1.ModelRunnerService/Attach", &queue_)) {
    stream_->StartCall(this);
    Wait();
  }

  bool Write(const std::string& message) {
    const grpc::Slice slice(message);
    stream_->Write(grpc::ByteBuffer(&slice, 1), this);
    return Wait();
  }
  bool Read(v1::AttachResponse* response) {
    grpc::ByteBuffer bytes;
    stream_->Read(&bytes, this);
    return Wait() && grpc::SerializationTraits<v1::AttachResponse>::Deserialize(&bytes, response).ok();
  }
  void WritesDone() {
    stream_->WritesDone(this);
    Wait();
  }
  grpc::Status Finish() {
    grpc::Status status;
    stream_->Finish(&status, this);
    Wait();
    return status;
  }

 private:
  // One thing at a time.
  bool Wait() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  grpc::CompletionQueue queue_;
  grpc::GenericStub stub_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
};

// A hello of a minor version that is not there yet.
std::string HelloOfTomorrow() {
  const FakeModel model;
  v1::RunnerCapabilities capabilities = model.Capabilities();
  capabilities.set_tokenizer(false);
  capabilities.clear_dtypes();
  // A capability and types of rows that nobody has heard of, in both encodings of a list.
  constexpr auto kDtypes = v1::RunnerCapabilities::kDtypesFieldNumber;
  const std::string of_capabilities = capabilities.SerializeAsString() + Number(30, 1) +
                                      Field(kDtypes, "\x4d\x01\x4e") + Number(kDtypes, 79) + Unknown();
  return Field(v1::AttachRequest::kHelloFieldNumber,
               Field(v1::RunnerHello::kModelFieldNumber, model.Info().SerializeAsString() + Unknown()) +
                   Field(v1::RunnerHello::kCapabilitiesFieldNumber, of_capabilities) +
                   Field(v1::RunnerHello::kCapacityFieldNumber, model.Capacity().SerializeAsString() + Unknown()) +
                   Field(v1::RunnerHello::kRunnerNameFieldNumber, "tomorrow") + Version(kApiMajorVersion, 1'000'000) +
                   Unknown());
}

class RunnerHelloTest : public logitd::testing::InProcessServer {
 protected:
  void SetUp() override {
    InProcessServer::SetUp();
    runners_ = grpc::CreateChannel(server_->runner_address(), grpc::InsecureChannelCredentials());
  }

  // How the server ends an attachment that begins with these bytes; it is not accepted.
  grpc::Status Refusal(const std::string& bytes) {
    const auto context = Context();
    RawStream stream(runners_, context.get());
    EXPECT_TRUE(stream.Write(bytes));
    v1::AttachResponse response;
    EXPECT_FALSE(stream.Read(&response)) << response.ShortDebugString();
    return stream.Finish();
  }

  // Dense rows of the fake model for every entry of the batch.
  v1::AttachRequest Answer(const v1::RunBatch& batch) {
    v1::AttachRequest answer;
    v1::BatchOutput& output = *answer.mutable_output();
    output.set_batch_id(batch.batch_id());
    output.set_final(true);
    int row_count = 0;
    for (const v1::SequenceWork& work : batch.work()) {
      std::vector<TokenId>& tokens = sequences_[work.sequence_id()];
      const size_t before = tokens.size();
      tokens.insert(tokens.end(), work.append_token_ids().begin(), work.append_token_ids().end());
      for (int i = 0; i < work.rows_size(); ++i) {
        const v1::RowRequest& wanted = work.rows(i);
        EXPECT_TRUE(wanted.has_logits()) << "nothing else was announced";
        const int count =
            wanted.has_row_count() ? wanted.row_count() : work.append_token_ids_size() - wanted.first_row();
        v1::SequenceOutput& rows = *output.add_outputs();
        rows.set_sequence_id(work.sequence_id());
        rows.set_request_index(i);
        rows.set_row_count(count);
        rows.set_block_row(row_count);
        row_count += count;
        for (int row = 0; row < count; ++row) {
          const size_t length = before + static_cast<size_t>(wanted.first_row() + row) + 1;
          *answer.mutable_payload() += logitd::testing::Bytes(FakeRow(std::span(tokens).first(length)));
        }
      }
    }
    v1::LogitsBlock& block = *output.add_blocks();
    block.set_dtype(v1::LOGITS_DTYPE_F32);
    block.set_row_count(row_count);
    block.set_width(kFakeVocabSize);
    return answer;
  }

  std::shared_ptr<grpc::Channel> runners_;
  std::map<int64_t, std::vector<TokenId>> sequences_;
};

TEST_F(RunnerHelloTest, ARunnerOfTomorrowAttachesAndServes) {
  const auto context = Context();
  RawStream stream(runners_, context.get());
  ASSERT_TRUE(stream.Write(HelloOfTomorrow()));
  v1::AttachResponse response;
  ASSERT_TRUE(stream.Read(&response));
  ASSERT_TRUE(response.has_accepted());
  // What it may use is what this server has.
  EXPECT_EQ(response.accepted().api_major_version(), kApiMajorVersion);
  EXPECT_EQ(response.accepted().api_minor_version(), kApiMinorVersion);
  ASSERT_TRUE(response.accepted().need_vocabulary());
  v1::AttachRequest vocabulary;
  *vocabulary.mutable_vocabulary() = FakeModel().Vocabulary();
  ASSERT_TRUE(stream.Write(vocabulary.SerializeAsString()));
  ASSERT_TRUE(server_->WaitForModel("fake", [] { return false; }));

  grpc::Status left;
  std::thread runner([&] {
    int batches = 0;
    while (batches < 4 && stream.Read(&response)) {
      if (!response.has_batch() || response.batch().work().empty()) continue;
      ++batches;
      stream.Write(Answer(response.batch()).SerializeAsString());
    }
    stream.WritesDone();
    left = stream.Finish();
  });
  const v1::GenerateFinal final = Completions(
      "prompt { tokens { token_ids: [5, 9] } } sampling { temperature: 0 } stop { max_tokens: 4 ignore_eos: true }");
  runner.join();
  EXPECT_TRUE(left.ok()) << left.error_message();

  std::vector<TokenId> tokens = {5, 9};
  for (int i = 0; i < 4; ++i) {
    const std::vector<float> row = FakeRow(tokens);
    tokens.push_back(static_cast<TokenId>(std::max_element(row.begin(), row.end()) - row.begin()));
  }
  ASSERT_EQ(final.completions_size(), 1);
  std::vector<TokenId> chosen;
  for (const v1::TokenRecord& record : final.completions(0).tokens()) chosen.push_back(record.token_id());
  EXPECT_EQ(chosen, std::vector<TokenId>(tokens.begin() + 2, tokens.end()));
}

// The messages as they were before versions were sent, by their numbers of that time.
TEST_F(RunnerHelloTest, ARunnerFromBeforeVersionsGetsOneSentence) {
  const std::string model = Field(1, "old") + Field(2, "weights") + Field(3, std::string(32, 'v')) + Number(4, 64) +
                            Field(5, "\x01\x02") + Number(6, 0) + Number(7, 1) + Number(8, 2048) + Field(9, "f32") +
                            Number(11, 135) + Field(13, "template") + Tag(14, 1) + std::string(8, '\0');
  const std::string capabilities =
      Number(1, 1) + Number(2, 1) + Number(3, 1) + Number(4, 1) + Field(8, "\x01") + Number(9, 1) + Number(10, 1);
  const std::string capacity = Number(1, 64) + Number(2, 4096) + Number(3, 512) + Number(4, 2) + Field(5, "as it is");
  const grpc::Status status =
      Refusal(Field(1, Field(1, model) + Field(2, capabilities) + Field(3, capacity) +
                           Field(4, "logitd-llama 0.0.9 (llama.cpp b1)") + Field(5, "smollm2-0")));
  EXPECT_EQ(Describe(status), "RUNNER_PROTOCOL of ");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(status.error_message(), "the runner has API version 0 (its hello has none) and the server " +
                                        std::to_string(kApiMajorVersion) + "." + std::to_string(kApiMinorVersion) +
                                        ": attach a runner whose major version is the server's");
}

// Whatever else is in it: of another major version the numbers mean something else.
TEST_F(RunnerHelloTest, ARunnerOfAnotherMajorVersionGetsOneSentence) {
  const std::string version = Version(2, 5);
  const std::string group = Tag(90, 3) + Number(1, 1) + Tag(90, 4);
  for (const std::string& rest :
       {std::string(), Number(1, 1) + Number(2, 2), Field(1, Number(1, 9) + Tag(2, 5) + "abcd"),
        Field(2, "\xff\xff\xff"), group, Unknown()}) {
    const grpc::Status status = Refusal(Field(1, rest + version));
    EXPECT_EQ(Describe(status), "RUNNER_PROTOCOL of ");
    EXPECT_THAT(status.error_message(), ::testing::StartsWith("the runner has API version 2.5 and the server "));
  }
}

TEST_F(RunnerHelloTest, WhatIsNotHelloIsNotOpen) {
  EXPECT_EQ(Describe(Refusal(HelloOfTomorrow() + Number(99, 1))), "UNKNOWN_FIELD of request");
  EXPECT_EQ(Describe(Refusal(Field(1, Version(kApiMajorVersion, 0) + Tag(90, 3) + Tag(90, 4)))),
            "UNKNOWN_FIELD of hello");
  // After it.
  for (const auto& [number, error] : {std::pair<int, std::string>{v1::AttachRequest::kOutputFieldNumber, "output"},
                                      {v1::AttachRequest::kHeartbeatFieldNumber, "heartbeat"},
                                      {v1::AttachRequest::kTokenizedFieldNumber, "tokenized"}}) {
    const auto context = Context();
    RawStream stream(runners_, context.get());
    ASSERT_TRUE(stream.Write(HelloOfTomorrow()));
    ASSERT_TRUE(stream.Write(Field(static_cast<uint64_t>(number), Number(99, 1))));
    v1::AttachResponse response;
    while (stream.Read(&response)) continue;
    EXPECT_EQ(Describe(stream.Finish()), "UNKNOWN_FIELD of " + error);
  }
}

// What is left out costs memory all the same until then, and is counted.
TEST_F(RunnerHelloTest, UnknownFieldsAreBounded) {
  std::string hello = Version(kApiMajorVersion, 0);
  for (int i = 0; i <= kMaxMessageElements; ++i) hello += Number(100, 1);
  const auto error = ErrorOf(Refusal(Field(1, hello)));
  ASSERT_TRUE(error);
  EXPECT_EQ(error->reason(), v1::ERROR_REASON_LIMIT_EXCEEDED);
  EXPECT_EQ(error->limit(), "max_message_elements");
}

}  // namespace
}  // namespace logitd::server
