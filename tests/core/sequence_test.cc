#include "core/sequence.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd {
namespace {

std::optional<Finish> FinishOf(const Sequence& sequence, const StopRules& rules) {
  if (!sequence.last_token()) return std::nullopt;
  return FinishAfter(*sequence.last_token(), sequence.position(), rules);
}

TokenRecord Record(TokenId token_id, std::optional<double> model, std::optional<double> sampling) {
  TokenRecord record;
  record.token_id = token_id;
  record.model_log_prob = model;
  record.sampling_log_prob = sampling;
  return record;
}

TEST(SequenceTest, StopTokenComesBeforeTheLimit) {
  const StopRules rules{.stop_token_ids = {2, 5}, .max_tokens = 2};
  Sequence sequence;
  EXPECT_EQ(FinishOf(sequence, rules), std::nullopt);
  sequence.Append(Record(1, -1, -1));
  EXPECT_EQ(FinishOf(sequence, rules), std::nullopt);
  sequence.Append(Record(5, -1, -1));
  ASSERT_TRUE(FinishOf(sequence, rules));
  EXPECT_EQ(FinishOf(sequence, rules)->reason, FinishReason::kStopToken);
  EXPECT_EQ(FinishOf(sequence, rules)->stop_token_id, 5);
  const StopRules no_stops{.max_tokens = 2};
  EXPECT_EQ(FinishOf(sequence, no_stops)->reason, FinishReason::kMaxTokens);
  EXPECT_EQ(FinishOf(sequence, no_stops)->stop_token_id, std::nullopt);
}

TEST(SequenceTest, ALogProbThatIsMissingUnsetsItsSumForGood) {
  Sequence sequence;
  sequence.Append(Record(1, -0.5, -0.25));
  EXPECT_EQ(sequence.sums().model->value(), -0.5);
  EXPECT_EQ(sequence.sums().sampling->value(), -0.25);
  sequence.Append(Record(1, -0.5, std::nullopt));
  sequence.Append(Record(1, -0.5, -0.25));
  EXPECT_EQ(sequence.sums().model->value(), -1.5);
  EXPECT_FALSE(sequence.sums().sampling);
}

TEST(SequenceTest, KeepsNumberAndLastTokenWhereNobodyLooksAtTheOthers) {
  Sequence sequence({4, 7}, SequenceSums(), /*keeps_tokens=*/false);
  EXPECT_EQ(sequence.position(), 2);
  EXPECT_EQ(sequence.last_token(), 7);
  sequence.Append(Record(5, -1, -1));
  EXPECT_EQ(sequence.position(), 3);
  EXPECT_EQ(sequence.last_token(), 5);
  EXPECT_TRUE(sequence.token_ids().empty());
  EXPECT_EQ(FinishOf(sequence, {.stop_token_ids = {5}})->stop_token_id, 5);
  Sequence counted(2, SequenceSums());
  EXPECT_EQ(counted.position(), 2);
  EXPECT_EQ(counted.last_token(), std::nullopt);
  counted.Append(Record(5, -0.5, -1));
  EXPECT_EQ(counted.position(), 3);
  EXPECT_EQ(counted.last_token(), 5);
  EXPECT_EQ(counted.sums().model->value(), -0.5);
}

}  // namespace
}  // namespace logitd
