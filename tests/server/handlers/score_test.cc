#include "server/handlers/score.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <span>

#include "core/distribution.h"
#include "core/scorer.h"
#include "tests/server/in_process.h"
#include "tests/testing/equals_proto.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::EqualsProto;
using logitd::testing::FakeModelOptions;
using logitd::testing::FakeOutcome;
using logitd::testing::FakeRow;
using logitd::testing::FakeTokens;
using logitd::testing::IsOk;

class ScoreTest : public logitd::testing::InProcessServer {};

// What the same scorer makes of the same rows, without a server.
std::vector<TokenRecord> Expected(std::vector<TokenId> context, const std::vector<TokenId>& targets,
                                  const RecordOptions& options, std::optional<SamplingParams> sampling = std::nullopt) {
  Scorer scorer(options, std::move(sampling));
  Distribution distribution;
  std::vector<TokenRecord> records;
  const std::vector<TokenId> prompt = context;
  for (size_t i = 0; i < targets.size(); ++i) {
    const TokenId target = targets[i];
    StepContext step;
    step.prompt = prompt;
    step.output = std::span(targets).first(i);
    const auto record = scorer.Score(FakeRow(context), target, distribution, step);
    EXPECT_THAT(record, IsOk());
    records.push_back(*record);
    context.push_back(target);
  }
  return records;
}

constexpr char kTokens[] = R"(
    items { context { tokens { token_ids: [5, 9, 7] } }
            continuations { tokens { token_ids: [8, 3, 20, 41] } } } )";

TEST_F(ScoreTest, LogProbsAreThoseOfTheModelsRows) {
  for (const bool records : {true, false}) {
    SCOPED_TRACE(records ? "reduced by the runner" : "reduced by the server");
    FakeModelOptions fake;
    fake.records = records;
    fake.name = records ? "records" : "rows";
    Attach(fake);
    const auto scored = ScoreOne(std::string(kTokens) + "model: \"" + fake.name +
                                 "\" record { rank: true entropy: true top_n: 3 named_token_ids: [2, 60] }");
    const RecordOptions options{
        .sampling_log_prob = false, .rank = true, .entropy = true, .top_n = 3, .named_token_ids = {2, 60}};
    const auto expected = Expected({5, 9, 7}, {8, 3, 20, 41}, options);
    ASSERT_EQ(scored.score().tokens_size(), 4);
    double sum = 0;
    for (int i = 0; i < 4; ++i) {
      const v1::TokenRecord& token = scored.score().tokens(i);
      EXPECT_EQ(token.position(), i);
      EXPECT_EQ(token.origin(), v1::TOKEN_ORIGIN_GIVEN);
      EXPECT_EQ(token.log_prob_state(), v1::LOG_PROB_STATE_PRESENT);
      EXPECT_EQ(token.model_log_prob(), *expected[i].model_log_prob);
      EXPECT_FALSE(token.has_sampling_log_prob());
      EXPECT_EQ(token.rank(), *expected[i].rank);
      EXPECT_EQ(token.model_entropy(), *expected[i].model_entropy);
      EXPECT_EQ(token.model_log_sum_exp(), *expected[i].model_log_sum_exp);
      ASSERT_EQ(token.top().token_ids_size(), 3);
      ASSERT_EQ(token.named().token_ids_size(), 2);
      for (int a = 0; a < 3; ++a) {
        EXPECT_EQ(token.top().token_ids(a), expected[i].top[a].token_id);
        EXPECT_EQ(token.top().model_log_probs(a), *expected[i].top[a].model_log_prob);
        EXPECT_EQ(token.top().ranks(a), *expected[i].top[a].rank);
      }
      EXPECT_EQ(token.named().model_log_probs(1), *expected[i].named[1].model_log_prob);
      sum += token.model_log_prob();
    }
    EXPECT_NEAR(scored.score().totals().cumulative_model_log_prob(), sum, 1e-12);
    EXPECT_FALSE(scored.score().totals().has_cumulative_sampling_log_prob());
    EXPECT_FALSE(scored.score().is_greedy());
    fake_.reset();
  }
}

