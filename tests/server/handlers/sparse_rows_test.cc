// Decode, ComputeDistribution and ScoreLogits answer a sparse row with the bytes that they answer its dense row with.
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "tests/server/in_process.h"
#include "tests/server/score_logits_messages.h"
#include "tests/server/sparse_rows.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::ErrorOf;
using logitd::testing::Parse;

constexpr int32_t kVocabSize = 301;
// What no stage may bring back although all of them know it.
constexpr int32_t kUnlisted = 7;

// Everything that looks at a row's other tokens, or touches tokens by id; kUnlisted is in all of it.
const char* const kSamplings[] = {
    "temperature: 0",
    "temperature: 0.7",
    "temperature: 1.3 top_k: 20 top_p: 0.9 min_p: 0.01",
    "temperature: 0.8 logit_biases { token_id: 7 bias: 90 } repetition_penalty: 0.5 frequency_penalty: -1",
    "temperature: 2 typical_p: 0.8 epsilon_cutoff: 0.001",
    "temperature: 1.5 top_n_sigma: 1.5 eta_cutoff: 0.002 xtc { probability: 0.5 }",
    "temperature: 0.6 allowed_tokens { ids { token_ids: [7, 3, 4, 5, 100, 101, 102, 103, 104, 105, 106, 200] } }",
    "temperature: 0.9 top_k: 200 top_p: 0.95 typical_p: 0.9 stage_order { preset: STAGE_PRESET_HF }",
    "temperature: 0.5 top_k: 290 top_k_ties: TIE_RULE_KEEP_ALL no_repeat_ngram_size: 2 dry { multiplier: 0.8 }",
};

// One listed token in three, some of them at -inf themselves; ties.
Rows MakeRows(int count) {
  std::mt19937 random(11);
  Rows rows(count, std::vector<float>(kVocabSize, -INFINITY));
  for (std::vector<float>& row : rows) {
    for (int32_t id = 0; id < kVocabSize; ++id) {
      if (random() % 3 == 0 && id != kUnlisted) row[id] = static_cast<float>(random() % 97) / 8 - 4;
    }
    row[100] = 9;
  }
  return rows;
}

// The ids that have a value in any row, and two that have none.
std::vector<int32_t> UnionOf(const Rows& rows) {
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < kVocabSize; ++id) {
    bool listed = id == 0 || id == kVocabSize - 1;
    for (const auto& row : rows) listed = listed || row[id] != -INFINITY;
    if (listed) ids.push_back(id);
  }
  return ids;
}

SparseBlock DenseOf(const Rows& rows) {
  SparseBlock dense;
  dense.block.set_dtype(v1::LOGITS_DTYPE_F32);
  dense.block.set_row_count(static_cast<int32_t>(rows.size()));
  dense.block.set_width(kVocabSize);
  for (const auto& row : rows) AppendBytes(dense.payload, row);
  return dense;
}

// The rows in each of their forms, the dense one first.
std::vector<SparseBlock> FormsOf(const Rows& rows) {
  return {DenseOf(rows), SparseRowsOf(rows), SparseRowsOf(rows, /*more_slots=*/5),
          SharedSparseRowsOf(rows, UnionOf(rows))};
}

class SparseRowRepliesTest : public logitd::testing::InProcessServer {
 protected:
  // The replies to these messages after `config`, on one stream.
  std::vector<v1::DecodeResponse> Decode(const std::string& config, const std::vector<v1::DecodeRequest>& requests) {
    const auto context = Context();
    const auto stream = decoding_->Decode(context.get());
    std::vector<v1::DecodeResponse> replies(requests.size() + 1);
    EXPECT_TRUE(stream->Write(Parse<v1::DecodeRequest>("config { " + config + " }")) && stream->Read(&replies[0]));
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_TRUE(stream->Write(requests[i]) && stream->Read(&replies[i + 1])) << i;
    }
    stream->WritesDone();
    const grpc::Status status = stream->Finish();
    EXPECT_TRUE(status.ok()) << Describe(status) << ": " << status.error_message();
    return replies;
  }
};

TEST_F(SparseRowRepliesTest, DistributionAnswersAsForTheDenseRow) {
  const Rows rows = MakeRows(1);
  for (const char* sampling : kSamplings) {
    SCOPED_TRACE(sampling);
    auto request = Parse<v1::ComputeDistributionRequest>(
        std::string("explain: true prompt_token_ids: [7, 100, 7, 3] output_token_ids: [100, 7] "
                    "verify { seed: 5 sequence_key: 9 } sampling { ") +
        sampling + " }");
    std::string expected;
    for (const SparseBlock& form : FormsOf(rows)) {
      *request.mutable_logits()->mutable_block() = form.block;
      request.mutable_logits()->set_values(form.payload);
      request.mutable_logits()->set_vocab_size(form.block.has_sparse() ? kVocabSize : 0);
      v1::ComputeDistributionResponse response;
      const grpc::Status status = decoding_->ComputeDistribution(Context().get(), request, &response);
      ASSERT_TRUE(status.ok()) << status.error_message();
      EXPECT_THAT(response.token_ids(), ::testing::Not(::testing::Contains(kUnlisted)));
      if (expected.empty()) expected = response.SerializeAsString();
      EXPECT_EQ(response.SerializeAsString(), expected);
    }
  }
}

