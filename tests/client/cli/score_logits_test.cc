// `logit score --logits`: what is sent for a file, and how the reply is shown.
#include <deque>
#include <limits>

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

// Keeps what is written; a write after `room` of them fails, as it does when the server has ended the call. Its replies
// come at any time.
class RecordingStream final
    : public grpc::ClientReaderWriterInterface<v1::ScoreLogitsRequest, v1::ScoreLogitsResponse> {
 public:
  RecordingStream(std::vector<v1::ScoreLogitsRequest>* written, std::deque<v1::ScoreLogitsResponse> responses,
                  grpc::Status status, size_t room)
      : written_(written), responses_(std::move(responses)), status_(std::move(status)), room_(room) {}
  bool Write(const v1::ScoreLogitsRequest& request, grpc::WriteOptions) override {
    if (written_->size() == room_) return false;
    written_->push_back(request);
    return true;
  }
  bool WritesDone() override { return true; }
  bool NextMessageSize(uint32_t*) override { return !responses_.empty(); }
  bool Read(v1::ScoreLogitsResponse* response) override {
    if (responses_.empty()) return false;
    *response = std::move(responses_.front());
    responses_.pop_front();
    return true;
  }
  void WaitForInitialMetadata() override {}
  grpc::Status Finish() override { return status_; }

 private:
  std::vector<v1::ScoreLogitsRequest>* written_;
  std::deque<v1::ScoreLogitsResponse> responses_;
  grpc::Status status_;
  size_t room_;
};

class ScoreLogitsTest : public ::testing::Test {
 protected:
  // Runs the command on a file of these bytes; the server answers with `responses_` and `status_`.
  int Run(const std::string& bytes, std::vector<std::string> flags) {
    ExpectCall();
    return RunWithoutCall(bytes, std::move(flags));
  }
  void ExpectCall() {
    EXPECT_CALL(rig_.scoring(), ScoreLogitsRaw).WillOnce([&](grpc::ClientContext*) {
      return new RecordingStream(&written_, responses_, status_, room_);
    });
  }
  int RunWithoutCall(const std::string& bytes, std::vector<std::string> flags) {
    const TemporaryFile file(bytes);
    flags.insert(flags.begin(), {"score", "--logits", file.path()});
    return rig_.Run(flags);
  }
  v1::ScoreLogitsResponse& AddResponse() {
    v1::ScoreLogitsResponse& response = responses_.emplace_back();
    response.set_sequence_index(static_cast<int>(responses_.size()) - 1);
    response.mutable_provenance()->set_numerics_version(1);
    return response;
  }
  v1::ScoredSequence& AddSequence(int token_count, double model) {
    v1::ScoredSequence& sequence = *AddResponse().mutable_score();
    sequence.mutable_totals()->set_token_count(token_count);
    sequence.mutable_totals()->set_cumulative_model_log_prob(model);
    sequence.set_is_greedy(false);
    return sequence;
  }

  CommandRig rig_;
  std::vector<v1::ScoreLogitsRequest> written_;
  std::deque<v1::ScoreLogitsResponse> responses_;
  grpc::Status status_ = grpc::Status::OK;
  size_t room_ = std::numeric_limits<size_t>::max();
};

const std::string kRows = RawBytes<float>({6, 3, 0.5, 1, 2, 3});

TEST_F(ScoreLogitsTest, RowsAndTargetsAreSentAsTheyAre) {
  AddSequence(2, -3.5);
  EXPECT_EQ(Run(SavedArray("<f4", "(2, 3)", kRows), {"--targets", "1,-7", "--temperature", "0.7", "--top-k", "2"}), 0);
  ASSERT_EQ(written_.size(), 2u);
  EXPECT_EQ(written_[0].config().vocab_size(), 3);
  EXPECT_EQ(written_[0].config().sampling().temperature(), 0.7);
  EXPECT_EQ(written_[0].config().sampling().top_k(), 2);
  EXPECT_EQ(written_[0].config().record().layout(), v1::RECORD_LAYOUT_NONE) << "the table shows sums alone";
  const v1::ScoreLogitsRows& rows = written_[1].rows();
  EXPECT_EQ(rows.sequence_index(), 0);
  EXPECT_THAT(rows.target_token_ids(), ElementsAre(1, -7)) << "a number is the server's to refuse";
  ASSERT_EQ(rows.blocks_size(), 1);
  EXPECT_EQ(rows.blocks(0).dtype(), v1::LOGITS_DTYPE_F32);
  EXPECT_EQ(rows.blocks(0).row_count(), 2);
  EXPECT_EQ(rows.blocks(0).width(), 3);
  EXPECT_EQ(written_[1].payload(), kRows);
}

