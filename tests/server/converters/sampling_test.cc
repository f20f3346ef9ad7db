#include "server/converters/wire.h"

#include <google/protobuf/text_format.h>

#include <string>
#include <vector>

#include "core/limits.h"
#include "core/stages.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "logitd/v1/error.pb.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int32_t kVocabSize = 10;

v1::SamplingParams Parse(const std::string& text) {
  v1::SamplingParams message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

TEST(SamplingFromProtoTest, NothingSetIsNothingOn) {
  ASSERT_OK_AND_ASSIGN(const SamplingParams params, FromProto(v1::SamplingParams(), kVocabSize));
  EXPECT_TRUE(IsNeutral(params));
  EXPECT_EQ(params.lists, nullptr);
  EXPECT_EQ(params.subset, nullptr);
  EXPECT_EQ(params.order.preset, StagePreset::kLogitd);
}

TEST(SamplingFromProtoTest, EveryFieldArrives) {
  ASSERT_OK_AND_ASSIGN(const SamplingParams params, FromProto(Parse(R"(
    temperature: 0.7 top_k: 5 top_p: 0.9 min_p: 0.01
    repetition_penalty: 1.2 frequency_penalty: 0.5 presence_penalty: -0.25
    repetition_scope: PENALTY_SCOPE_OUTPUT occurrence_scope: PENALTY_SCOPE_PROMPT
    penalty_window: 64 no_repeat_ngram_size: 3
    dry { multiplier: 0.8 base: 2 allowed_length: 4 window: 32 breakers { token_ids: [1, 2] } breakers { token_ids: 3 } }
    allowed_tokens { ids { token_ids: [0, 1, 2, 3] } } banned_tokens { ids { token_ids: 3 } }
    logit_biases { token_id: 2 bias: -1.5 } logit_biases { token_id: 7 bias: 100 }
    sequence_biases { token_ids: [4, 5] bias: 2 } sequence_biases { token_ids: 6 }
    typical_p: 0.95 epsilon_cutoff: 0.0003 eta_cutoff: 0.002 top_n_sigma: 1.5
    xtc { probability: 0.5 threshold: 0.2 }
    top_k_ties: TIE_RULE_KEEP_ALL top_p_boundary: TOP_P_BOUNDARY_ASCENDING typical_ties: TIE_RULE_LOWEST_ID)"),
                                                              kVocabSize));
  EXPECT_EQ(params.temperature, 0.7);
  EXPECT_EQ(params.top_k, 5);
  EXPECT_EQ(params.top_p, 0.9);
  EXPECT_EQ(params.min_p, 0.01);
  EXPECT_EQ(params.repetition_penalty, 1.2);
  EXPECT_EQ(params.frequency_penalty, 0.5);
  EXPECT_EQ(params.presence_penalty, -0.25);
  EXPECT_EQ(params.repetition_scope, PenaltyScope::kOutput);
  EXPECT_EQ(params.occurrence_scope, PenaltyScope::kPrompt);
  EXPECT_EQ(params.penalty_window, 64);
  EXPECT_EQ(params.no_repeat_ngram_size, 3);
  EXPECT_EQ(params.typical_p, 0.95);
  EXPECT_EQ(params.epsilon_cutoff, 0.0003);
  EXPECT_EQ(params.eta_cutoff, 0.002);
  EXPECT_EQ(params.top_n_sigma, 1.5);
  EXPECT_EQ(params.xtc.probability, 0.5);
  EXPECT_EQ(params.xtc.threshold, 0.2);
  EXPECT_EQ(params.order.top_k_ties, TieRule::kKeepAll);
  EXPECT_EQ(params.order.top_p_boundary, TopPBoundary::kAscending);
  EXPECT_EQ(params.order.typical_ties, TieRule::kLowestId);
  ASSERT_NE(params.subset, nullptr);
  EXPECT_EQ(params.subset->size(), 3);
  EXPECT_FALSE(params.subset->Contains(3));
  ASSERT_NE(params.lists, nullptr);
  ASSERT_EQ(params.lists->logit_biases.size(), 2u);
  EXPECT_EQ(params.lists->logit_biases[0].token_id, 2);
  EXPECT_EQ(params.lists->logit_biases[0].bias, -1.5);
  ASSERT_EQ(params.lists->sequence_biases.size(), 2u);
  EXPECT_THAT(params.lists->sequence_biases[0].token_ids, ElementsAre(4, 5));
  EXPECT_EQ(params.lists->sequence_biases[0].bias, 2);
  EXPECT_EQ(params.lists->sequence_biases[1].bias, std::nullopt) << "without a bias it is a ban";
  EXPECT_EQ(params.lists->dry.multiplier, 0.8);
  EXPECT_EQ(params.lists->dry.base, 2);
  EXPECT_EQ(params.lists->dry.allowed_length, 4);
  EXPECT_EQ(params.lists->dry.window, 32);
  EXPECT_THAT(params.lists->dry.breakers, ElementsAre(ElementsAre(1, 2), ElementsAre(3)));
}

TEST(SamplingFromProtoTest, PartsThatAreUnsetHaveTheirDefaults) {
  ASSERT_OK_AND_ASSIGN(const SamplingParams params,
                       FromProto(Parse("dry { multiplier: 1 } xtc { probability: 1 }"), kVocabSize));
  EXPECT_EQ(params.lists->dry.base, 1.75);
  EXPECT_EQ(params.lists->dry.allowed_length, 2);
  EXPECT_EQ(params.lists->dry.window, std::nullopt);
  EXPECT_EQ(params.xtc.threshold, 0.1);
  EXPECT_EQ(params.penalty_window, std::nullopt);
  EXPECT_EQ(params.top_n_sigma, std::nullopt);
}

TEST(SamplingFromProtoTest, StagesAndPresetsHaveTheNumbersOfTheContract) {
  const google::protobuf::EnumDescriptor& stages = *v1::Stage_descriptor();
  EXPECT_EQ(stages.value_count(), static_cast<int>(kMaxStages) + 1);
  for (int i = 1; i < stages.value_count(); ++i) {
    const auto stage = static_cast<Stage>(stages.value(i)->number());
    EXPECT_EQ("STAGE_" + std::string(StageName(stage)), stages.value(i)->name());
  }
  const google::protobuf::EnumDescriptor& presets = *v1::StagePreset_descriptor();
  for (int i = 1; i < presets.value_count(); ++i) {
    SCOPED_TRACE(presets.value(i)->name());
    ASSERT_OK_AND_ASSIGN(const SamplingParams params,
                         FromProto(Parse("stage_order { preset: " + presets.value(i)->name() + " }"), kVocabSize));
    EXPECT_EQ(static_cast<int>(params.order.preset), presets.value(i)->number());
    EXPECT_FALSE(StagesOf(params.order.preset).empty());
  }
  ASSERT_OK_AND_ASSIGN(
      const SamplingParams params,
      FromProto(Parse("top_k: 2 temperature: 0.5 stage_order { stages: [STAGE_TOP_K, STAGE_TEMPERATURE] }"),
                kVocabSize));
  EXPECT_THAT(params.order.stages, ElementsAre(Stage::kTopK, Stage::kTemperature));
}

TEST(SamplingFromProtoTest, WhatIsWrongNamesFieldValueAndBound) {
  const struct {
    const char* params;
    ErrorReason reason;
    const char* field;
    const char* value;
  } cases[] = {
      {"typical_p: 0", ErrorReason::kFieldOutOfRange, "typical_p", "0"},
      {"typical_p: nan", ErrorReason::kFieldOutOfRange, "typical_p", "nan"},
      {"epsilon_cutoff: 1", ErrorReason::kFieldOutOfRange, "epsilon_cutoff", "1"},
      {"eta_cutoff: -0.5", ErrorReason::kFieldOutOfRange, "eta_cutoff", "-0.5"},
      {"top_n_sigma: 101", ErrorReason::kFieldOutOfRange, "top_n_sigma", "101"},
      {"xtc { probability: 1.5 }", ErrorReason::kFieldOutOfRange, "xtc.probability", "1.5"},
      {"xtc { probability: 0.5 threshold: 0.75 }", ErrorReason::kFieldOutOfRange, "xtc.threshold", "0.75"},
      {"repetition_penalty: 0", ErrorReason::kFieldOutOfRange, "repetition_penalty", "0"},
      {"frequency_penalty: 2.5", ErrorReason::kFieldOutOfRange, "frequency_penalty", "2.5"},
      {"presence_penalty: -inf", ErrorReason::kFieldOutOfRange, "presence_penalty", "-inf"},
      {"penalty_window: -1", ErrorReason::kFieldOutOfRange, "penalty_window", "-1"},
      {"no_repeat_ngram_size: -1", ErrorReason::kFieldOutOfRange, "no_repeat_ngram_size", "-1"},
      {"dry { multiplier: 101 }", ErrorReason::kFieldOutOfRange, "dry.multiplier", "101"},
      {"dry { base: 0.5 }", ErrorReason::kFieldOutOfRange, "dry.base", "0.5"},
      {"dry { allowed_length: 0 }", ErrorReason::kFieldOutOfRange, "dry.allowed_length", "0"},
      {"dry { window: -1 }", ErrorReason::kFieldOutOfRange, "dry.window", "-1"},
      {"dry { breakers {} }", ErrorReason::kFieldRequired, "dry.breakers[0].token_ids", ""},
      {"dry { breakers { token_ids: [1, 10] } }", ErrorReason::kTokenIdOutOfRange, "dry.breakers[0].token_ids[1]",
       "10"},
      {"logit_biases { token_id: 3 } logit_biases { token_id: -1 }", ErrorReason::kTokenIdOutOfRange,
       "logit_biases[1].token_id", "-1"},
      {"logit_biases { token_id: 0 bias: 1 } logit_biases { bias: 1 }", ErrorReason::kFieldRequired,
       "logit_biases[1].token_id", ""},
      {"logit_biases { token_id: 0 bias: 101 }", ErrorReason::kFieldOutOfRange, "logit_biases[0].bias", "101"},
      {"logit_biases { token_id: 3 } logit_biases { token_id: 3 }", ErrorReason::kDuplicateTokenId,
       "logit_biases[1].token_id", "3"},
      {"sequence_biases { bias: 1 }", ErrorReason::kFieldRequired, "sequence_biases[0].token_ids", ""},
      {"sequence_biases { token_ids: 10 }", ErrorReason::kTokenIdOutOfRange, "sequence_biases[0].token_ids[0]", "10"},
      {"sequence_biases { token_ids: 1 bias: nan }", ErrorReason::kFieldOutOfRange, "sequence_biases[0].bias", "nan"},
      {"stage_order { stages: STAGE_UNSPECIFIED }", ErrorReason::kFieldOutOfRange, "stage_order.stages[0]",
       "\"STAGE_UNSPECIFIED\""},
      {"stage_order { preset: STAGE_PRESET_LOGITD stages: STAGE_TOP_K }", ErrorReason::kFieldsExclusive,
       "stage_order.preset", ""},
      {"top_k: 3 stage_order { stages: STAGE_TEMPERATURE }", ErrorReason::kFieldRequired, "stage_order.stages", ""},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.params);
    const absl::Status status = FromProto(Parse(test.params), kVocabSize).status();
    EXPECT_THAT(status, HasReason(test.reason));
    if (status.ok()) continue;
    EXPECT_EQ(DetailOf(status).field, test.field);
    EXPECT_EQ(DetailOf(status).value, test.value);
  }
}