TEST_F(SparseRowRepliesTest, DecodeAnswersAsForDenseRows) {
  constexpr int kSteps = 6;
  const int sequences = static_cast<int>(std::size(kSamplings));
  const Rows rows = MakeRows(kSteps * 2);
  // Per step two rows, which the sequences share. In the last form dense and sparse blocks lie side by side.
  constexpr int kForms = 5;
  std::vector<std::string> expected;
  for (int form = 0; form < kForms; ++form) {
    SCOPED_TRACE(form);
    std::vector<v1::DecodeRequest> requests;
    for (int position = 0; position < kSteps; ++position) {
      v1::DecodeRequest& request = requests.emplace_back();
      v1::StepBatch& batch = *request.mutable_batch();
      batch.set_batch_id(position + 1);
      const Rows both = {rows[2 * position], rows[2 * position + 1]};
      const auto add = [&](const SparseBlock& block) {
        *batch.add_blocks() = block.block;
        request.mutable_payload()->append(block.payload);
      };
      if (form + 1 < kForms) {
        add(FormsOf(both)[form]);
      } else {
        add(position % 2 == 0 ? SparseRowsOf({both[0]}) : DenseOf({both[0]}));
        add(position % 2 == 0 ? DenseOf({both[1]}) : SparseRowsOf({both[1]}));
      }
      for (int s = 0; s < sequences; ++s) {
        if (position == 0) {
          *batch.add_opens() = Parse<v1::OpenSequence>(
              "sequence_id: " + std::to_string(s + 1) + " sampling { seed: 3 " + kSamplings[s] +
              " } fresh { prompt_token_ids: [7, 100, 7, 3] } record { model_log_prob: true rank: true entropy: true "
              "kept_set: true draw: true top_n: 4 named_token_ids: [7, 100] }");
        }
        v1::SequenceStep& step = *batch.add_steps();
        step.set_sequence_id(s + 1);
        step.set_position(position);
        step.set_row((s + position) % 2);
      }
    }
    const auto replies = Decode("sampling { seed: 1 } vocab_size: " + std::to_string(kVocabSize), requests);
    ASSERT_EQ(replies.size(), kSteps + 1u);
    for (size_t i = 0; i < replies.size(); ++i) {
      if (form == 0) expected.push_back(replies[i].SerializeAsString());
      EXPECT_EQ(replies[i].SerializeAsString(), expected[i]) << replies[i].ShortDebugString();
      for (const v1::StepResult& step : replies[i].result().steps()) {
        EXPECT_TRUE(step.has_chosen()) << step.ShortDebugString();
        EXPECT_NE(step.chosen().tokens(0).token_id(), kUnlisted);
      }
    }
  }
}

TEST_F(SparseRowRepliesTest, ScoreLogitsAnswersAsForDenseRows) {
  const Rows rows = MakeRows(5);
  std::vector<int32_t> targets;
  // An unlisted target too: it has no log-prob, as a dense row's -inf has none.
  for (const auto& row : rows) {
    targets.push_back(static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin()));
  }
  targets[4] = kUnlisted;
  for (const char* sampling :
       {"temperature: 0.7 min_p: 0.01", "temperature: 1.6 repetition_penalty: 1.4 top_p: 0.97"}) {
    std::string expected;
    for (const SparseBlock& form : FormsOf(rows)) {
      v1::ScoreLogitsRequest request;
      *request.mutable_rows()->add_blocks() = form.block;
      request.mutable_rows()->mutable_target_token_ids()->Add(targets.begin(), targets.end());
      request.set_payload(form.payload);
      std::vector<v1::ScoreLogitsResponse> responses;
      const grpc::Status status =
          ScoreLogits({Config("vocab_size: 301 record { rank: true entropy: true top_n: 3 } sampling { " +
                              std::string(sampling) + " }"),
                       request},
                      &responses);
      ASSERT_TRUE(status.ok()) << status.error_message();
      ASSERT_EQ(responses.size(), 1u);
      const v1::ScoreLogitsResponse& response = responses[0];
      ASSERT_EQ(response.score().tokens_size(), 5);
      EXPECT_EQ(response.score().tokens(4).log_prob_state(), v1::LOG_PROB_STATE_EXCLUDED);
      if (expected.empty()) expected = response.SerializeAsString();
      EXPECT_EQ(response.SerializeAsString(), expected);
    }
  }
}

// Rows of 4 tokens: values and ids as they are given, 2 slots each.
SparseBlock TwoSlots(const std::vector<float>& values, const std::vector<int32_t>& ids) {
  SparseBlock sparse;
  sparse.block.set_dtype(v1::LOGITS_DTYPE_F32);
  sparse.block.set_row_count(static_cast<int32_t>(ids.size() / 2));
  sparse.block.set_width(2);
  sparse.block.mutable_sparse()->set_rest(v1::SPARSE_REST_EXCLUDED);
  AppendBytes(sparse.payload, values);
  AppendBytes(sparse.payload, ids);
  return sparse;
}

