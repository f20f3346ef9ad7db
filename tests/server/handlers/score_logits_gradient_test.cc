// The gradients of ScoreLogits. core/cross_entropy_test.cc compares them with 50-digit differences.
#include <cstring>
#include <string>
#include <vector>

#include "core/limits.h"
#include "gmock/gmock.h"
#include "tests/server/handlers/score_logits_session.h"
#include "tests/server/score_logits_messages.h"

namespace logitd::server {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;

class ScoreLogitsGradientTest : public ScoreLogitsSessionTest {
 protected:
  // [rows, width] of a reply.
  static std::vector<float> ValuesOf(const v1::LossGradient& gradient) {
    std::vector<float> values(gradient.values().size() / sizeof(float));
    std::memcpy(values.data(), gradient.values().data(), gradient.values().size());
    EXPECT_EQ(std::ssize(values), int64_t{gradient.row_count()} * gradient.width());
    return values;
  }
};

TEST_F(ScoreLogitsGradientTest, IsProbabilityMinusTarget) {
  Restart("vocab_size: 4 gradient: true record { layout: RECORD_LAYOUT_NONE }");
  Take(RowsMessage(0, {kRow, kRow, kRow}, {1, -100, 0}));
  Take(Last(RowsMessage(0, {kRow}, {3})));
  const Replies replies = Finish();
  const v1::LossGradient& gradient = replies.of(0).gradient();
  // The row that is not scored has none.
  EXPECT_EQ(gradient.row_count(), 3);
  EXPECT_EQ(gradient.width(), 4);
  const auto near = [](float value) { return FloatNear(value, 1e-6f); };
  EXPECT_THAT(ValuesOf(gradient),
              ElementsAre(near(0.945215f), near(-0.952941f), near(0.003863f), near(0.003863f),    // target 1
                          near(-0.054785f), near(0.047059f), near(0.003863f), near(0.003863f),    // target 0
                          near(0.945215f), near(0.047059f), near(0.003863f), near(-0.996137f)));  // target 3
  EXPECT_EQ(session_.held_bytes(), 0);
}

TEST_F(ScoreLogitsGradientTest, WithASubsetAndATemperatureItIsThatOfTheProcessedDistribution) {
  Restart("vocab_size: 4 gradient: true sampling { temperature: 0.5 allowed_tokens { ids { token_ids: [1, 2, 3] } } }");
  Take(Last(RowsMessage(0, {kRow}, {1})));
  const Replies replies = Finish();
  // softmax(6, 1, 1): 0.986703, 0.006648, 0.006648; over T.
  EXPECT_THAT(ValuesOf(replies.of(0).gradient()),
              ElementsAre(0, FloatNear(-0.026594f, 1e-5f), FloatNear(0.013297f, 1e-5f), FloatNear(0.013297f, 1e-5f)));
}

TEST_F(ScoreLogitsGradientTest, NoneIsSentUnlessAskedFor) {
  Restart("vocab_size: 4");
  Take(Last(RowsMessage(0, {kRow}, {1})));
  EXPECT_FALSE(Finish().of(0).has_gradient());
}

TEST_F(ScoreLogitsGradientTest, ATargetOfInfiniteLossIsAnErrorOfItsSequence) {
  Restart("vocab_size: 4 gradient: true sampling { banned_tokens { ids { token_ids: [2] } } }");
  EXPECT_EQ(RefusedAs(RowsMessage(0, {kRow, kRow}, {1, 2})), "FIELD_OUT_OF_RANGE of rows.target_token_ids[1]");
  Take(Last(RowsMessage(1, {kRow}, {1})));
}

TEST_F(ScoreLogitsGradientTest, OtherStagesAreRefused) {
  for (const char* stage :
       {"top_k: 2", "top_p: 0.5", "min_p: 0.1", "repetition_penalty: 1.2", "logit_biases { token_id: 1 bias: 1 }"}) {
    session_ = ScoreLogitsSession();
    EXPECT_EQ(RefusedAs(Config(std::string("vocab_size: 4 gradient: true sampling { ") + stage + " }")),
              "FIELDS_EXCLUSIVE of config.gradient")
        << stage;
  }
}

TEST_F(ScoreLogitsGradientTest, BytesOfOpenSequencesAreLimitedAndFreed) {
  const std::vector<float> row(1 << 20, 0);
  Restart("vocab_size: 1048576 gradient: true");
  // 4 MiB each: eight of them are open at once.
  for (int i = 0; i < 8; ++i) Take(RowsMessage(i, {row}, {5}));
  const absl::Status status = Refused(RowsMessage(8, {row}, {5}));
  EXPECT_EQ(DetailOf(status).limit, "max_gradient_bytes") << status;
  EXPECT_GE(session_.held_bytes(), int64_t{32} << 20);
  v1::ScoreLogitsRequest last;
  last.mutable_rows()->set_sequence_index(0);
  last.mutable_rows()->set_last(true);
  Take(last);
  Take(RowsMessage(9, {row}, {5}));
}

}  // namespace
}  // namespace logitd::server