TEST_F(ScoreTest, ConditionalGivesBothLogProbs) {
  Attach();
  const auto scored =
      ScoreOne(std::string(kTokens) + "sampling { temperature: 0.5 allowed_tokens { ids { token_ids: [8, 3, 20] } } }");
  SamplingParams sampling;
  sampling.temperature = 0.5;
  sampling.subset = std::make_shared<const VocabSubset>(*VocabSubset::Of(64, std::vector<TokenId>{8, 3, 20}));
  const auto expected = Expected({5, 9, 7}, {8, 3, 20, 41}, RecordOptions{}, sampling);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(scored.score().tokens(i).model_log_prob(), *expected[i].model_log_prob);
    EXPECT_EQ(scored.score().tokens(i).sampling_log_prob(), *expected[i].sampling_log_prob);
  }
  const v1::TokenRecord& excluded = scored.score().tokens(3);
  EXPECT_EQ(excluded.log_prob_state(), v1::LOG_PROB_STATE_EXCLUDED);
  EXPECT_TRUE(excluded.has_model_log_prob());
  EXPECT_FALSE(excluded.has_sampling_log_prob());
  EXPECT_TRUE(scored.score().totals().has_cumulative_model_log_prob());
  EXPECT_FALSE(scored.score().totals().has_cumulative_sampling_log_prob()) << "a sum that would need it is unset";
}

TEST_F(ScoreTest, PenaltiesSeeTheContextAndTheContinuationSoFar) {
  Attach();
  const std::string item = R"(items { context { tokens { token_ids: [5, 9, 8] } }
      continuations { tokens { token_ids: [8, 3, 8, 9, 3] } } } )";
  const auto scored = ScoreOne(item + "sampling { temperature: 0.7 repetition_penalty: 1.5 frequency_penalty: 0.5 }");
  SamplingParams sampling;
  sampling.temperature = 0.7;
  sampling.repetition_penalty = 1.5;
  sampling.frequency_penalty = 0.5;
  const auto expected = Expected({5, 9, 8}, {8, 3, 8, 9, 3}, RecordOptions{}, sampling);
  const auto plain = ScoreOne(item + "sampling { temperature: 0.7 }");
  ASSERT_EQ(scored.score().tokens_size(), 5);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(scored.score().tokens(i).sampling_log_prob(), *expected[i].sampling_log_prob) << i;
    EXPECT_EQ(scored.score().tokens(i).model_log_prob(), plain.score().tokens(i).model_log_prob()) << i;
    EXPECT_NE(scored.score().tokens(i).sampling_log_prob(), plain.score().tokens(i).sampling_log_prob()) << i;
  }
}

TEST_F(ScoreTest, AlternativesAreColumnsWhoeverReducesTheRows) {
  for (const bool records : {true, false}) {
    SCOPED_TRACE(records ? "reduced by the runner" : "reduced by the server");
    FakeModelOptions fake;
    fake.records = records;
    fake.name = records ? "records" : "rows";
    Attach(fake);
    const std::string request = std::string(kTokens) + "model: \"" + fake.name + "\" record { rank: true ";
    const auto lists = ScoreOne(request + "top_n: 64 }");
    const auto columns = ScoreOne(request + "top_n: 64 packed_top: true }");
    for (int i = 0; i < 4; ++i) {
      const v1::TokenAlternatives& list = lists.score().tokens(i).top();
      const v1::PackedAlternatives& packed = columns.score().tokens(i).packed_top();
      ASSERT_EQ(list.token_ids_size(), 64);
      ASSERT_EQ(packed.model_log_probs().size(), 64 * sizeof(double));
      ASSERT_EQ(packed.ranks().size(), 64 * sizeof(int32_t));
      EXPECT_EQ(packed.token_ids(), "");
      for (int a = 0; a < 64; ++a) {
        double log_prob = 0;
        int32_t rank = 0;
        std::memcpy(&log_prob, packed.model_log_probs().data() + list.token_ids(a) * sizeof(double), sizeof(log_prob));
        std::memcpy(&rank, packed.ranks().data() + list.token_ids(a) * sizeof(int32_t), sizeof(rank));
        EXPECT_EQ(log_prob, list.model_log_probs(a));
        EXPECT_EQ(rank, list.ranks(a));
      }
    }
    fake_.reset();
  }
}

TEST_F(ScoreTest, ContextIsEvaluatedOnceForAllContinuations) {
  auto& model = Attach();
  std::string request = "items { context { tokens { token_ids: [5, 6, 7, 8, 9, 10, 11, 12] } } ";
  for (int i = 0; i < 4; ++i) {
    request += "continuations { tokens { token_ids: [" + std::to_string(20 + i) + ", 30] } } ";
  }
  std::vector<v1::ScoreResponse> responses;
  ASSERT_TRUE(Score(request + "}", &responses).ok());
  ASSERT_EQ(responses[0].item().continuations_size(), 4);
  // The context, and then one token for each continuation.
  EXPECT_EQ(model.token_count(), 8 + 4);
  EXPECT_THAT(responses[0].usage(),
              EqualsProto("prompt_token_count: 8 scored_token_count: 8 evaluated_token_count: 12"));
}

