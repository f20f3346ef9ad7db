// `logit decode`: the steps that are sent for a file, and how the tokens are shown.
#include <deque>

#include "tests/client/cli/command_rig.h"
#include "tests/client/logitd/npy_bytes.h"

namespace logitd::cli {
namespace {

using client::RawBytes;
using client::SavedArray;
using client::TemporaryFile;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A server that chooses token 4 + position at each step, with log-prob -0.5, until `finish_after` tokens; then the
// sequence is not open any more. It refuses the row at `bad_position`.
struct FakeDecoder {
  int finish_after = 1000;
  int bad_position = -1;
  // How a sequence that is closed ends.
  v1::FinishReason close_reason = v1::FINISH_REASON_CANCELLED;
  // Whether records hold the kept set and the draw.
  bool has_draw = false;
  grpc::Status status = grpc::Status::OK;
  std::vector<v1::DecodeRequest> requests;

  v1::DecodeResponse Answer(const v1::DecodeRequest& request) {
    requests.push_back(request);
    v1::DecodeResponse response;
    if (request.has_config()) {
      response.mutable_started()->set_seed(99);
      return response;
    }
    v1::BatchResult& result = *response.mutable_result();
    result.set_batch_id(request.batch().batch_id());
    for (const v1::OpenSequence& open : request.batch().opens()) {
      v1::OpenResult& opened = *result.add_opens();
      opened.set_sequence_id(open.sequence_id());
      opened.set_seed(99);
      opened.set_sequence_key(open.sequence_key());
      is_open = true;
    }
    for (int64_t sequence_id : request.batch().close_sequence_ids()) {
      v1::CloseResult& closed = *result.add_closes();
      closed.set_sequence_id(sequence_id);
      closed.mutable_finish()->set_reason(close_reason);
      is_open = false;
    }
    for (const v1::SequenceStep& step : request.batch().steps()) {
      v1::StepResult& stepped = *result.add_steps();
      if (!is_open || step.position() == bad_position) {
        *stepped.mutable_error() = MakeError(3, v1::ERROR_REASON_NON_FINITE_LOGIT, "batch.steps[0].logits");
        is_open = false;
        continue;
      }
      v1::TokenRecord& token = *stepped.mutable_chosen()->add_tokens();
      token.set_token_id(4 + step.position());
      token.set_position(step.position());
      token.set_model_log_prob(-0.5);
      token.set_sampling_log_prob(-0.25);
      if (has_draw) {
        token.set_kept_count(2);
        token.set_kept_mass(0.75);
        token.mutable_draw()->set_uniform(uint64_t{5} << 61);
      }
      v1::SequenceTotals& totals = *stepped.mutable_chosen()->mutable_totals();
      totals.set_token_count(step.position() + 1);
      totals.set_cumulative_model_log_prob(-0.5 * (step.position() + 1));
      totals.set_cumulative_sampling_log_prob(-0.25 * (step.position() + 1));
      if (step.position() + 1 < finish_after) continue;
      stepped.mutable_chosen()->mutable_finish()->set_reason(v1::FINISH_REASON_MAX_TOKENS);
      is_open = false;
    }
    return response;
  }

  bool is_open = false;
};

class FakeStream final : public grpc::ClientReaderWriterInterface<v1::DecodeRequest, v1::DecodeResponse> {
 public:
  explicit FakeStream(FakeDecoder* decoder) : decoder_(decoder) {}
  bool Write(const v1::DecodeRequest& request, grpc::WriteOptions) override {
    if (!decoder_->status.ok()) return false;
    responses_.push_back(decoder_->Answer(request));
    return true;
  }
  bool Read(v1::DecodeResponse* response) override {
    if (responses_.empty()) return false;
    *response = std::move(responses_.front());
    responses_.pop_front();
    return true;
  }
  bool NextMessageSize(uint32_t*) override { return !responses_.empty(); }
  bool WritesDone() override { return true; }
  void WaitForInitialMetadata() override {}
  grpc::Status Finish() override { return decoder_->status; }

