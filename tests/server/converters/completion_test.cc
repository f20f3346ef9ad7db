#include "server/converters/completion.h"

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/equals_proto.h"

namespace logitd::server {
namespace {

using ::logitd::testing::EqualsProto;
using ::testing::ElementsAre;

constexpr double kInf = std::numeric_limits<double>::infinity();

// What a client reads with numpy.frombuffer.
template <typename Value>
std::vector<Value> Values(const std::string& bytes) {
  EXPECT_EQ(bytes.size() % sizeof(Value), 0u);
  std::vector<Value> values(bytes.size() / sizeof(Value));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

TokenRecord RecordWithTop() {
  TokenRecord record;
  record.token_id = 2;
  record.top = {{2, -0.25, -0.125, 1}, {0, -1.5, -kInf, 2}, {1, -kInf, -kInf, 3}};
  return record;
}

TEST(PackedAlternativesTest, ColumnsKeepTheOrderAndTheBits) {
  RecordOptions options;
  options.top_layout = TopLayout::kPacked;
  v1::TokenRecord message;
  ToProto(RecordWithTop(), options, nullptr, message);
  EXPECT_FALSE(message.has_top());
  const v1::PackedAlternatives& top = message.packed_top();
  EXPECT_EQ(top.count(), 3);
  EXPECT_THAT(Values<int32_t>(top.token_ids()), ElementsAre(2, 0, 1));
  EXPECT_THAT(Values<double>(top.model_log_probs()), ElementsAre(-0.25, -1.5, -kInf));
  EXPECT_THAT(Values<double>(top.sampling_log_probs()), ElementsAre(-0.125, -kInf, -kInf));
  EXPECT_THAT(Values<int32_t>(top.ranks()), ElementsAre(1, 2, 3));
}

TEST(PackedAlternativesTest, AWholeVocabularyIsInIdOrderAndHasNoIds) {
  RecordOptions options;
  options.top_layout = TopLayout::kWholeVocabulary;
  v1::TokenRecord message;
  ToProto(RecordWithTop(), options, nullptr, message);
  const v1::PackedAlternatives& top = message.packed_top();
  EXPECT_EQ(top.count(), 3);
  EXPECT_EQ(top.token_ids(), "");
  EXPECT_THAT(Values<double>(top.model_log_probs()), ElementsAre(-1.5, -kInf, -0.25));
  EXPECT_THAT(Values<double>(top.sampling_log_probs()), ElementsAre(-kInf, -kInf, -0.125));
  EXPECT_THAT(Values<int32_t>(top.ranks()), ElementsAre(2, 3, 1));
}

TEST(PackedAlternativesTest, WhatWasNotAskedForHasNoColumn) {
  TokenRecord record = RecordWithTop();
  for (TokenAlternative& alternative : record.top) {
    alternative.sampling_log_prob.reset();
    alternative.rank.reset();
  }
  RecordOptions options;
  options.top_layout = TopLayout::kPacked;
  v1::TokenRecord message;
  ToProto(record, options, nullptr, message);
  EXPECT_EQ(message.packed_top().model_log_probs().size(), 24u);
  EXPECT_EQ(message.packed_top().sampling_log_probs(), "");
  EXPECT_EQ(message.packed_top().ranks(), "");

  record.top.clear();
  message.Clear();
  ToProto(record, options, nullptr, message);
  EXPECT_FALSE(message.has_packed_top());
}

TEST(TokenRecordToProtoTest, ListsStayLists) {
  v1::TokenRecord message;
  ToProto(RecordWithTop(), RecordOptions(), nullptr, message);
  EXPECT_THAT(message.top().token_ids(), ElementsAre(2, 0, 1));
  EXPECT_FALSE(message.has_packed_top());
}

TEST(TokenRecordToProtoTest, KeptSetAndDrawAreThereIfTheRecordHasThem) {
  TokenRecord record;
  record.token_id = 5;
  record.position = 3;
  v1::TokenRecord message;
  ToProto(record, RecordOptions(), nullptr, message);
  EXPECT_FALSE(message.has_kept_count());
  EXPECT_FALSE(message.has_kept_mass());
  EXPECT_FALSE(message.has_draw());

  record.kept_count = 7;
  record.kept_mass = 0.75;
  record.draw = Draw{5, 0xe169c58d6627e8d5, 4652959985664, 4398046511104, 218965852160};
  ToProto(record, RecordOptions(), nullptr, message);
  EXPECT_THAT(message, EqualsProto(std::string(R"(
    token_id: 5 position: 3 origin: TOKEN_ORIGIN_CHOSEN log_prob_state: LOG_PROB_STATE_PRESENT
    kept_count: 7 kept_mass: 0.75
    draw { uniform: 0xe169c58d6627e8d5 total_weight: 4652959985664 interval_start: 4398046511104
           weight: 218965852160 })")));
}

}  // namespace
}  // namespace logitd::server
