// The runner's side of Attach against a scripted server.
#include "client/runner/model_runner.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "client/runner/decoders.h"
#include "core/distribution.h"
#include "core/limits.h"
#include "core/token_record.h"
#include "logitd/v1/model_runner_service.grpc.pb.h"
#include "tests/testing/fake_model.h"
#include "tests/testing/matchers.h"

namespace logitd::runner {
namespace {

using ::logitd::testing::AttachedFakeModel;
using ::logitd::testing::FakeModel;
using ::logitd::testing::FakeOutcome;
using ::logitd::testing::FakeRow;
using ::logitd::testing::FakeTokens;
using ::logitd::testing::kFakeVocabSize;
using ::logitd::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

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

v1::AttachRequest ReadOne(Stream& stream) {
  v1::AttachRequest message;
  EXPECT_TRUE(stream.Read(&message));
  return message;
}

// The answer to hello, of a server of this version.
v1::AttachResponse Accepted() {
  v1::AttachResponse response;
  response.mutable_accepted()->set_api_major_version(kApiMajorVersion);
  response.mutable_accepted()->set_api_minor_version(kApiMinorVersion);
  return response;
}

// Hello and accepted, without the vocabulary.
void Accept(Stream& stream, int64_t max_message_bytes = 1 << 20) {
  EXPECT_TRUE(ReadOne(stream).has_hello());
  v1::AttachResponse response = Accepted();
  response.mutable_accepted()->set_max_message_bytes(max_message_bytes);
  stream.Write(response);
}

// All outputs of one batch.
std::vector<v1::AttachRequest> RunBatch(Stream& stream, const v1::RunBatch& batch) {
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

v1::SequenceWork& AddWork(v1::RunBatch& batch, int64_t sequence_id, const std::vector<TokenId>& tokens, Rows rows) {
  v1::SequenceWork& work = *batch.add_work();
  work.set_sequence_id(sequence_id);
  work.mutable_append_token_ids()->Assign(tokens.begin(), tokens.end());
  if (rows == Rows::kNone) return work;
  v1::RowRequest& request = *work.add_rows();
  if (rows == Rows::kLast) request.set_first_row(std::max(0, static_cast<int32_t>(tokens.size()) - 1));
  request.mutable_logits();
  return work;
}

std::vector<float> RowOf(const v1::AttachRequest& message, int row) {
  std::vector<float> values(kFakeVocabSize);
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
absl::Status Serve(ScriptedServer::Script script, testing::FakeModelOptions options = {}) {
  ScriptedServer server(std::move(script));
  AttachedFakeModel fake(server.address(), std::move(options));
  return fake.WaitUntilEnded();
}

TEST(ModelRunnerTest, AServerOfAnotherMajorVersionIsLeftWithOneSentence) {
  const absl::Status status = Serve([](Stream& stream) {
    EXPECT_TRUE(ReadOne(stream).has_hello());
    v1::AttachResponse response;
    response.mutable_accepted()->set_api_major_version(7);
    response.mutable_accepted()->set_api_minor_version(2);
    stream.Write(response);
    v1::AttachRequest request;
    EXPECT_FALSE(stream.Read(&request));
    return grpc::Status::OK;
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "the server has API version 7.2 and this runner " + std::to_string(kApiMajorVersion) +
                                  "." + std::to_string(kApiMinorVersion) +
                                  ": attach to a server whose major version is the runner's");
}

TEST(ModelRunnerTest, IntroducesItselfAndSendsTheVocabularyIfAsked) {
  absl::Status status = Serve([](Stream& stream) {
    const v1::RunnerHello hello = ReadOne(stream).hello();
    EXPECT_EQ(hello.model().name(), "fake");
    EXPECT_EQ(hello.capabilities().records_numerics_version(), kNumericsVersion);
    EXPECT_EQ(hello.model().vocab_fingerprint().size(), 32u);
    EXPECT_EQ(hello.api_major_version(), kApiMajorVersion);
    EXPECT_EQ(hello.api_minor_version(), kApiMinorVersion);
    v1::AttachResponse response = Accepted();
    response.mutable_accepted()->set_need_vocabulary(true);
    stream.Write(response);
    const v1::AttachRequest vocabulary = ReadOne(stream);
    EXPECT_TRUE(vocabulary.has_vocabulary());
    EXPECT_EQ(VocabFingerprint(vocabulary.vocabulary()), hello.model().vocab_fingerprint());
    return grpc::Status::OK;
  });
  EXPECT_THAT(status, testing::IsOk());
}

TEST(ModelRunnerTest, FingerprintIsTheDocumentedHash) {
  v1::Vocabulary vocabulary;
  vocabulary.set_token_bytes("ab");
  vocabulary.add_token_lengths(0);
  vocabulary.add_token_lengths(2);
  vocabulary.add_control_token_ids(0);
  // printf '\2\0\0\0''\1\0\0\0\0\0\0\0''\0\0\0\0\2\0\0\0ab' | sha256sum
  std::string hex;
  for (unsigned char byte : VocabFingerprint(vocabulary)) {
    char digits[3];
    std::snprintf(digits, sizeof(digits), "%02x", byte);
    hex += digits;
  }
  EXPECT_EQ(hex, "2ee25e2c34ac6679fc43795deae0629d2194785ff79ba687f27f16120e8a8dcd");
}

TEST(ModelRunnerTest, OmitsRecordsWhenTheyAreOff) {
  EXPECT_THAT(Serve(
                  [](Stream& stream) {
                    EXPECT_FALSE(ReadOne(stream).hello().capabilities().has_records_numerics_version());
                    return grpc::Status::OK;
                  },
                  {.records = false}),
              testing::IsOk());
}

TEST(ModelRunnerTest, ReturnsTheRowsThatAreWantedInOrderOfTheWork) {
  EXPECT_THAT(Serve([](Stream& stream) {
                Accept(stream);
                const std::vector<TokenId> a = FakeTokens("the cat");
                const std::vector<TokenId> b = FakeTokens("on a mat.");
                v1::RunBatch batch;
                batch.set_batch_id(1);
                AddWork(batch, 1, a, Rows::kLast);
                AddWork(batch, 2, b, Rows::kAll).mutable_rows(0)->set_first_row(1);
                AddWork(batch, 3, a, Rows::kNone);
                const std::vector<v1::AttachRequest> messages = RunBatch(stream, batch);
                EXPECT_EQ(messages.size(), 1u);
                const v1::BatchOutput& output = messages[0].output();
                EXPECT_EQ(output.outputs_size(), 2);
                EXPECT_EQ(output.outputs(0).sequence_id(), 1);
                EXPECT_EQ(output.outputs(0).row_count(), 1);
                EXPECT_EQ(output.outputs(1).sequence_id(), 2);
                EXPECT_EQ(output.outputs(1).row_count(), static_cast<int>(b.size()) - 1);
                EXPECT_EQ(output.outputs(1).block_row(), 1);
                EXPECT_EQ(RowOf(messages[0], 0), FakeRow(a));
                for (size_t i = 1; i < b.size(); ++i) {
                  EXPECT_EQ(RowOf(messages[0], static_cast<int>(i)), FakeRow(std::span(b).first(i + 1)));
                }
                // Each goes on where it was.
                v1::RunBatch next;
                next.set_batch_id(2);
                AddWork(next, 3, {5}, Rows::kLast);
                std::vector<TokenId> longer = a;
                longer.push_back(5);
                EXPECT_EQ(RowOf(RunBatch(stream, next)[0], 0), FakeRow(longer));
                return grpc::Status::OK;
              }),
              testing::IsOk());
}

TEST(ModelRunnerTest, RecordsAreWhatCoreComputesFromTheRow) {
  EXPECT_THAT(Serve([](Stream& stream) {
                Accept(stream);
                const std::vector<TokenId> tokens = FakeTokens("the cat sat");
                v1::RunBatch batch;
                batch.set_batch_id(4);
                v1::RecordsOutput& asked = *AddWork(batch, 9, tokens, Rows::kAll).mutable_rows(0)->mutable_records();
                // The first row has two targets, the last one, the one between none.
                for (int row : {0, 0, 2}) asked.add_target_rows(row);
                for (int target : {10, 3, 63}) asked.add_target_token_ids(target);
                asked.set_top_n(3);
                asked.add_named_token_ids(40);
                asked.set_ranks(true);
                asked.set_entropy(true);
                const std::vector<v1::AttachRequest> messages = RunBatch(stream, batch);
                const v1::RowRecords& records = messages[0].output().outputs(0).records();
                EXPECT_EQ(messages[0].output().outputs(0).row_count(), 3);
                EXPECT_TRUE(messages[0].payload().empty());
                EXPECT_EQ(records.target_log_probs_size(), 3);
                EXPECT_EQ(records.log_sum_exps_size(), 3);
                const std::vector<int> rows_of_targets = {0, 0, 2};
                for (int i = 0; i < 3; ++i) {
                  const std::vector<float> row = FakeRow(std::span(tokens).first(rows_of_targets[i] + 1));
                  const TokenId target = asked.target_token_ids(i);
                  EXPECT_EQ(records.target_log_probs(i), ReadRow(row)->LogProb(row[target]));
                  EXPECT_EQ(records.target_ranks(i), RankOf(row, target));
                }
                for (int i = 0; i < 3; ++i) {
                  const std::vector<float> row = FakeRow(std::span(tokens).first(i + 1));
                  const RowStatistics statistics = *ReadRow(row);
                  EXPECT_EQ(records.log_sum_exps(i), statistics.log_sum_exp);
                  EXPECT_EQ(records.argmax_token_ids(i), statistics.argmax);
                  EXPECT_EQ(records.entropies(i), ModelEntropy(row, statistics));
                  EXPECT_EQ(FromBytes<double>(records.named_log_probs())[i], statistics.LogProb(row[40]));
                  EXPECT_EQ(FromBytes<int32_t>(records.named_ranks())[i], RankOf(row, 40));
                  for (int k = 0; k < 3; ++k) {
                    const TokenId top = TopTokens().Find(row, 3)[k];
                    EXPECT_EQ(FromBytes<int32_t>(records.top_token_ids())[3 * i + k], top);
                    EXPECT_EQ(FromBytes<double>(records.top_log_probs())[3 * i + k], statistics.LogProb(row[top]));
                  }
                }
                return grpc::Status::OK;
              }),
              testing::IsOk());
}

TEST(ModelRunnerTest, SplitsRowsOverMessagesBelowTheCap) {
  constexpr int64_t kCap = 1000;  // three rows of 256 bytes
  EXPECT_THAT(Serve([](Stream& stream) {
                Accept(stream, kCap);
                const std::vector<TokenId> a = FakeTokens("the cat sat on");
                const std::vector<TokenId> b = FakeTokens("abcdefgh");
                v1::RunBatch batch;
                batch.set_batch_id(1);
                AddWork(batch, 1, a, Rows::kAll);
                AddWork(batch, 2, b, Rows::kAll);
                const std::vector<v1::AttachRequest> messages = RunBatch(stream, batch);
                EXPECT_GE(messages.size(), 4u);
                std::vector<size_t> next = {0, 0};
                for (const v1::AttachRequest& message : messages) {
                  EXPECT_LE(message.ByteSizeLong(), static_cast<size_t>(kCap));
                  for (const v1::SequenceOutput& output : message.output().outputs()) {
                    const std::vector<TokenId>& tokens = output.sequence_id() == 1 ? a : b;
                    size_t& at = next[output.sequence_id() - 1];
                    EXPECT_EQ(output.first_row(), static_cast<int>(at));
                    for (int i = 0; i < output.row_count(); ++i) {
                      ++at;
                      EXPECT_EQ(RowOf(message, output.block_row() + i), FakeRow(std::span(tokens).first(at)));
                    }
                  }
                }
                EXPECT_THAT(next, ElementsAre(a.size(), b.size()));
                return grpc::Status::OK;
              }),
              testing::IsOk());
}

TEST(ModelRunnerTest, RowThatFitsNoMessageFailsItsEntry) {
  EXPECT_THAT(Serve([](Stream& stream) {
                Accept(stream, 256);
                v1::RunBatch batch;
                batch.set_batch_id(1);
                AddWork(batch, 1, {4}, Rows::kLast);
                const std::vector<v1::AttachRequest> messages = RunBatch(stream, batch);
                EXPECT_EQ(messages.back().output().outputs(0).error().reason(), v1::ERROR_REASON_LIMIT_EXCEEDED);
                return grpc::Status::OK;
              }),
              testing::IsOk());
}

TEST(ModelRunnerTest, BadEntriesFailAloneWithTheirReason) {
  const auto outcome = [](std::span<const TokenId> tokens) {
    switch (tokens.front()) {
      case 20:
        return FakeOutcome::kNan;
      case 21:
        return FakeOutcome::kInfinity;
      case 22:
        return FakeOutcome::kNoFiniteLogit;
      case 23:
        return FakeOutcome::kFail;
      default:
        return FakeOutcome::kRow;
    }
  };
  EXPECT_THAT(Serve(
                  [](Stream& stream) {
                    Accept(stream);
                    v1::RunBatch batch;
                    batch.set_batch_id(1);
                    const std::vector<TokenId> good = FakeTokens("the cat");
                    AddWork(batch, 1, good, Rows::kLast);
                    AddWork(batch, 2, {20}, Rows::kLast);
                    AddWork(batch, 3, {21}, Rows::kLast).mutable_rows(0)->mutable_records();
                    AddWork(batch, 4, {22}, Rows::kLast);
                    AddWork(batch, 5, {23}, Rows::kLast);
                    AddWork(batch, 6, {kFakeVocabSize}, Rows::kLast);
                    AddWork(batch, 7, {}, Rows::kLast);
                    AddWork(batch, 8, {4}, Rows::kLast).set_keep_prefix_length(1);
                    AddWork(batch, 9, {4}, Rows::kLast).set_fork_from_sequence_id(77);
                    AddWork(batch, 10, std::vector<TokenId>(65, 4), Rows::kLast);
                    AddWork(batch, 11, {4}, Rows::kLast).mutable_rows(0)->clear_form();
                    AddWork(batch, 12, {4}, Rows::kAll).mutable_rows(0)->set_first_row(2);
                    AddWork(batch, 13, good, Rows::kLast);
                    std::map<int64_t, v1::ErrorReason> reasons;
                    std::map<int64_t, std::vector<float>> rows;
                    for (const v1::AttachRequest& message : RunBatch(stream, batch)) {
                      for (const v1::SequenceOutput& output : message.output().outputs()) {
                        if (output.has_error()) {
                          reasons[output.sequence_id()] = output.error().reason();
                          EXPECT_NE(output.error().code(), 0);
                        } else {
                          rows[output.sequence_id()] = RowOf(message, output.block_row());
                        }
                      }
                    }
                    const std::map<int64_t, v1::ErrorReason> expected = {
                        {2, v1::ERROR_REASON_MODEL_OUTPUT_INVALID},     {3, v1::ERROR_REASON_MODEL_OUTPUT_INVALID},
                        {4, v1::ERROR_REASON_MODEL_OUTPUT_INVALID},     {5, v1::ERROR_REASON_INTERNAL},
                        {6, v1::ERROR_REASON_TOKEN_ID_OUT_OF_RANGE},    {7, v1::ERROR_REASON_FIELD_REQUIRED},
                        {8, v1::ERROR_REASON_FIELD_OUT_OF_RANGE},       {9, v1::ERROR_REASON_SEQUENCE_NOT_OPEN},
                        {10, v1::ERROR_REASON_CONTEXT_LENGTH_EXCEEDED}, {11, v1::ERROR_REASON_FIELD_REQUIRED},
                        {12, v1::ERROR_REASON_FIELD_OUT_OF_RANGE},
                    };
                    EXPECT_EQ(reasons, expected);
                    EXPECT_EQ(rows[1], FakeRow(good));
                    EXPECT_EQ(rows[13], FakeRow(good));
                    return grpc::Status::OK;
                  },
                  {.outcome = outcome}),
              testing::IsOk());
}

TEST(ModelRunnerTest, CacheOfAFailedEntryIsDropped) {
  std::promise<void> evaluated;
  ScriptedServer server([&](Stream& stream) {
    Accept(stream);
    v1::RunBatch batch;
    batch.set_batch_id(1);
    AddWork(batch, 1, {20}, Rows::kLast);
    AddWork(batch, 2, {4}, Rows::kLast);
    RunBatch(stream, batch);
    // The answer to a later batch says that all of the first is done.
    v1::RunBatch next;
    next.set_batch_id(2);
    AddWork(next, 2, {5}, Rows::kLast);
    RunBatch(stream, next);
    evaluated.set_value();
    v1::AttachRequest message;
    EXPECT_FALSE(stream.Read(&message));
    return grpc::Status::OK;
  });
  AttachedFakeModel fake(server.address(), {.outcome = [](std::span<const TokenId> tokens) {
                           return tokens.front() == 20 ? FakeOutcome::kNan : FakeOutcome::kRow;
                         }});
  evaluated.get_future().wait();
  EXPECT_EQ(fake.model().open_sequence_count(), 1);
  EXPECT_THAT(fake.Stop(), testing::IsOk());
}

TEST(ModelRunnerTest, ForkCopiesTheSourceAsItWasBeforeTheBatch) {
  EXPECT_THAT(Serve([](Stream& stream) {
                Accept(stream);
                v1::RunBatch first;
                first.set_batch_id(1);
                AddWork(first, 1, {10, 11, 12}, Rows::kNone);
                RunBatch(stream, first);
                v1::RunBatch second;
                second.set_batch_id(2);
                AddWork(second, 1, {13}, Rows::kLast);
                AddWork(second, 2, {14}, Rows::kLast).set_fork_from_sequence_id(1);
                v1::SequenceWork& cut = AddWork(second, 3, {15}, Rows::kLast);
                cut.set_fork_from_sequence_id(1);
                cut.set_keep_prefix_length(1);
                const std::vector<v1::AttachRequest> messages = RunBatch(stream, second);
                EXPECT_EQ(RowOf(messages[0], 0), FakeRow(std::vector<TokenId>{10, 11, 12, 13}));
                EXPECT_EQ(RowOf(messages[0], 1), FakeRow(std::vector<TokenId>{10, 11, 12, 14}));
                EXPECT_EQ(RowOf(messages[0], 2), FakeRow(std::vector<TokenId>{10, 15}));
                return grpc::Status::OK;
              }),
              testing::IsOk());
}

// A trie: a trunk, a branch of its whole, a branch of a part of it, and a twig of a branch, in one batch.
TEST(ModelRunnerTest, ForkReachesIntoWhatItsSourceAppends) {
  EXPECT_THAT(
      Serve([](Stream& stream) {
        Accept(stream);
        v1::RunBatch first;
        first.set_batch_id(1);
        AddWork(first, 1, {10}, Rows::kNone);
        RunBatch(stream, first);
        v1::RunBatch second;
        second.set_batch_id(2);
        const auto fork = [&](int64_t id, int64_t source, std::optional<int32_t> keep, TokenId token) {
          v1::SequenceWork& work = AddWork(second, id, {token}, Rows::kLast);
          work.set_fork_from_sequence_id(source);
          if (keep) work.set_keep_prefix_length(*keep);
        };
        AddWork(second, 1, {11, 12}, Rows::kLast);
        fork(2, 1, 3, 20);
        fork(3, 1, 2, 21);
        fork(4, 1, std::nullopt, 22);
        fork(5, 2, 4, 23);
        fork(6, 2, std::nullopt, 24);
        fork(7, 2, 5, 25);
        std::map<int64_t, std::vector<float>> rows;
        std::map<int64_t, v1::ErrorReason> reasons;
        for (const v1::AttachRequest& message : RunBatch(stream, second)) {
          for (const v1::SequenceOutput& output : message.output().outputs()) {
            if (output.has_error()) {
              reasons[output.sequence_id()] = output.error().reason();
            } else {
              rows[output.sequence_id()] = RowOf(message, output.block_row());
            }
          }
        }
        const std::map<int64_t, std::vector<float>> expected = {
            {1, FakeRow(std::vector<TokenId>{10, 11, 12})},         {2, FakeRow(std::vector<TokenId>{10, 11, 12, 20})},
            {3, FakeRow(std::vector<TokenId>{10, 11, 21})},         {4, FakeRow(std::vector<TokenId>{10, 22})},
            {5, FakeRow(std::vector<TokenId>{10, 11, 12, 20, 23})}, {6, FakeRow(std::vector<TokenId>{10, 11, 12, 24})},
        };
        EXPECT_EQ(rows, expected);
        EXPECT_EQ(reasons, (std::map<int64_t, v1::ErrorReason>{{7, v1::ERROR_REASON_FIELD_OUT_OF_RANGE}}));
        return grpc::Status::OK;
      }),
      testing::IsOk());
}

// Records of all rows and the last one's logits, too, and each message below the cap.
TEST(ModelRunnerTest, RowIsGivenInEveryFormThatItIsWantedIn) {
  for (const int64_t cap : {int64_t{1} << 20, int64_t{1100}}) {
    EXPECT_THAT(Serve([cap](Stream& stream) {
                  Accept(stream, cap);
                  const std::vector<TokenId> tokens = FakeTokens("the cat sat");
                  const auto count = static_cast<int>(tokens.size());
                  v1::RunBatch batch;
                  batch.set_batch_id(1);
                  v1::SequenceWork& work = AddWork(batch, 1, tokens, Rows::kLast);
                  work.add_rows()->mutable_records()->set_entropy(true);
                  v1::RowRequest& middle = *work.add_rows();
                  middle.set_first_row(1);
                  middle.set_row_count(count - 1);
                  middle.mutable_logits();
                  std::map<std::pair<int, int>, std::vector<float>> rows;
                  std::vector<double> sums;
                  for (const v1::AttachRequest& message : RunBatch(stream, batch)) {
                    EXPECT_LE(static_cast<int64_t>(message.ByteSizeLong()), cap);
                    for (const v1::SequenceOutput& output : message.output().outputs()) {
                      if (output.request_index() == 1) {
                        EXPECT_EQ(output.first_row(), static_cast<int>(sums.size()));
                        for (const double sum : output.records().log_sum_exps()) sums.push_back(sum);
                        continue;
                      }
                      for (int i = 0; i < output.row_count(); ++i) {
                        rows[{output.request_index(), output.first_row() + i}] = RowOf(message, output.block_row() + i);
                      }
                    }
                  }
                  EXPECT_EQ(rows.size(), static_cast<size_t>(count));
                  EXPECT_EQ((rows[{0, 0}]), FakeRow(tokens));
                  for (int i = 1; i < count; ++i) {
                    EXPECT_EQ((rows[{2, i - 1}]), FakeRow(std::span(tokens).first(static_cast<size_t>(i + 1))));
                  }
                  EXPECT_EQ(sums.size(), tokens.size());
                  for (int i = 0; i < count; ++i) {
                    const std::vector<float> row = FakeRow(std::span(tokens).first(static_cast<size_t>(i + 1)));
                    EXPECT_EQ(sums[static_cast<size_t>(i)], ReadRow(row)->log_sum_exp);
                  }
                  return grpc::Status::OK;
                }),
                testing::IsOk());
  }
}

// What `Decoder` makes of the same rows, without a runner.
class Chooser {
 public:
  explicit Chooser(const v1::ChoiceOutput& choice) : decoders_(kFakeVocabSize), choice_(choice) {}
  TokenId Next(const std::vector<TokenId>& tokens) {
    const auto chosen = decoders_.Choose(choice_, FakeRow(tokens));
    choice_.clear_start();
    EXPECT_THAT(chosen, testing::IsOk());
    return chosen->token().token_id();
  }

 private:
  Decoders decoders_;
  v1::ChoiceOutput choice_;
};

v1::ChoiceOutput Start(int64_t decoder_id) {
  v1::ChoiceOutput choice;
  choice.set_decoder_id(decoder_id);
  v1::DecoderStart& start = *choice.mutable_start();
  start.mutable_sampling()->set_temperature(1.5);
  start.mutable_sampling()->set_seed(42);
  start.set_sequence_key(static_cast<uint64_t>(decoder_id));
  return choice;
}

v1::SequenceWork& GoOn(v1::RunBatch& batch, int64_t sequence_id, int64_t decoder_id) {
  v1::SequenceWork& work = *batch.add_work();
  work.set_sequence_id(sequence_id);
  work.set_append_chosen_decoder_id(decoder_id);
  work.add_rows()->mutable_choice()->set_decoder_id(decoder_id);
  return work;
}

std::map<int64_t, v1::SequenceOutput> ById(const std::vector<v1::AttachRequest>& messages) {
  std::map<int64_t, v1::SequenceOutput> outputs;
  for (const v1::AttachRequest& message : messages) {
    for (const v1::SequenceOutput& output : message.output().outputs()) outputs[output.sequence_id()] = output;
  }
  return outputs;
}

// Two completions of one prompt, two steps of each, all batches sent before the first is answered.
TEST(ModelRunnerTest, AppendsWhatItHasChosen) {
  EXPECT_THAT(Serve([](Stream& stream) {
                Accept(stream);
                const std::vector<TokenId> prompt = FakeTokens("the cat");
                v1::RunBatch first;
                first.set_batch_id(1);
                v1::SequenceWork& read = AddWork(first, 1, prompt, Rows::kNone);
                for (const int64_t decoder_id : {11, 12}) {
                  v1::RowRequest& request = *read.add_rows();
                  request.set_first_row(static_cast<int32_t>(prompt.size()) - 1);
                  *request.mutable_choice() = Start(decoder_id);
                }
                v1::RunBatch second;
                second.set_batch_id(2);
                for (const int64_t id : {1, 2}) GoOn(second, 100 + id, 10 + id).set_fork_from_sequence_id(1);
                v1::RunBatch third;
                third.set_batch_id(3);
                for (const int64_t id : {1, 2}) GoOn(third, 100 + id, 10 + id);
                // Appended already, never chosen, not known.
                GoOn(third, 103, 11);
                AddWork(third, 104, {5}, Rows::kLast);
                GoOn(third, 105, 99);
                v1::AttachResponse response;
                for (const v1::RunBatch* batch : {&first, &second, &third}) {
                  *response.mutable_batch() = *batch;
                  stream.Write(response);
                }
                std::vector<std::map<int64_t, v1::SequenceOutput>> outputs(3);
                std::vector<TokenId> firsts;
                for (int64_t batch = 1; batch <= 3;) {
                  const v1::AttachRequest message = ReadOne(stream);
                  EXPECT_EQ(message.output().batch_id(), batch);
                  for (const v1::SequenceOutput& output : message.output().outputs()) {
                    outputs[static_cast<size_t>(batch - 1)][output.sequence_id()] = output;
                    if (batch == 1) firsts.push_back(output.chosen().token().token_id());
                  }
                  if (message.output().final()) ++batch;
                }
                EXPECT_EQ(firsts.size(), 2u);
                for (const int64_t id : {1, 2}) {
                  Chooser chooser(Start(10 + id));
                  std::vector<TokenId> tokens = prompt;
                  tokens.push_back(chooser.Next(tokens));
                  EXPECT_EQ(firsts[static_cast<size_t>(id - 1)], tokens.back());
                  for (const size_t batch : {1, 2}) {
                    tokens.push_back(chooser.Next(tokens));
                    const v1::SequenceOutput& output = outputs[batch][100 + id];
                    EXPECT_FALSE(output.skipped());
                    EXPECT_EQ(output.chosen().token().token_id(), tokens.back());
                    EXPECT_EQ(output.chosen().token().position(), static_cast<int32_t>(batch));
                  }
                }
                EXPECT_TRUE(outputs[2][103].skipped());
                EXPECT_FALSE(outputs[2][104].skipped());
                EXPECT_TRUE(outputs[2][105].skipped());
                return grpc::Status::OK;
              }),
              testing::IsOk());
}

// A choice that ends its sequence, a row that is bad, an entry that is refused, and one that fails after its choice.
TEST(ModelRunnerTest, SkipsWhatHasNothingToAppend) {
  const auto outcome = [](std::span<const TokenId> tokens) {
    if (tokens.front() == 20) return FakeOutcome::kNan;
    return tokens.front() == 21 && tokens.size() == 3 ? FakeOutcome::kFail : FakeOutcome::kRow;
  };
  EXPECT_THAT(Serve(
                  [](Stream& stream) {
                    Accept(stream);
                    v1::RunBatch first;
                    first.set_batch_id(1);
                    const auto add = [&](int64_t id, std::vector<TokenId> tokens) -> v1::RowRequest& {
                      v1::RowRequest& request = *AddWork(first, id, tokens, Rows::kNone).add_rows();
                      request.set_row_count(1);
                      *request.mutable_choice() = Start(id);
                      return request;
                    };
                    add(1, {5});
                    v1::DecoderStart& ends = *add(2, {5}).mutable_choice()->mutable_start();
                    for (TokenId id = 0; id < kFakeVocabSize; ++id) ends.add_end_token_ids(id);
                    add(3, {20});
                    add(4, {kFakeVocabSize});
                    add(5, {21, 5, 6});
                    first.mutable_work(4)->add_rows()->mutable_logits();
                    std::map<int64_t, v1::SequenceOutput> outputs = ById(RunBatch(stream, first));
                    EXPECT_TRUE(outputs[1].chosen().has_token());
                    EXPECT_TRUE(outputs[2].chosen().has_token());
                    for (const int64_t id : {3, 4, 5}) EXPECT_TRUE(outputs[id].has_error()) << id;
                    v1::RunBatch second;
                    second.set_batch_id(2);
                    for (const int64_t id : {1, 2, 3, 4, 5}) GoOn(second, id, id);
                    outputs = ById(RunBatch(stream, second));
                    EXPECT_TRUE(outputs[1].chosen().has_token());
                    for (const int64_t id : {2, 3, 4, 5}) {
                      EXPECT_TRUE(outputs[id].skipped()) << id;
                      EXPECT_FALSE(outputs[id].has_chosen()) << id;
                      EXPECT_FALSE(outputs[id].has_error()) << id;
                    }
                    return grpc::Status::OK;
                  },
                  {.outcome = outcome}),
              testing::IsOk());
}

TEST(ModelRunnerTest, TokenizesWhileABatchIsEvaluated) {
  std::promise<void> tokenized;
  std::shared_future<void> may_evaluate = tokenized.get_future().share();
  EXPECT_THAT(Serve(
                  [&](Stream& stream) {
                    Accept(stream);
                    v1::AttachResponse response;
                    v1::RunBatch& batch = *response.mutable_batch();
                    batch.set_batch_id(1);
                    AddWork(batch, 1, {4}, Rows::kLast);
                    stream.Write(response);
                    response.Clear();
                    response.mutable_tokenize()->set_call_id(5);
                    response.mutable_tokenize()->add_texts("the cat");
                    response.mutable_tokenize()->add_texts("at");
                    stream.Write(response);
                    v1::AttachRequest answer = ReadOne(stream);
                    EXPECT_EQ(answer.tokenized().call_id(), 5);
                    EXPECT_THAT(answer.tokenized().tokens(0).token_ids(), ElementsAre(33, 38));
                    EXPECT_THAT(answer.tokenized().tokens(1).token_ids(), ElementsAre(35));
                    tokenized.set_value();
                    EXPECT_TRUE(ReadOne(stream).output().final());

                    response.Clear();
                    response.mutable_detokenize()->set_call_id(6);
                    for (int id : {33, 38, 1}) response.mutable_detokenize()->add_tokens()->add_token_ids(id);
                    stream.Write(response);
                    answer = ReadOne(stream);
                    EXPECT_EQ(answer.detokenized().call_id(), 6);
                    EXPECT_THAT(answer.detokenized().texts(), ElementsAre("the", " cat", ""));

                    response.Clear();
                    response.mutable_tokenize()->add_texts("CAT");
                    stream.Write(response);
                    EXPECT_EQ(ReadOne(stream).tokenized().error().reason(), v1::ERROR_REASON_MALFORMED_MESSAGE);
                    response.Clear();
                    response.mutable_detokenize()->add_tokens()->add_token_ids(-1);
                    stream.Write(response);
                    EXPECT_EQ(ReadOne(stream).detokenized().error().reason(), v1::ERROR_REASON_TOKEN_ID_OUT_OF_RANGE);
                    return grpc::Status::OK;
                  },
                  {.before_batch = [&](const v1::RunBatch&) { may_evaluate.wait(); }}),
              testing::IsOk());
}

TEST(ModelRunnerTest, EndsWithTheServersStatus) {
  EXPECT_THAT(Serve([](Stream& stream) {
                ReadOne(stream);
                return grpc::Status(grpc::StatusCode::ALREADY_EXISTS, "model fake has a runner");
              }),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("has a runner")));
  EXPECT_THAT(Serve([](Stream& stream) {
                Accept(stream);
                return grpc::Status(grpc::StatusCode::UNAVAILABLE, "draining");
              }),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("draining")));
}

TEST(ModelRunnerTest, SaysThatNoServerAnswers) {
  FakeModel model;
  EXPECT_THAT(ServeModel({.server_address = "unix:/nonexistent/runner.sock"}, model, std::stop_token()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("unix:/nonexistent/runner.sock")));
}

TEST(ModelRunnerTest, LeavesInOrderWhenStopped) {
  std::promise<bool> half_closed;
  ScriptedServer server([&](Stream& stream) {
    Accept(stream);
    v1::AttachRequest message;
    half_closed.set_value(!stream.Read(&message));
    return grpc::Status::OK;
  });
  AttachedFakeModel fake(server.address());
  ASSERT_TRUE(fake.WaitUntilAccepted());
  EXPECT_THAT(fake.Stop(), testing::IsOk());
  EXPECT_TRUE(half_closed.get_future().get());
}

TEST(ModelRunnerTest, RefusesAServerThatBreaksTheProtocol) {
  EXPECT_THAT(Serve([](Stream& stream) {
                ReadOne(stream);
                v1::AttachResponse response;
                response.mutable_batch()->set_batch_id(1);
                stream.Write(response);
                v1::AttachRequest message;
                stream.Read(&message);
                return grpc::Status::OK;
              }),
              testing::HasReason(ErrorReason::kRunnerProtocol));
  EXPECT_THAT(Serve([](Stream& stream) {
                Accept(stream);
                v1::AttachResponse response;
                AddWork(*response.mutable_batch(), 1, {4}, Rows::kLast);
                AddWork(*response.mutable_batch(), 1, {4}, Rows::kLast);
                stream.Write(response);
                v1::AttachRequest message;
                stream.Read(&message);
                return grpc::Status::OK;
              }),
              testing::HasReason(ErrorReason::kRunnerProtocol));
}

}  // namespace
}  // namespace logitd::runner
