// Decode on sparse rows with a tail: the rest as an outcome, the dense row beside it, and what is refused.
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "server/handlers/decode.h"
#include "tests/server/decode_messages.h"
#include "tests/server/in_process.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using ::logitd::testing::Describe;
using ::logitd::testing::HasReason;
using ::logitd::testing::IsOk;
using ::logitd::testing::Parse;

constexpr double kTail = 1.1931471805599454;  // ln(2 exp(0.5))

class TailRowsTest : public ::testing::Test {
 protected:
  void Start(const std::string& config) {
    session_ = DecodeSession();
    batch_id_ = 0;
    v1::DecodeResponse response;
    ASSERT_THAT(session_.Handle(Request("config { vocab_size: 4 " + config + " }"), {}, workspaces_, response), IsOk());
  }
  // A batch with a tail row of kRow that lists tokens 0 and 1, and the dense row, as rows 0 and 1.
  v1::DecodeRequest Batch(const std::string& fields,
                          const std::string& sums = "rest_log_sum_exps: 1.1931471805599454") {
    auto request = Parse<v1::DecodeRequest>("batch { batch_id: " + std::to_string(++batch_id_) + " " + fields +
                                            " blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 2 sparse { rest: "
                                            "SPARSE_REST_TAIL shared_token_ids: [0, 1] " +
                                            sums + " } } blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 4 } }");
    request.set_payload(logitd::testing::Bytes({6, 3, 6, 3, 0.5, 0.5}));
    return request;
  }
  v1::StepResult Step(const v1::DecodeRequest& request) {
    v1::DecodeResponse response;
    EXPECT_THAT(session_.Handle(request, {}, workspaces_, response), IsOk());
    return response.result().steps(0);
  }
  absl::Status Refused(const v1::DecodeRequest& request) {
    v1::DecodeResponse response;
    return session_.Handle(request, {}, workspaces_, response);
  }

  DecodeSession session_;
  StepWorkspaces workspaces_{1};
  int batch_id_ = 0;
};

TEST_F(TailRowsTest, TheRestIsAnOutcomeThatTheDenseRowDecides) {
  Start("sampling { seed: 5 } record { draw: true }");
  int rests = 0;
  for (int id = 1; id <= 600; ++id) {
    const std::string step = " steps { sequence_id: " + std::to_string(id) + " row: 0";
    const std::string open = "opens { sequence_id: " + std::to_string(id) + " }";
    const v1::StepResult alone = Step(Batch(open + step + " }"));
    const std::string again = " opens { sequence_id: " + std::to_string(id + 1000) +
                              " sequence_key: " + std::to_string(id) +
                              " } steps { sequence_id: " + std::to_string(id + 1000) + " row: 0 ";
    v1::StepResult both = Step(Batch(again + " dense_row: 1 }"));
    both.set_sequence_id(id);
    if (!alone.has_rest()) {
      EXPECT_LT(alone.chosen().tokens(0).token_id(), 2);
      EXPECT_EQ(both.SerializeAsString(), alone.SerializeAsString()) << "the dense row is not looked at";
    } else {
      ++rests;
      const v1::StepResult decided = Step(Batch(step + " dense_row: 1 }"));
      ASSERT_TRUE(decided.has_chosen());
      const v1::TokenRecord& token = decided.chosen().tokens(0);
      EXPECT_GE(token.token_id(), 2);
      EXPECT_NEAR(token.sampling_log_prob(), -5.556343103, 1e-6);
      EXPECT_NEAR(token.model_log_prob(), -5.556343103, 1e-6);
      EXPECT_EQ(token.draw().weight(), 35947621733u);
      EXPECT_EQ(token.rest_draw().total_weight(), uint64_t{2} << 42);
      EXPECT_EQ(both.SerializeAsString(), decided.SerializeAsString()) << "in one go as in two";
    }
    Step(Batch("close_sequence_ids: " + std::to_string(id) + " close_sequence_ids: " + std::to_string(id + 1000) +
               " steps { sequence_id: 999999 }"));
  }
  EXPECT_GE(rests, 1);
}