TEST_F(ScoreLogitsTest, EachSequenceOfABatchHasItsMessages) {
  AddSequence(1, -1);
  AddSequence(1, -2);
  const std::string halves = "aabbccddeeff";
  EXPECT_EQ(Run(SavedArray("<f2", "(2, 1, 3)", halves), {"--targets", "1", "--targets", "2"}), 0);
  ASSERT_EQ(written_.size(), 3u);
  for (int s = 0; s < 2; ++s) {
    EXPECT_EQ(written_[s + 1].rows().sequence_index(), s);
    EXPECT_THAT(written_[s + 1].rows().target_token_ids(), ElementsAre(s + 1));
    EXPECT_EQ(written_[s + 1].rows().blocks(0).dtype(), v1::LOGITS_DTYPE_F16);
    EXPECT_EQ(written_[s + 1].payload(), halves.substr(6 * s, 6));
  }
}

TEST_F(ScoreLogitsTest, ThePromptGoesWithTheFirstRowsOfEachSequence) {
  AddSequence(1500, -3.5);
  AddSequence(1500, -3.5);
  std::string ones;
  for (int i = 0; i < 1500; ++i) ones += i == 0 ? "1" : ",1";
  EXPECT_EQ(Run(SavedArray("<f2", "(2, 1500, 1)", std::string(size_t{3000} * 2, '\0')),
                {"--targets", ones, "--targets", ones, "--prompt-tokens", "4,5"}),
            0);
  ASSERT_EQ(written_.size(), 5u);
  for (int i : {1, 3}) EXPECT_THAT(written_[i].rows().prompt_token_ids(), ElementsAre(4, 5)) << i;
  for (int i : {2, 4}) EXPECT_THAT(written_[i].rows().prompt_token_ids(), ElementsAre()) << i;
}

TEST_F(ScoreLogitsTest, RowsGoInMessagesOfBoundedSize) {
  AddSequence(2600, -1);
  const std::string bytes(2600 * 2 * 4, '\0');
  std::string targets = "0";
  for (int i = 1; i < 2600; ++i) targets += "," + std::to_string(i % 2);
  EXPECT_EQ(Run(SavedArray("<f4", "(2600, 2)", bytes), {"--targets", targets}), 0);
  ASSERT_EQ(written_.size(), 4u);
  EXPECT_EQ(written_[1].rows().blocks(0).row_count(), 1024);
  EXPECT_EQ(written_[2].rows().blocks(0).row_count(), 1024);
  EXPECT_EQ(written_[3].rows().blocks(0).row_count(), 552);
  EXPECT_EQ(written_[3].rows().target_token_ids_size(), 552);
  EXPECT_EQ(written_[3].rows().target_token_ids(1), (2048 + 1) % 2);
  EXPECT_EQ(written_[3].payload().size(), 552u * 8);
}

TEST_F(ScoreLogitsTest, ARowThatIsLargerThanAMessageShouldBeGoesAlone) {
  AddSequence(2, -1);
  const std::string bytes(size_t{2} * 1048576 * 4, '\0');
  EXPECT_EQ(Run(SavedArray("<f4", "(2, 1048576)", bytes), {"--targets", "0,1"}), 0);
  ASSERT_EQ(written_.size(), 3u);
  EXPECT_EQ(written_[2].payload().size(), size_t{1048576} * 4);
}

TEST_F(ScoreLogitsTest, TargetsComeFromAFileToo) {
  const TemporaryFile narrow(SavedArray("<i4", "(2,)", RawBytes<int32_t>({1, -100})));
  AddSequence(2, -1);
  EXPECT_EQ(Run(SavedArray("<f4", "(2, 3)", kRows), {"--targets-file", narrow.path()}), 0);
  EXPECT_THAT(written_[1].rows().target_token_ids(), ElementsAre(1, -100));
}

TEST_F(ScoreLogitsTest, TargetsOfABatchComeFromAFileOfItsShape) {
  const TemporaryFile wide(SavedArray("<i8", "(2, 1)", RawBytes<int64_t>({2, 0})));
  AddSequence(1, -1);
  AddSequence(1, -1);
  EXPECT_EQ(Run(SavedArray("<f4", "(2, 1, 3)", kRows), {"--targets-file", wide.path()}), 0);
  EXPECT_THAT(written_[1].rows().target_token_ids(), ElementsAre(2));
  EXPECT_THAT(written_[2].rows().target_token_ids(), ElementsAre(0));
}