TEST_F(ScoreTest, EqualContinuationsAreEvaluatedOnceAndEqual) {
  auto& model = Attach();
  std::vector<v1::ScoreResponse> responses;
  ASSERT_TRUE(
      Score(
          R"(items { context { tokens { token_ids: [5, 6] } } continuations { tokens { token_ids: [7, 8] } } continuations { tokens { token_ids: [7, 9] } }
      continuations { tokens { token_ids: [7, 8] } byte_count: 3 } })",
          &responses)
          .ok());
  const auto& continuations = responses[0].item().continuations();
  ASSERT_EQ(continuations.size(), 3);
  EXPECT_EQ(continuations[2].score().totals().SerializeAsString(),
            continuations[0].score().totals().SerializeAsString());
  EXPECT_EQ(continuations[2].score().tokens_size(), 2);
  EXPECT_EQ(continuations[2].score().byte_count(), 3) << "its own counts stay its own";
  // All of them begin with 7.
  EXPECT_EQ(model.token_count(), 2 + 1);
  EXPECT_THAT(responses[0].usage(),
              EqualsProto("prompt_token_count: 2 scored_token_count: 6 evaluated_token_count: 3"));
}

TEST_F(ScoreTest, EachPositionNamesItsOwnTokens) {
  for (const bool records : {true, false}) {
    SCOPED_TRACE(records ? "records" : "rows");
    FakeModelOptions options;
    options.records = records;
    options.name = records ? "records" : "rows";
    Attach(options);
    std::vector<v1::ScoreResponse> responses;
    // Equal tokens, of which two continuations name others: each has its own. Text knows its number of tokens too.
    ASSERT_TRUE(Score(R"(items { context { tokens { token_ids: [5, 6] } }
          continuations { tokens { token_ids: [7, 8] } named_by_position { token_ids: [3, 9, 3] } named_by_position { } }
          continuations { tokens { token_ids: [7, 8] } named_by_position { } named_by_position { token_ids: 12 } }
          continuations { tokens { token_ids: [7, 8] } }
          continuations { text: " cat" named_by_position { token_ids: 9 } }
          continuations { tokens { token_ids: [7, 8] } named_by_position { token_ids: 12 } }
          continuations { tokens { token_ids: [7, 8] } named_by_position { } named_by_position { token_ids: 64 } } }
        record { rank: true named_token_ids: 20 } model: ")" +
                          options.name + "\"",
                      &responses)
                    .ok());
    const auto& scored = responses[0].item().continuations();
    const std::vector<std::vector<std::vector<TokenId>>> wanted = {
        {{20, 3, 9, 3}, {20}}, {{20}, {20, 12}}, {{20}, {20}}};
    const std::vector<TokenId> fed = {5, 6, 7};
    for (int c = 0; c < 3; ++c) {
      for (int t = 0; t < 2; ++t) {
        const v1::TokenAlternatives& named = scored[c].score().tokens(t).named();
        ASSERT_EQ(std::vector<TokenId>(named.token_ids().begin(), named.token_ids().end()), wanted[c][t]);
        // By definition, of the model's row.
        const std::vector<float> row = FakeRow(std::span(fed).first(2 + t));
        double sum = 0;
        for (const float logit : row) sum += std::exp(static_cast<double>(logit));
        for (int i = 0; i < named.token_ids_size(); ++i) {
          const float logit = row[named.token_ids(i)];
          EXPECT_NEAR(named.model_log_probs(i), logit - std::log(sum), 1e-6);
          EXPECT_EQ(named.ranks(i), 1 + std::count_if(row.begin(), row.end(), [&](float x) { return x > logit; }));
        }
      }
    }
    EXPECT_EQ(scored[3].score().tokens(0).named().token_ids_size(), 2);
    EXPECT_EQ(Describe(scored[4].error()), "TARGET_COUNT_MISMATCH of items[0].continuations[4].named_by_position");
    EXPECT_EQ(Describe(scored[5].error()),
              "TOKEN_ID_OUT_OF_RANGE of items[0].continuations[5].named_by_position[1].token_ids[0]");
    EXPECT_EQ(Describe(Score(R"(items { continuations { tokens { token_ids: 7 } named_by_position { token_ids: 12 } } }
                                record { layout: RECORD_LAYOUT_NONE } model: ")" +
                                 options.name + "\"",
                             &responses)),
              "FIELDS_EXCLUSIVE of items[0].continuations[0].named_by_position");
    fake_.reset();
  }
}