TEST_F(TailRowsTest, AnotherTemperatureNeedsItsOwnSum) {
  Start("sampling { temperature: 2 }");
  EXPECT_EQ(Describe(Step(Batch("opens { sequence_id: 1 } steps { sequence_id: 1 row: 0 }")).error()),
            "FIELD_REQUIRED of batch.steps[0].logits.rest_log_sum_exps_at_temperature");
  const std::string sums = "rest_log_sum_exps: 1.1931471805599454 rest_log_sum_exps_at_temperature: 0.9431471805599453";
  const v1::StepResult step =
      Step(Batch("opens { sequence_id: 1 } steps { sequence_id: 1 row: 0 given_token_id: 1 }", sums));
  EXPECT_NEAR(std::exp(step.chosen().tokens(0).sampling_log_prob()), 0.165160986, 1e-7);
  EXPECT_NEAR(step.chosen().tokens(0).model_log_prob(), -3.056343103, 1e-6);
}

TEST_F(TailRowsTest, WhatCannotBeExactEndsItsSequenceByName) {
  const struct {
    const char* open;
    const char* step;
    const char* error;
  } cases[] = {
      {"sampling { top_p: 0.9 }", "row: 0", "FIELD_OUT_OF_RANGE of batch.steps[0].row"},
      {"record { rank: true }", "row: 0", "FIELD_OUT_OF_RANGE of batch.steps[0].row"},
      {"", "row: 0 allowed_tokens { ids { token_ids: 0 } }", "FIELD_OUT_OF_RANGE of batch.steps[0].row"},
      {"", "row: 0 named_token_ids: 1", "FIELD_OUT_OF_RANGE of batch.steps[0].row"},
      {"", "row: 1 dense_row: 1", "FIELD_OUT_OF_RANGE of batch.steps[0].dense_row"},
      {"", "row: 0 dense_row: 0", "FIELD_OUT_OF_RANGE of batch.steps[0].dense_row"},
      {"", "row: 0 dense_row: 2", "ROW_INDEX_OUT_OF_RANGE of batch.steps[0].dense_row"},
      {"", "row: 0 dense_row: -1", "ROW_INDEX_OUT_OF_RANGE of batch.steps[0].dense_row"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.step);
    Start("");
    EXPECT_EQ(Describe(Step(Batch("opens { sequence_id: 1 " + std::string(test.open) + " } steps { sequence_id: 1 " +
                                  test.step + " }"))
                           .error()),
              test.error);
  }
  Start("");
  const v1::Error error =
      Step(Batch("opens { sequence_id: 1 } steps { sequence_id: 1 row: 0 }", "rest_log_sum_exps: 6.8")).error();
  EXPECT_EQ(Describe(error), "FIELD_OUT_OF_RANGE of batch.steps[0].logits.rest_log_sum_exps");
}

TEST_F(TailRowsTest, AWrongLayoutIsAnErrorOfTheMessage) {
  const struct {
    const char* sums;
    const char* field;
  } cases[] = {
      {"", "batch.blocks[0].sparse.rest_log_sum_exps"},
      {"rest_log_sum_exps: [0, 0]", "batch.blocks[0].sparse.rest_log_sum_exps"},
      {"rest_log_sum_exps: nan", "batch.blocks[0].sparse.rest_log_sum_exps[0]"},
      {"rest_log_sum_exps: inf", "batch.blocks[0].sparse.rest_log_sum_exps[0]"},
      {"rest_log_sum_exps: 0 rest_log_sum_exps_at_temperature: [0, 0]",
       "batch.blocks[0].sparse.rest_log_sum_exps_at_temperature"},
      {"rest_log_sum_exps: 0 rest_log_sum_exps_at_temperature: nan",
       "batch.blocks[0].sparse.rest_log_sum_exps_at_temperature[0]"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.sums);
    Start("");
    EXPECT_EQ(DetailOf(Refused(Batch("", test.sums))).field, test.field);
  }
  Start("");
  auto excluded = Batch("");
  excluded.mutable_batch()->mutable_blocks(0)->mutable_sparse()->set_rest(v1::SPARSE_REST_EXCLUDED);
  EXPECT_EQ(DetailOf(Refused(excluded)).field, "batch.blocks[0].sparse.rest_log_sum_exps") << "sums of what has none";
}

class TailElsewhereTest : public logitd::testing::InProcessServer {};

TEST_F(TailElsewhereTest, WhoNeedsTheWholeRowRefusesATail) {
  v1::ComputeDistributionResponse response;
  const grpc::Status status = Distribution(
      "logits { vocab_size: 4 block { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 1 sparse { rest: SPARSE_REST_TAIL "
      "shared_token_ids: 1 rest_log_sum_exps: 0 } } values: \"\\0\\0\\0\\0\" }",
      &response);
  EXPECT_EQ(Describe(status), "FIELD_OUT_OF_RANGE of logits.block.sparse.rest");
}

}  // namespace
}  // namespace logitd::server