TEST_F(ScoreLogitsTest, SumsAreATable) {
  AddSequence(2, -3.5);
  v1::ScoredSequence& excluded = AddSequence(2, 0);
  excluded.mutable_totals()->clear_cumulative_model_log_prob();
  EXPECT_EQ(Run(SavedArray("<f2", "(2, 2, 1)", "12345678"), {"--targets", "0,0", "--targets", "5,7"}), 0);
  EXPECT_EQ(rig_.out(),
            "   targets  tokens  model log-prob  per token  perplexity  greedy\n"
            "0  [0,0]         2       -3.500000  -1.750000    5.754603  no\n"
            "1  [5,7]         2        excluded          -           -  no\n");
}

TEST_F(ScoreLogitsTest, AConditionalThatExcludesEverythingHasItsColumn) {
  AddSequence(1, -3.5);
  EXPECT_EQ(Run(SavedArray("<f2", "(1, 2)", "1234"), {"--targets", "1", "--top-k", "1"}), 0);
  EXPECT_EQ(rig_.out(),
            "   targets  tokens  model log-prob  sampling log-prob  per token  perplexity  greedy\n"
            "0  [1]           1       -3.500000           excluded  -3.500000   33.115452  no\n");
}

TEST_F(ScoreLogitsTest, ExplainListsTheTokensWithoutText) {
  v1::ScoredSequence& sequence = AddSequence(1, -0.25);
  v1::TokenRecord& token = *sequence.add_tokens();
  token.set_token_id(1);
  token.set_log_prob_state(v1::LOG_PROB_STATE_PRESENT);
  token.set_model_log_prob(-0.25);
  token.set_rank(1);
  token.set_model_entropy(0.5);
  EXPECT_EQ(Run(SavedArray("<f2", "(1, 2)", "1234"), {"--targets", "1", "--explain"}), 0);
  EXPECT_TRUE(written_[0].config().record().rank());
  EXPECT_TRUE(written_[0].config().record().entropy());
  EXPECT_EQ(rig_.out(),
            "sequence 0\n"
            "position  token id  model log-prob  rank   entropy  running sum\n"
            "       0         1       -0.250000     1  0.500000    -0.250000\n"
            "\n"
            "in total\n"
            "   targets  tokens  model log-prob  per token  perplexity  greedy\n"
            "0  [1]           1       -0.250000  -0.250000    1.284025  no\n");
}

TEST_F(ScoreLogitsTest, JsonIsALinePerSequence) {
  AddSequence(1, -0.25);
  AddSequence(1, -0.5);
  EXPECT_EQ(Run(SavedArray("<f2", "(2, 1, 1)", "1234"), {"--targets", "0", "--targets", "0", "--json"}), 0);
  EXPECT_FALSE(written_[0].config().has_record()) << "records, by default";
  EXPECT_EQ(rig_.out(),
            "{\"sequence_index\":0,\"score\":{\"tokens\":[],\"totals\":{\"token_count\":1,"
            "\"cumulative_model_log_prob\":-0.25},\"is_greedy\":false},\"provenance\":{\"numerics_version\":1,\"server_"
            "version\":\"\",\"reproducible\":false}}\n"
            "{\"sequence_index\":1,\"score\":{\"tokens\":[],\"totals\":{\"token_count\":1,"
            "\"cumulative_model_log_prob\":-0.5},\"is_greedy\":false},\"provenance\":{\"numerics_version\":1,\"server_"
            "version\":\"\",\"reproducible\":false}}\n");
}

TEST_F(ScoreLogitsTest, AFailedSequenceLeavesTheOthersAlone) {
  AddSequence(1, -0.25);
  *AddResponse().mutable_error() = MakeError(3, v1::ERROR_REASON_NON_FINITE_LOGIT, "rows.logits");
  AddSequence(1, -0.5);
  EXPECT_EQ(Run(SavedArray("<f2", "(3, 1, 1)", "123456"), {"--targets", "0", "--targets", "0", "--targets", "0"}),
            kExitItemFailed);
  EXPECT_EQ(rig_.out(),
            "   targets  tokens  model log-prob  per token  perplexity  greedy\n"
            "0  [0]           1       -0.250000  -0.250000    1.284025  no\n"
            "1  [0]           -               -          -           -  -\n"
            "2  [0]           1       -0.500000  -0.500000    1.648721  no\n"
            "sequence 1: error: rows.logits is wrong (NON_FINITE_LOGIT)\n");
}