TEST_F(SparseRowRepliesTest, AWrongRowEndsItsSequenceAlone) {
  const SparseBlock sparse =
      TwoSlots({1, 2, 1, 2, 1, 2, 1, NAN, 1, NAN, 1, 2}, {0, 4, 1, 1, 3, 0, 0, 2, 3, -1, -1, -1});
  auto request = Parse<v1::DecodeRequest>("batch { batch_id: 1 }");
  *request.mutable_batch()->add_blocks() = sparse.block;
  request.set_payload(sparse.payload);
  for (int i = 0; i < 6; ++i) {
    request.mutable_batch()->add_opens()->set_sequence_id(i + 1);
    *request.mutable_batch()->add_steps() =
        Parse<v1::SequenceStep>("sequence_id: " + std::to_string(i + 1) + " row: " + std::to_string(i));
  }
  const auto replies = Decode("vocab_size: 4 sampling { temperature: 0.7 seed: 1 }", {request});
  ASSERT_EQ(replies[1].result().steps_size(), 6);
  const auto error = [&](int i) { return replies[1].result().steps(i).error(); };
  EXPECT_EQ(Describe(error(0)), "TOKEN_ID_OUT_OF_RANGE of batch.steps[0].logits.token_ids[1]");
  EXPECT_EQ(error(0).value(), "4");
  EXPECT_EQ(error(0).bound(), "[0, 4)");
  EXPECT_EQ(Describe(error(1)), "DUPLICATE_TOKEN_ID of batch.steps[1].logits.token_ids[1]");
  EXPECT_EQ(error(1).row(), 1);
  EXPECT_EQ(Describe(error(2)), "FIELD_OUT_OF_RANGE of batch.steps[2].logits.token_ids[1]");
  EXPECT_EQ(Describe(error(3)), "NON_FINITE_LOGIT of batch.steps[3].logits");
  EXPECT_EQ(error(3).token_id(), 2) << "the token, not the slot";
  EXPECT_EQ(replies[1].result().steps(4).chosen().tokens(0).token_id(), 3) << "an unused slot may hold NaN";
  EXPECT_EQ(Describe(error(5)), "NO_FINITE_LOGIT of batch.steps[5].logits");
}

TEST_F(SparseRowRepliesTest, AWrongRowEndsTheCall) {
  const struct {
    std::vector<float> values;
    std::vector<int32_t> ids;
    const char* score;
    const char* distribution;
  } cases[] = {
      {{1, 2},
       {0, -3},
       "TOKEN_ID_OUT_OF_RANGE of rows.logits.token_ids[1]",
       "TOKEN_ID_OUT_OF_RANGE of logits.token_ids[1]"},
      {{1, INFINITY}, {0, 3}, "NON_FINITE_LOGIT of rows.logits", "NON_FINITE_LOGIT of logits"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.score);
    const SparseBlock good = TwoSlots({1, 2}, {0, 3});
    const SparseBlock wrong = TwoSlots(test.values, test.ids);
    v1::ScoreLogitsRequest request;
    *request.mutable_rows()->add_blocks() = good.block;
    *request.mutable_rows()->add_blocks() = wrong.block;
    request.set_payload(good.payload + wrong.payload);
    request.mutable_rows()->add_target_token_ids(3);
    request.mutable_rows()->add_target_token_ids(0);
    std::vector<v1::ScoreLogitsResponse> scored;
    ASSERT_TRUE(ScoreLogits({Config("vocab_size: 4"), request}, &scored).ok());
    ASSERT_EQ(scored.size(), 1u);
    EXPECT_EQ(Describe(scored[0].error()), test.score);
    EXPECT_EQ(scored[0].error().row(), 1);

    v1::ComputeDistributionRequest single;
    *single.mutable_logits()->mutable_block() = wrong.block;
    single.mutable_logits()->set_values(wrong.payload);
    single.mutable_logits()->set_vocab_size(4);
    v1::ComputeDistributionResponse response;
    EXPECT_EQ(Describe(decoding_->ComputeDistribution(Context().get(), single, &response)), test.distribution);
  }
}

TEST_F(SparseRowRepliesTest, ARestThatThisServerDoesNotKnowIsRefused) {
  auto request = Parse<v1::ComputeDistributionRequest>(
      "logits { block { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 1 sparse { } } vocab_size: 4 }");
  request.mutable_logits()->set_values(std::string(8, '\0'));
  v1::ComputeDistributionResponse response;
  EXPECT_EQ(Describe(decoding_->ComputeDistribution(Context().get(), request, &response)),
            "FIELD_REQUIRED of logits.block.sparse.rest");
  request.mutable_logits()->mutable_block()->mutable_sparse()->set_rest(static_cast<v1::SparseRest>(3));
  EXPECT_EQ(Describe(decoding_->ComputeDistribution(Context().get(), request, &response)),
            "UNKNOWN_ENUM_VALUE of logits.block.sparse.rest");
}

}  // namespace
}  // namespace logitd::server