TEST_F(ScoreTest, UsageIsEachItemsOwnWhateverTheRunnerCan) {
  for (const bool fork : {true, false}) {
    for (const bool records : {true, false}) {
      SCOPED_TRACE(std::string(fork ? "forks" : "no forks") + (records ? ", records" : ", rows"));
      FakeModelOptions options;
      options.fork = fork;
      options.records = records;
      options.name = std::string(fork ? "fork" : "plain") + (records ? "-records" : "-rows");
      auto& model = Attach(options);
      std::vector<v1::ScoreResponse> responses;
      // The context, and all but the last token of the longer continuation; the other needs nothing more. One of 20
      // tokens comes in several rounds where rows are shipped. One that fails costs nothing.
      ASSERT_TRUE(
          Score("items { context { tokens { token_ids: [5, 6] } } continuations { tokens { token_ids: [7, 8, 9] } } "
                "continuations { tokens { token_ids: 64 } } continuations { tokens { token_ids: 7 } } } "
                "items { context { tokens { token_ids: [6, 5, 4] } } continuations { tokens { token_ids: [" +
                    std::string("1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20") +
                    "] } } } items { context { tokens { token_ids: 5 } } } model: \"" + options.name + "\"",
                &responses)
              .ok());
      ASSERT_EQ(responses.size(), 3u);
      EXPECT_THAT(responses[0].usage(),
                  EqualsProto("prompt_token_count: 2 scored_token_count: 4 evaluated_token_count: 4"));
      EXPECT_THAT(responses[1].usage(),
                  EqualsProto("prompt_token_count: 3 scored_token_count: 20 evaluated_token_count: 22"));
      EXPECT_FALSE(responses[2].has_usage()) << "it was not scored";
      EXPECT_EQ(model.token_count(), responses[0].usage().evaluated_token_count() + 22);
      fake_.reset();
    }
  }
}

TEST_F(ScoreTest, ManyItemsComeBackEachWithItsIndex) {
  FakeModelOptions options;
  options.max_sequences = 8;
  options.max_cached_tokens = 64;
  Attach(options);
  std::string request;
  for (int i = 0; i < 40; ++i) {
    request += "items { context { tokens { token_ids: [" + std::to_string(2 + i) +
               ", 4, 5, 6] } } continuations { tokens { token_ids: [" + std::to_string(3 + i) +
               ", 9] } } continuations { tokens { token_ids: 50 } } } ";
  }
  std::vector<v1::ScoreResponse> responses;
  ASSERT_TRUE(Score(request, &responses).ok());
  ASSERT_EQ(responses.size(), 40u);
  for (const v1::ScoreResponse& response : responses) {
    const int i = response.item_index();
    const auto expected = Expected({2 + i, 4, 5, 6}, {3 + i, 9}, RecordOptions{});
    const v1::ScoredSequence& score = response.item().continuations(0).score();
    EXPECT_EQ(score.tokens(1).model_log_prob(), *expected[1].model_log_prob);
  }
}

TEST_F(ScoreTest, EmptyContextIsTheModelsBos) {
  Attach();
  std::vector<v1::ScoreResponse> responses;
  ASSERT_TRUE(Score(R"(items { continuations { tokens { token_ids: [7, 8] } } }
                       items { context { text: "" } continuations { text: "at" } })",
                    &responses)
                  .ok());
  EXPECT_EQ(responses[0].item().implicit_context_token_id(), logitd::testing::kFakeBos);
  const auto expected = Expected({logitd::testing::kFakeBos}, {7, 8}, RecordOptions{});
  const v1::ScoredSequence& score = responses[0].item().continuations(0).score();
  EXPECT_EQ(score.tokens(0).model_log_prob(), *expected[0].model_log_prob);
  EXPECT_EQ(score.tokens(1).model_log_prob(), *expected[1].model_log_prob);
  EXPECT_TRUE(responses[1].item().has_implicit_context_token_id());
}