TEST_F(ScoreLogitsTest, AFailedSequenceIsALineOfJsonWithItsError) {
  AddSequence(1, -0.25);
  *AddResponse().mutable_error() = MakeError(3, v1::ERROR_REASON_NON_FINITE_LOGIT, "rows.logits");
  AddSequence(1, -0.5);
  EXPECT_EQ(
      Run(SavedArray("<f2", "(3, 1, 1)", "123456"), {"--targets", "0", "--targets", "0", "--targets", "0", "--json"}),
      kExitItemFailed);
  EXPECT_THAT(rig_.out(), HasSubstr("{\"sequence_index\":0,\"score\":{"));
  EXPECT_THAT(rig_.out(), HasSubstr("\n{\"sequence_index\":1,\"error\":{"));
  EXPECT_THAT(rig_.out(), HasSubstr("\n{\"sequence_index\":2,\"score\":{"));
}

TEST_F(ScoreLogitsTest, TheLastRowsOfASequenceEndIt) {
  AddSequence(1500, -1);
  AddSequence(1500, -1);
  std::string zeros;
  for (int i = 0; i < 1500; ++i) zeros += i == 0 ? "0" : ",0";
  EXPECT_EQ(Run(SavedArray("<f2", "(2, 1500, 1)", std::string(size_t{3000} * 2, '\0')),
                {"--targets", zeros, "--targets", zeros}),
            0);
  ASSERT_EQ(written_.size(), 5u);
  for (int i = 1; i < 5; ++i) EXPECT_EQ(written_[i].rows().last(), i % 2 == 0) << i;
}

TEST_F(ScoreLogitsTest, SumsOnlyAsksForNoTokens) {
  AddSequence(1, -0.25);
  EXPECT_EQ(Run(SavedArray("<f2", "(1, 1)", "12"), {"--targets", "0", "--json", "--sums-only"}), 0);
  EXPECT_EQ(written_[0].config().record().layout(), v1::RECORD_LAYOUT_NONE);
}

TEST_F(ScoreLogitsTest, StandardInputHoldsAFileToo) {
  AddSequence(2, -1);
  rig_.SetInput(SavedArray("<f4", "(2, 3)", kRows));
  ExpectCall();
  EXPECT_EQ(rig_.Run({"score", "--logits", "-", "--targets", "1,2"}), 0);
  EXPECT_EQ(written_[1].payload(), kRows);
}

TEST_F(ScoreLogitsTest, ARefusalOfTheServerEndsTheReading) {
  status_ = Refusal(MakeError(3, v1::ERROR_REASON_TOKEN_ID_OUT_OF_RANGE, "rows.target_token_ids[0]"));
  room_ = 2;
  const std::string bytes(5000, '\0');
  std::string targets = "9";
  for (int i = 1; i < 2500; ++i) targets += ",0";
  EXPECT_EQ(Run(SavedArray("<f2", "(2500, 1)", bytes), {"--targets", targets}), kExitRefused);
  EXPECT_EQ(rig_.err(), "logit: rows.target_token_ids[0] is wrong\n");
  EXPECT_THAT(rig_.out(), IsEmpty());
}

TEST_F(ScoreLogitsTest, ANonsenseReplyIsAnError) {
  AddSequence(1, -1);
  EXPECT_EQ(Run(SavedArray("<f2", "(2, 1, 1)", "1234"), {"--targets", "0", "--targets", "0"}), kExitRefused);
  EXPECT_THAT(rig_.err(), HasSubstr("answered 1 of 2 sequences"));
}

