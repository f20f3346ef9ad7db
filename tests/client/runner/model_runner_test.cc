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

#include "core/distribution.h"
#include "core/limits.h"
#include "core/token_record.h"
#include "tests/client/runner/scripted_server.h"
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
                  EXPECT_EQ(records.entropies(i),
                            *StatisticsOf(row, {statistics.max, statistics.argmax}, /*with_entropy=*/true).entropy);
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