TEST(SamplingFromProtoTest, ListsAreBounded) {
  v1::SamplingParams biases;
  for (int i = 0; i <= kMaxLogitBiases; ++i) biases.add_logit_biases()->set_token_id(i);
  v1::SamplingParams sequences;
  for (int i = 0; i <= kMaxSequenceBiases; ++i) sequences.add_sequence_biases()->add_token_ids(i);
  v1::SamplingParams breakers;
  for (int i = 0; i <= kMaxDryBreakers; ++i) breakers.mutable_dry()->add_breakers()->add_token_ids(i);
  const struct {
    const v1::SamplingParams& params;
    const char* limit;
  } cases[] = {{biases, "max_logit_biases"}, {sequences, "max_sequence_biases"}, {breakers, "max_dry_breakers"}};
  for (const auto& test : cases) {
    SCOPED_TRACE(test.limit);
    const absl::Status status = FromProto(test.params, 1 << 20).status();
    EXPECT_THAT(status, HasReason(ErrorReason::kLimitExceeded));
    EXPECT_EQ(DetailOf(status).limit, test.limit);
  }
  biases.mutable_logit_biases()->RemoveLast();
  EXPECT_THAT(FromProto(biases, 1 << 20), IsOk()) << "as many as the limit says";
}

TEST(ScoringParamsFromProtoTest, WhatGivesNoLogProbIsRefused) {
  EXPECT_THAT(ScoringParamsFromProto(Parse("temperature: 0.7 top_k: 3 presence_penalty: 1"), kVocabSize), IsOk());
  EXPECT_THAT(ScoringParamsFromProto(Parse("xtc { threshold: 0.2 }"), kVocabSize), IsOk()) << "it is off";
  for (const auto& [params, field] :
       {std::pair("temperature: 0", "temperature"), std::pair("xtc { probability: 0.25 }", "xtc.probability")}) {
    const absl::Status status = ScoringParamsFromProto(Parse(params), kVocabSize).status();
    EXPECT_THAT(status, HasReason(ErrorReason::kFieldOutOfRange));
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(DetailOf(status).field, field);
  }
}