TEST_F(ScoreLogitsTest, WhatIsWrongHereIsNotSent) {
  const TemporaryFile wrong_shape(SavedArray("<i4", "(3,)", RawBytes<int32_t>({1, 2, 3})));
  const TemporaryFile too_large(SavedArray("<i8", "(2,)", RawBytes<int64_t>({1, int64_t{1} << 31})));
  const struct {
    const char* name;
    std::string bytes;
    std::vector<std::string> flags;
    const char* message;
  } cases[] = {
      {"type", SavedArray("<f8", "(2, 3)", kRows + kRows), {"--targets", "1,2"}, "it holds float64"},
      {"no dimension", SavedArray("<f4", "()", "1234"), {"--targets", "1"}, "must be [V], [T, V] or [B, T, V], got ()"},
      {"four dimensions",
       SavedArray("<f4", "(1, 1, 2, 3)", kRows),
       {"--targets", "1"},
       "must be [V], [T, V] or [B, T, V]"},
      {"no rows", SavedArray("<f4", "(0, 3)", ""), {"--targets", ""}, "is (0, 3): it holds no rows"},
      {"wide rows",
       SavedArray("<f2", "(1, 1048577)", std::string(2097154, '\0')),
       {"--targets", "1"},
       "a row must have at most 1048576 values, got 1048577"},
      {"few targets",
       SavedArray("<f4", "(2, 3)", kRows),
       {"--targets", "1"},
       "one token id for each of the 2 rows of sequence 0, got 1"},
      {"many targets", SavedArray("<f4", "(2, 3)", kRows), {"--targets", "1,2,3"}, "rows of sequence 0, got 3"},
      {"not ids", SavedArray("<f4", "(2, 3)", kRows), {"--targets", "a,b"}, "token ids separated by commas"},
      {"sequences",
       SavedArray("<f4", "(2, 3)", kRows),
       {"--targets", "1,2", "--targets", "1,2"},
       "once for each of the 1 sequences of --logits, got 2"},
      {"no targets", SavedArray("<f4", "(2, 3)", kRows), {}, "--targets is missing"},
      {"both", SavedArray("<f4", "(2, 3)", kRows), {"--targets", "1,2", "--targets-file", "x"}, "exclude each other"},
      {"shape of targets",
       SavedArray("<f4", "(2, 3)", kRows),
       {"--targets-file", wrong_shape.path()},
       "its shape must be that of the rows of --logits, [1, 2], got (3,)"},
      {"large target",
       SavedArray("<f4", "(2, 3)", kRows),
       {"--targets-file", too_large.path()},
       "value 1 must be a token id, got 2147483648"},
      {"text", SavedArray("<f4", "(2, 3)", kRows), {"a", "b", "--targets", "1,2"}, "CONTEXT and CONTINUATION"},
      {"model",
       SavedArray("<f4", "(2, 3)", kRows),
       {"--targets", "1,2", "--model", "m"},
       "--model does not go with --logits"},
      {"records",
       SavedArray("<f4", "(2, 3)", kRows),
       {"--targets", "1,2", "--rank", "--sums-only"},
       "--sums-only leaves out the tokens"},
      {"kept set without stages",
       SavedArray("<f4", "(2, 3)", kRows),
       {"--targets", "1,2", "--kept-set"},
       "--kept-set tells what the stages keep, and there is none"},
      {"packed without a number",
       SavedArray("<f4", "(2, 3)", kRows),
       {"--targets", "1,2", "--packed-top"},
       "--packed-top needs --top-n N"},
      {"dtype", SavedArray("<f4", "(2, 3)", kRows), {"--targets", "1,2", "--dtype", "f8"}, "--dtype must be bf16, f16"},
      {"explain",
       SavedArray("<f4", "(2, 3)", kRows),
       {"--targets", "1,2", "--explain", "--sums-only"},
       "--sums-only and --explain"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    CommandRig rig;
    const TemporaryFile file(test.bytes);
    std::vector<std::string> args = {"score", "--logits", file.path()};
    args.insert(args.end(), test.flags.begin(), test.flags.end());
    EXPECT_EQ(rig.Run(args), kExitUsage);
    EXPECT_THAT(rig.err(), HasSubstr(test.message));
    EXPECT_THAT(rig.out(), IsEmpty());
  }
  EXPECT_EQ(CommandRig().Run({"score", "--targets", "1"}), kExitUsage);
  CommandRig rig;
  rig.SetInput("");
  EXPECT_EQ(rig.Run({"score", "--logits", "-", "--targets-file", "-"}), kExitUsage);
}

TEST_F(ScoreLogitsTest, AFileThatEndsTooEarlyCancelsTheCall) {
  rig_.SetInput(SavedArray("<f4", "(2, 1, 3)", kRows.substr(0, 20)));
  status_ = grpc::Status(grpc::StatusCode::CANCELLED, "");
  ExpectCall();
  EXPECT_EQ(rig_.Run({"score", "--logits", "-", "--targets", "1", "--targets", "1"}), kExitUsage);
  EXPECT_THAT(rig_.err(), HasSubstr("it ends after 5 of its 6 values"));
  EXPECT_THAT(rig_.out(), IsEmpty());
}

}  // namespace
}  // namespace logitd::cli