TEST_F(ScoreTest, LastTokenOfAFullContextIsScored) {
  FakeModelOptions options;
  options.context_length = 6;
  Attach(options);
  const auto fits = ScoreOne(
      "items { context { tokens { token_ids: [5, 6, 7] } } continuations { tokens { token_ids: "
      "[8, 9, 10, 11] } } }");
  EXPECT_EQ(fits.score().tokens_size(), 4);
  const auto over = ScoreOne(
      "items { context { tokens { token_ids: [5, 6, 7] } } continuations { tokens { token_ids: "
      "[8, 9, 10, 11, 12] } } }");
  EXPECT_EQ(Describe(over.error()), "CONTEXT_LENGTH_EXCEEDED of items[0].continuations[0].tokens");
  EXPECT_EQ(over.error().value(), "8");
}

TEST_F(ScoreTest, SmallestRunnerScoresTheLongestText) {
  // One sequence, and a cache of one context: a text of context_length + 1 tokens still fits, its last is not fed.
  for (const bool fork : {true, false}) {
    for (const int32_t max_sequences : {1, 2}) {
      FakeModelOptions options;
      options.name = "small" + std::to_string(max_sequences) + (fork ? "f" : "");
      options.fork = fork;
      options.max_sequences = max_sequences;
      options.context_length = 6;
      options.max_cached_tokens = 6;
      SCOPED_TRACE(options.name);
      Attach(options);
      const auto scored = ScoreOne(
          "items { context { tokens { token_ids: [5, 6, 7] } } continuations { tokens { "
          "token_ids: [8, 9, 10, 11] } } } model: \"" +
          options.name + "\"");
      const auto expected = Expected({5, 6, 7}, {8, 9, 10, 11}, RecordOptions{});
      ASSERT_EQ(scored.score().tokens_size(), 4);
      for (int i = 0; i < 4; ++i) {
        EXPECT_EQ(scored.score().tokens(i).model_log_prob(), *expected[i].model_log_prob);
      }
      fake_.reset();
    }
  }
}

TEST_F(ScoreTest, WhatIsLongerThanTheCacheIsRefusedAlone) {
  FakeModelOptions options;
  options.context_length = 64;
  options.max_cached_tokens = 6;
  Attach(options);
  std::vector<v1::ScoreResponse> responses;
  ASSERT_TRUE(Score("items { context { tokens { token_ids: [5, 6, 7] } } "
                    "continuations { tokens { token_ids: [8, 9, 10, 11] } } "
                    "continuations { tokens { token_ids: [8, 9, 10, 11, 12] } } }",
                    &responses)
                  .ok());
  ASSERT_EQ(responses.size(), 1u);
  const auto& scored = responses[0].item().continuations();
  EXPECT_EQ(scored[0].score().tokens_size(), 4);
  EXPECT_EQ(Describe(scored[1].error()), "LIMIT_EXCEEDED of items[0].continuations[1].tokens");
  EXPECT_EQ(scored[1].error().limit(), "capacity.max_cached_tokens");
}

TEST_F(ScoreTest, BadContinuationLeavesTheOthersAlone) {
  Attach();
  std::vector<v1::ScoreResponse> responses;
  ASSERT_TRUE(
      Score(R"(items { context { text: "the" } continuations { text: "" } continuations { tokens { token_ids: 64 } }
      continuations { text: " cat" } continuations { } continuations { tokens { } }
      continuations { text: " cat" uncounted_prefix_bytes: 5 } continuations { text: " cat" byte_count: 0 } }
      items { context { tokens { token_ids: 99 } } continuations { text: "a" } }
      items { context { text: "a" } })",
            &responses)
          .ok());
  ASSERT_EQ(responses.size(), 3u);
  const auto& continuations = responses[0].item().continuations();
  const std::string path = "items[0].continuations";
  EXPECT_EQ(Describe(continuations[0].error()), "EMPTY_CONTINUATION of " + path + "[0].text");
  EXPECT_EQ(Describe(continuations[1].error()), "TOKEN_ID_OUT_OF_RANGE of " + path + "[1].tokens.token_ids[0]");
  EXPECT_FALSE(continuations[2].has_error());
  EXPECT_EQ(Describe(continuations[3].error()), "FIELD_REQUIRED of " + path + "[3]");
  EXPECT_EQ(Describe(continuations[4].error()), "EMPTY_CONTINUATION of " + path + "[4].tokens");
  EXPECT_EQ(Describe(continuations[5].error()), "FIELD_OUT_OF_RANGE of " + path + "[5].uncounted_prefix_bytes");
  EXPECT_EQ(Describe(continuations[6].error()), "FIELD_OUT_OF_RANGE of " + path + "[6].byte_count");
  EXPECT_EQ(Describe(responses[1].item().error()), "TOKEN_ID_OUT_OF_RANGE of items[1].context.tokens.token_ids[0]");
  EXPECT_EQ(Describe(responses[2].item().error()), "NO_CANDIDATES of items[2].continuations");
}

