// A runner that chooses tokens, appends what it chose, and gives a row in several forms.
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "client/runner/decoders.h"
#include "core/distribution.h"
#include "core/token_record.h"
#include "tests/client/runner/scripted_server.h"
#include "tests/testing/matchers.h"

namespace logitd::runner {
namespace {

using ::logitd::testing::FakeOutcome;
using ::logitd::testing::FakeRow;
using ::logitd::testing::FakeTokens;
using ::logitd::testing::kFakeVocabSize;

// A trie: a trunk, a branch of its whole, a branch of a part of it, and a twig of a branch, in one batch.
TEST(ChoosingRunnerTest, ForkReachesIntoWhatItsSourceAppends) {
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
TEST(ChoosingRunnerTest, RowIsGivenInEveryFormThatItIsWantedIn) {
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
TEST(ChoosingRunnerTest, AppendsWhatItHasChosen) {
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
TEST(ChoosingRunnerTest, SkipsWhatHasNothingToAppend) {
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

}  // namespace
}  // namespace logitd::runner