 private:
  FakeDecoder* decoder_;
  std::deque<v1::DecodeResponse> responses_;
};

class DecodeTest : public ::testing::Test {
 protected:
  int Run(const std::string& bytes, std::vector<std::string> flags = {}) {
    EXPECT_CALL(rig_.decoding(), DecodeRaw).WillOnce([&](grpc::ClientContext*) { return new FakeStream(&decoder_); });
    const TemporaryFile file(bytes);
    flags.insert(flags.begin(), {"decode", "--logits", file.path()});
    return rig_.Run(flags);
  }
  const v1::DecodeConfig& config() { return decoder_.requests[0].config(); }

  CommandRig rig_;
  FakeDecoder decoder_;
};

const std::string kRows = RawBytes<float>({6, 3, 0.5, 1, 2, 3});

TEST_F(DecodeTest, RowsAreTheStepsOfASequence) {
  decoder_.finish_after = 2;
  EXPECT_EQ(Run(SavedArray("<f4", "(2, 3)", kRows)), 0);
  EXPECT_EQ(config().vocab_size(), 3);
  EXPECT_FALSE(config().has_sampling());
  EXPECT_EQ(config().stop().max_tokens(), 2) << "as many as there are rows";
  ASSERT_EQ(decoder_.requests.size(), 2u);
  const v1::StepBatch& batch = decoder_.requests[1].batch();
  EXPECT_EQ(batch.opens(0).sequence_key(), 0u);
  EXPECT_EQ(batch.blocks(0).dtype(), v1::LOGITS_DTYPE_F32);
  EXPECT_EQ(batch.blocks(0).row_count(), 2);
  ASSERT_EQ(batch.steps_size(), 2);
  for (int t = 0; t < 2; ++t) {
    EXPECT_EQ(batch.steps(t).sequence_id(), batch.opens(0).sequence_id());
    EXPECT_EQ(batch.steps(t).position(), t);
    EXPECT_EQ(batch.steps(t).row(), t);
  }
  EXPECT_EQ(decoder_.requests[1].payload(), kRows);
  EXPECT_EQ(rig_.out(),
            "position  token id  model log-prob  sampling log-prob  running sum\n"
            "       0         4       -0.500000          -0.250000    -0.500000\n"
            "       1         5       -0.500000          -0.250000    -1.000000\n"
            "\n"
            "finish reason: max_tokens\n"
            "tokens: 2\n"
            "cumulative model log-prob: -1.000000\n"
            "cumulative sampling log-prob: -0.500000\n"
            "perplexity: 1.648721\n"
            "seed: 99, sequence key: 0\n");
}

TEST_F(DecodeTest, FlagsAreFieldsOfTheSameName) {
  decoder_.finish_after = 2;
  EXPECT_EQ(Run(SavedArray("<f4", "(2, 3)", kRows),
                {"--temperature", "0.7", "--seed", "7", "--sequence-key", "5", "--end-token-ids", "2,1", "--top-p",
                 "0.9", "--banned-tokens", "0", "--max-tokens", "9", "--min-tokens", "1", "--ignore-eos", "--rank"}),
            0);
  EXPECT_EQ(config().sampling().temperature(), 0.7);
  EXPECT_EQ(config().sampling().seed(), 7u);
  EXPECT_EQ(config().sampling().top_p(), 0.9);
  EXPECT_THAT(config().sampling().banned_tokens().ids().token_ids(), ElementsAre(0));
  EXPECT_THAT(config().end_token_ids(), ElementsAre(2, 1));
  EXPECT_EQ(config().stop().max_tokens(), 9);
  EXPECT_EQ(config().stop().min_tokens(), 1);
  EXPECT_TRUE(config().stop().ignore_eos());
  EXPECT_TRUE(config().record().rank());
  EXPECT_EQ(decoder_.requests[1].batch().opens(0).sequence_key(), 5u);
}

TEST_F(DecodeTest, GreedyHasSeedZero) {
  decoder_.finish_after = 2;
  EXPECT_EQ(Run(SavedArray("<f4", "(2, 3)", kRows), {"--temperature", "0"}), 0);
  EXPECT_TRUE(config().sampling().has_seed());
  EXPECT_EQ(config().sampling().seed(), 0u);
}

TEST_F(DecodeTest, EachSequenceOfABatchHasAKeyOfItsOwnAndALineOfJson) {
  decoder_.finish_after = 1;
  EXPECT_EQ(Run(SavedArray("<f4", "(2, 1, 3)", kRows), {"--sequence-key", "41", "--json"}), 0);
  ASSERT_EQ(decoder_.requests.size(), 3u);
  EXPECT_EQ(decoder_.requests[1].batch().opens(0).sequence_key(), 41u);
  EXPECT_EQ(decoder_.requests[2].batch().opens(0).sequence_key(), 42u);
  EXPECT_NE(decoder_.requests[1].batch().opens(0).sequence_id(), decoder_.requests[2].batch().opens(0).sequence_id());
  const std::string record =
      "\"tokens\":[{\"token_id\":4,\"token_bytes\":\"\",\"position\":0,\"origin\":\"TOKEN_ORIGIN_UNSPECIFIED\","
      "\"log_prob_state\":\"LOG_PROB_STATE_UNSPECIFIED\",\"model_log_prob\":-0.5,\"sampling_log_prob\":-0.25}],"
      "\"text\":\"\","
      "\"totals\":{\"token_count\":1,\"cumulative_model_log_prob\":-0.5,\"cumulative_sampling_log_prob\":-0.25},"
      "\"finish\":{\"reason\":\"FINISH_REASON_MAX_TOKENS\"},\"seed\":\"99\"}\n";
  EXPECT_EQ(rig_.out(),
            "{\"index\":0,\"sequence_key\":\"41\"," + record + "{\"index\":1,\"sequence_key\":\"42\"," + record);
}

TEST_F(DecodeTest, AFinishLeavesTheRowsAfterItOut) {
  // Three messages of 1,024 rows a sequence; it ends in the first.
  decoder_.finish_after = 3;
  const std::string bytes(size_t{2} * 3000 * 2, '\0');
  EXPECT_EQ(Run(SavedArray("<f2", "(2, 3000, 1)", bytes), {"--max-tokens", "3"}), 0);
  ASSERT_EQ(decoder_.requests.size(), 3u);
  EXPECT_EQ(decoder_.requests[1].batch().opens_size(), 1);
  EXPECT_EQ(decoder_.requests[2].batch().opens_size(), 1);
  EXPECT_THAT(rig_.out(), HasSubstr("tokens: 3\n"));
}

TEST_F(DecodeTest, LongSequencesGoInSeveralBatches) {
  decoder_.finish_after = 1500;
  const std::string bytes(size_t{1500} * 2, '\0');
  EXPECT_EQ(Run(SavedArray("<f2", "(1500, 1)", bytes)), 0);
  ASSERT_EQ(decoder_.requests.size(), 3u);
  EXPECT_EQ(decoder_.requests[2].batch().opens_size(), 0);
  EXPECT_EQ(decoder_.requests[2].batch().steps(0).position(), 1024);
  EXPECT_EQ(decoder_.requests[2].batch().steps(0).row(), 0);
  EXPECT_EQ(decoder_.requests[2].batch().steps_size(), 476);
}

TEST_F(DecodeTest, ASequenceThatRunsOutOfRowsIsClosed) {
  EXPECT_EQ(Run(SavedArray("<f4", "(2, 1, 3)", kRows), {"--max-tokens", "10"}), 0);
  ASSERT_EQ(decoder_.requests.size(), 5u);
  for (int i : {2, 4}) {
    EXPECT_THAT(decoder_.requests[i].batch().close_sequence_ids(),
                ElementsAre(decoder_.requests[i - 1].batch().opens(0).sequence_id()));
  }
  EXPECT_THAT(rig_.out(), HasSubstr("finish reason: cancelled\n"));
  EXPECT_THAT(rig_.out(), HasSubstr("no more rows"));
}

TEST_F(DecodeTest, HowAClosedSequenceEndedIsTheServersWord) {
  decoder_.close_reason = v1::FINISH_REASON_CONTEXT_FULL;
  EXPECT_EQ(Run(SavedArray("<f4", "(2, 1, 3)", kRows), {"--max-tokens", "10"}), 0);
  EXPECT_THAT(rig_.out(), HasSubstr("finish reason: context_full\n"));
}

TEST_F(DecodeTest, ABadRowFailsItsSequenceAlone) {
  decoder_.finish_after = 2;
  decoder_.bad_position = 1;
  EXPECT_EQ(Run(SavedArray("<f2", "(1, 2, 1)", "1234")), kExitItemFailed);
  EXPECT_THAT(rig_.out(), HasSubstr("failed: batch.steps[0].logits is wrong\ntokens: 1\n"));
  EXPECT_THAT(rig_.out(), HasSubstr("the row that failed: 1\n"));
}

TEST_F(DecodeTest, ThePromptIsEverySequences) {
  EXPECT_EQ(Run(SavedArray("<f4", "(2, 1, 3)", kRows), {"--prompt-tokens", "2,2,0", "--repetition-penalty", "1.2"}), 0);
  EXPECT_EQ(config().sampling().repetition_penalty(), 1.2);
  ASSERT_EQ(decoder_.requests.size(), 5u);
  for (int i : {1, 3}) {
    EXPECT_THAT(decoder_.requests[i].batch().opens(0).fresh().prompt_token_ids(), ElementsAre(2, 2, 0));
  }
}

TEST_F(DecodeTest, TheKeptSetAndTheDrawHaveColumns) {
  decoder_.finish_after = 1;
  decoder_.has_draw = true;
  EXPECT_EQ(
      Run(SavedArray("<f4", "(1, 3)", std::string(12, '\0')), {"--kept-set", "--draw", "--packed-top", "--top-n", "2"}),
      0);
  EXPECT_TRUE(config().record().kept_set());
  EXPECT_TRUE(config().record().draw());
  EXPECT_TRUE(config().record().packed_top());
  EXPECT_THAT(rig_.out(),
              HasSubstr("position  token id  model log-prob  sampling log-prob  kept  kept mass      draw  "
                        "running sum\n"
                        "       0         4       -0.500000          -0.250000     2   0.750000  0.625000    "
                        "-0.500000\n"));
}

TEST_F(DecodeTest, ARefusalOfTheStreamEndsTheCommand) {
  decoder_.status = Refusal(MakeError(3, v1::ERROR_REASON_FIELD_OUT_OF_RANGE, "config.sampling.temperature"));
  EXPECT_EQ(Run(SavedArray("<f4", "(2, 3)", kRows), {"--temperature", "-1"}), kExitRefused);
  EXPECT_EQ(rig_.err(), "logit: config.sampling.temperature is wrong\n");
}

TEST_F(DecodeTest, HelpSaysThatRowsDoNotFollowTheTokens) {
  EXPECT_EQ(rig_.Run({"decode", "--help"}), 0);
  EXPECT_THAT(rig_.out(), HasSubstr("The rows do not depend on the tokens chosen"));
}

TEST(DecodeUsageTest, WhatIsWrongHereIsNotSent) {
  const TemporaryFile doubles(SavedArray("<f8", "(1, 1)", "12345678"));
  const struct {
    std::vector<std::string> args;
    const char* message;
  } cases[] = {
      {{"decode"}, "--logits is missing"},
      {{"decode", "rows.npy"}, "unexpected argument"},
      {{"decode", "--logits", doubles.path()}, "it holds float64"},
      {{"decode", "--logits", doubles.path(), "--sequence-key", "-1"}, "--sequence-key must be"},
      {{"decode", "--logits", "/nowhere.npy"}, "there is no such file"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.message);
    CommandRig rig;
    EXPECT_EQ(rig.Run(test.args), kExitUsage);
    EXPECT_THAT(rig.err(), HasSubstr(test.message));
    EXPECT_THAT(rig.out(), IsEmpty());
  }
}

}  // namespace
}  // namespace logitd::cli