TEST_F(ScoreTest, AnItemsIdComesBackWhateverCameOfIt) {
  Attach();
  std::vector<v1::ScoreResponse> responses;
  const std::string longest(256, 'i');
  ASSERT_TRUE(Score("items { id: 'a/1' context { text: 'the' } continuations { text: ' cat' } } "
                    "items { id: 'a/1' } items { continuations { text: 'a' } } "
                    "items { id: '" +
                        longest +
                        "' continuations { text: 'a' } } "
                        "items { id: '" +
                        longest + "i' continuations { text: 'a' } }",
                    &responses)
                  .ok());
  ASSERT_EQ(responses.size(), 5u);
  EXPECT_EQ(responses[0].id(), "a/1");
  EXPECT_EQ(responses[1].id(), "a/1") << "ids need not differ";
  EXPECT_EQ(Describe(responses[1].item().error()), "NO_CANDIDATES of items[1].continuations");
  EXPECT_EQ(responses[2].id(), "");
  EXPECT_EQ(responses[3].id(), longest);
  EXPECT_FALSE(responses[3].item().has_error());
  EXPECT_EQ(responses[4].id(), "") << "what is refused for its length is not sent back";
  EXPECT_EQ(Describe(responses[4].item().error()), "LIMIT_EXCEEDED of items[4].id");
  EXPECT_EQ(responses[4].item().error().limit(), "max_id_bytes");
  EXPECT_EQ(responses[4].item().error().value(), "257");
}

TEST_F(ScoreTest, CountsCanLeaveOutTheDelimiter) {
  Attach();
  const auto scored =
      ScoreOne(R"(items { context { text: "the" } continuations { text: " cat" uncounted_prefix_bytes: 1 } })");
  EXPECT_EQ(scored.score().byte_count(), 3);
  const auto given =
      ScoreOne(R"(items { context { text: "the" } continuations { text: " cat" byte_count: 17 character_count: 9 } })");
  EXPECT_EQ(given.score().byte_count(), 17);
  EXPECT_EQ(given.score().character_count(), 9);
}

TEST_F(ScoreTest, GreedyContinuationIsNamed) {
  Attach();
  std::vector<TokenId> context = {5, 6};
  std::string ids;
  for (int i = 0; i < 3; ++i) {
    const auto row = FakeRow(context);
    const auto best = ReadRow(row)->argmax;
    context.push_back(best);
    ids += (i == 0 ? "" : ",") + std::to_string(best);
  }
  const auto scored = ScoreOne(
      "items { context { tokens { token_ids: [5, 6] } } continuations { tokens { token_ids: [" + ids + "] } } }");
  EXPECT_TRUE(scored.score().is_greedy());
}

TEST_F(ScoreTest, RequestAsAWholeCanBeRefused) {
  Attach();
  const struct {
    const char* request;
    const char* error;
  } cases[] = {{"", "NO_CANDIDATES of items"},
               {"items { } model: \"x\"", "MODEL_NOT_FOUND of model"},
               {"items { } sampling { temperature: 0 }", "FIELD_OUT_OF_RANGE of sampling.temperature"},
               {"items { } record { top_n: 65 }", "LIMIT_EXCEEDED of record.top_n"},
               {"items { } numerics_version: 2", "NUMERICS_VERSION_MISMATCH of numerics_version"}};
  for (const auto& test : cases) {
    SCOPED_TRACE(test.request);
    std::vector<v1::ScoreResponse> responses;
    EXPECT_EQ(Describe(Score(test.request, &responses)), test.error);
  }
}

TEST_F(ScoreTest, BadRowIsThatContinuationsError) {
  FakeModelOptions options;
  options.outcome = [](std::span<const TokenId> tokens) {
    return tokens.back() == 13 ? FakeOutcome::kNan : FakeOutcome::kRow;
  };
  Attach(options);
  std::vector<v1::ScoreResponse> responses;
  ASSERT_TRUE(Score("items { context { tokens { token_ids: [5, 6] } } continuations { tokens { "
                    "token_ids: [13, 7] } } continuations { tokens { token_ids: [7, 13] } } }",
                    &responses)
                  .ok());
  EXPECT_EQ(responses[0].item().continuations(0).error().reason(), v1::ERROR_REASON_MODEL_OUTPUT_INVALID);
  EXPECT_FALSE(responses[0].item().continuations(1).has_error());
}

}  // namespace
}  // namespace logitd::server