TEST(HeldBytesTest, WhatIsSharedCountsOnce) {
  ASSERT_OK_AND_ASSIGN(const SamplingParams plain, FromProto(Parse("temperature: 0.7"), kVocabSize));
  EXPECT_EQ(HeldBytes(plain), 0);
  ASSERT_OK_AND_ASSIGN(
      const SamplingParams params,
      FromProto(Parse("allowed_tokens { ids { token_ids: 1 } } sequence_biases { token_ids: [1, 2, 3] }"), 640));
  EXPECT_GE(HeldBytes(params), 640 / 8 + 3 * 4);
  EXPECT_EQ(HeldBytes(params, &params), 0);
  EXPECT_EQ(HeldBytes(params, &plain), HeldBytes(params));
}

TEST(RecordOptionsFromProtoTest, TheWholeVocabularyIsForColumns) {
  const auto options = [](const std::string& text, int32_t vocab_size) {
    v1::RecordOptions message;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
    return FromProto(message, vocab_size, /*default_sampling_log_prob=*/true, v1::RECORD_LAYOUT_RECORDS);
  };
  ASSERT_OK_AND_ASSIGN(RecordOptions record, options("top_n: 2000 packed_top: true kept_set: true", 2000));
  EXPECT_EQ(record.top_n, 2000);
  EXPECT_EQ(record.top_layout, TopLayout::kWholeVocabulary);
  EXPECT_TRUE(record.kept_set);
  EXPECT_FALSE(record.draw);
  ASSERT_OK_AND_ASSIGN(record, options("top_n: 1999 packed_top: true draw: true", 2000));
  EXPECT_EQ(record.top_layout, TopLayout::kPacked);
  EXPECT_FALSE(record.kept_set);
  EXPECT_TRUE(record.draw);
  ASSERT_OK_AND_ASSIGN(record, options("top_n: 4", 4));
  EXPECT_EQ(record.top_layout, TopLayout::kList);

  const struct {
    const char* options;
    ErrorReason reason;
    const char* bound;
  } cases[] = {{"top_n: 1025", ErrorReason::kLimitExceeded, "[0, 1024]"},
               {"top_n: 2001 packed_top: true", ErrorReason::kLimitExceeded, "[0, 2000]"},
               {"top_n: -1 packed_top: true", ErrorReason::kFieldOutOfRange, "[0, 2000]"}};
  for (const auto& test : cases) {
    SCOPED_TRACE(test.options);
    const absl::Status status = options(test.options, 2000).status();
    EXPECT_THAT(status, HasReason(test.reason));
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(DetailOf(status).bound, HasSubstr(test.bound));
  }
}

}  // namespace
}  // namespace logitd::server
