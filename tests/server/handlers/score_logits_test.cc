#include "server/handlers/score_logits.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <stop_token>
#include <thread>
#include <utility>

#include "core/compensated_sum.h"
#include "core/errors.h"
#include "core/limits.h"
#include "tests/core/golden.h"
#include "tests/server/handlers/score_logits_session.h"
#include "tests/server/score_logits_messages.h"
#include "tests/testing/equals_proto.h"
#include "tests/testing/matchers.h"
#include "tests/testing/reference.h"

namespace logitd::server {
namespace {

using logitd::testing::Bytes;
using logitd::testing::EqualsProtoApproximately;
using logitd::testing::HasReason;
using logitd::testing::IsOk;
using logitd::testing::MakeRow;
using logitd::testing::Parse;

TEST_F(ScoreLogitsSessionTest, RowsGiveTheLogProbsOfTheirTargets) {
  Take(Config("vocab_size: 4 record { rank: true } sampling { temperature: 0.5 }"));
  Take(RowsMessage(0, {kRow, kRow}, {0, 1}));
  const Replies response = Finish();
  EXPECT_EQ(response.of(0).provenance().numerics_version(), kNumericsVersion);
  ASSERT_EQ(response.sequences_size(), 1);
  EXPECT_THAT(response.sequences(0), EqualsProtoApproximately(std::string(R"(
    tokens { token_id: 0 position: 0 origin: TOKEN_ORIGIN_GIVEN log_prob_state: LOG_PROB_STATE_PRESENT
             model_log_prob: -0.0563431032958081 sampling_log_prob: -0.00250900539016091 rank: 1 }
    tokens { token_id: 1 position: 1 origin: TOKEN_ORIGIN_GIVEN log_prob_state: LOG_PROB_STATE_PRESENT
             model_log_prob: -3.0563431032958081 sampling_log_prob: -6.00250900539016091 rank: 2 }
    totals { token_count: 2 cumulative_model_log_prob: -3.1126862065916162
             cumulative_sampling_log_prob: -6.00501801078032182 }
    is_greedy: false)"),
                                                              1e-6));
}

TEST_F(ScoreLogitsSessionTest, EveryTokenOfEveryGoldenRowIsRight) {
  const auto golden = logitd::testing::ReadGolden("softmax.json");
  const double tolerance = golden["tolerance_log_prob_nats"];
  int compared = 0;
  for (const auto& golden_row : golden["rows"]) {
    SCOPED_TRACE(golden_row["name"].get<std::string>());
    const std::vector<float> row = logitd::testing::GoldenRow(golden_row);
    for (const auto& test : golden_row["cases"]) {
      const double temperature = logitd::testing::Number(test["temperature"]);
      SCOPED_TRACE(temperature);
      v1::ScoreLogitsRequest config = Config("vocab_size: " + std::to_string(row.size()));
      config.mutable_config()->mutable_sampling()->set_temperature(temperature);
      session_ = ScoreLogitsSession();
      Take(config);
      std::vector<int32_t> targets;
      for (const auto& token : test["tokens"]) {
        targets.push_back(token["id"]);
        Take(RowsMessage(0, {row}, {targets.back()}));
      }
      const Replies response = Finish();
      ASSERT_EQ(response.sequences(0).tokens_size(), static_cast<int>(targets.size()));
      for (size_t i = 0; i < targets.size(); ++i) {
        const v1::TokenRecord& record = response.sequences(0).tokens(static_cast<int>(i));
        EXPECT_EQ(record.token_id(), targets[i]);
        EXPECT_NEAR(record.sampling_log_prob(), logitd::testing::Number(test["tokens"][i]["log_prob"]), tolerance);
        if (temperature == 1) {
          EXPECT_EQ(record.model_log_prob(), record.sampling_log_prob());
        }
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 100);
}

TEST_F(ScoreLogitsSessionTest, ReplyHasTheSameBytesHoweverTheRowsAreCutIntoMessages) {
  const std::string config =
      "vocab_size: 50 record { rank: true entropy: true top_n: 3 named_token_ids: [7, 2] }"
      " sampling { temperature: 0.7 top_k: 20 }";
  std::vector<Rows> sequences(3);
  std::vector<std::vector<int32_t>> targets(3);
  for (int s = 0; s < 3; ++s) {
    for (int t = 0; t < 9 + 7 * s; ++t) {
      sequences[s].push_back(MakeRow(50, 2, 100 * s + t));
      targets[s].push_back((17 * t + s) % 50);
    }
  }
  // All rows of a sequence in one message.
  Restart(config);
  for (int s = 0; s < 3; ++s) Take(RowsMessage(s, sequences[s], targets[s]));
  const std::string whole = Finish().SerializeAsString();
  // A row a message, the sequences in turn; then pieces of random sizes in a random order of sequences.
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    Restart(config);
    std::mt19937 random(round);
    std::vector<size_t> next(3, 0);
    int s = 0;
    while (next[0] + next[1] + next[2] < 9 + 16 + 23) {
      s = round == 0 ? (s + 1) % 3 : static_cast<int>(random() % 3);
      if (next[s] == sequences[s].size()) continue;
      const size_t end = std::min(next[s] + (round == 0 ? 1 : 1 + random() % 5), sequences[s].size());
      Take(RowsMessage(s, sequences[s], targets[s], next[s], end));
      next[s] = end;
    }
    EXPECT_EQ(Finish().SerializeAsString(), whole);
  }
}

TEST_F(ScoreLogitsSessionTest, SumsAreCompensatedLeftToRight) {
  Take(Config("vocab_size: 300 record { layout: RECORD_LAYOUT_RECORDS } sampling { temperature: 1.7 }"));
  Rows rows;
  std::vector<int32_t> targets;
  for (int t = 0; t < 2000; ++t) {
    rows.push_back(MakeRow(300, t % 7 == 0 ? 20 : 0.01, t));
    targets.push_back(t % 300);
  }
  for (size_t t = 0; t < rows.size(); t += 500) Take(RowsMessage(0, rows, targets, t, t + 500));
  const Replies response = Finish();
  CompensatedSum model, sampling;
  double plain = 0;
  for (const v1::TokenRecord& record : response.sequences(0).tokens()) {
    model.Add(record.model_log_prob());
    sampling.Add(record.sampling_log_prob());
    plain += record.model_log_prob();
  }
  EXPECT_NE(plain, model.value()) << "the case would not tell";
  EXPECT_EQ(response.sequences(0).totals().cumulative_model_log_prob(), model.value());
  EXPECT_EQ(response.sequences(0).totals().cumulative_sampling_log_prob(), sampling.value());
}

TEST_F(ScoreLogitsSessionTest, LayoutNoneKeepsTheSumsOfTheRecordsItLeavesOut) {
  const Rows rows = {MakeRow(40, 3, 1), MakeRow(40, 3, 2), MakeRow(40, 3, 3)};
  Restart("vocab_size: 40 sampling { temperature: 2 min_p: 0.01 }");
  Take(RowsMessage(0, rows, {1, 2, 3}));
  Replies with = Finish();
  Restart("vocab_size: 40 sampling { temperature: 2 min_p: 0.01 } record { layout: RECORD_LAYOUT_NONE }");
  Take(RowsMessage(0, rows, {1, 2, 3}));
  const Replies without = Finish();
  EXPECT_EQ(with.sequences(0).tokens_size(), 3);
  with.mutable_sequences(0)->clear_tokens();
  EXPECT_EQ(with.SerializeAsString(), without.SerializeAsString());
}

TEST_F(ScoreLogitsSessionTest, WhatIsExcludedIsAStateAndUnsetsTheSum) {
  Take(Config("vocab_size: 4 sampling { temperature: 0.8 banned_tokens { ids { token_ids: 1 } } }"));
  Take(RowsMessage(0, {{1, 2, -kInf, 3}, {1, 2, 3, 4}}, {2, 3}));
  Take(RowsMessage(1, {kRow, kRow}, {1, 0}));
  const Replies response = Finish();
  const v1::TokenRecord& by_row = response.sequences(0).tokens(0);
  EXPECT_EQ(by_row.log_prob_state(), v1::LOG_PROB_STATE_EXCLUDED);
  EXPECT_FALSE(by_row.has_model_log_prob());
  EXPECT_FALSE(by_row.has_sampling_log_prob());
  EXPECT_EQ(response.sequences(0).tokens(1).log_prob_state(), v1::LOG_PROB_STATE_PRESENT);
  EXPECT_FALSE(response.sequences(0).totals().has_cumulative_model_log_prob());
  EXPECT_FALSE(response.sequences(0).totals().has_cumulative_sampling_log_prob());
  EXPECT_EQ(response.sequences(0).totals().token_count(), 2);
  const v1::TokenRecord& by_stage = response.sequences(1).tokens(0);
  EXPECT_EQ(by_stage.log_prob_state(), v1::LOG_PROB_STATE_EXCLUDED);
  EXPECT_NEAR(by_stage.model_log_prob(), -3.0563431032958081, 1e-6);
  EXPECT_FALSE(by_stage.has_sampling_log_prob());
  EXPECT_NEAR(response.sequences(1).totals().cumulative_model_log_prob(), -3.1126862065916162, 1e-6);
  EXPECT_FALSE(response.sequences(1).totals().has_cumulative_sampling_log_prob());
}

TEST_F(ScoreLogitsSessionTest, GreedyIsTheLowestIdOfTheMaximumAtEveryPosition) {
  Take(Config("vocab_size: 3"));
  Take(RowsMessage(0, {{1, 3, 3}, {0.0f, -0.0f, -1}}, {1, 0}));
  Take(RowsMessage(1, {{1, 3, 3}}, {2}));
  Take(RowsMessage(2, {{-0.0f, 0.0f, -1}, {1, 2, 3}}, {0, 1}));
  const Replies response = Finish();
  EXPECT_TRUE(response.sequences(0).is_greedy());
  EXPECT_FALSE(response.sequences(1).is_greedy());
  EXPECT_FALSE(response.sequences(2).is_greedy());
}

TEST_F(ScoreLogitsSessionTest, ASequenceIsAnsweredWhenItEnds) {
  const auto reply_to = [&](const v1::ScoreLogitsRequest& request) {
    auto reply = session_.Take(request, {}, workspaces_);
    EXPECT_THAT(reply.status(), IsOk());
    return reply.ok() ? *reply : std::nullopt;
  };
  Take(Config("vocab_size: 4"));
  const int64_t empty = session_.held_bytes();
  EXPECT_FALSE(reply_to(RowsMessage(3, {kRow}, {0})));
  EXPECT_FALSE(reply_to(RowsMessage(1, {kRow}, {1})));
  const auto third = reply_to(Last(RowsMessage(3, {kRow}, {1})));
  ASSERT_TRUE(third);
  EXPECT_EQ(third->sequence_index(), 3);
  EXPECT_EQ(third->score().tokens_size(), 2);
  EXPECT_NEAR(third->score().totals().cumulative_model_log_prob(), -3.1126862065916162, 1e-6);
  EXPECT_EQ(third->provenance().numerics_version(), kNumericsVersion);
  // Its index is free again; without a row there is no sum.
  v1::ScoreLogitsRequest nothing;
  nothing.mutable_rows()->set_sequence_index(3);
  EXPECT_EQ(RefusedAs(nothing), "FIELD_REQUIRED of rows.blocks") << "neither rows nor an end";
  const auto without = reply_to(Last(nothing));
  ASSERT_TRUE(without);
  EXPECT_THAT(without->score(), logitd::testing::EqualsProto("totals { token_count: 0 }"));
  const auto again = reply_to(Last(RowsMessage(3, {kRow}, {0})));
  ASSERT_TRUE(again);
  EXPECT_EQ(again->score().tokens_size(), 1);
  EXPECT_EQ(again->score().tokens(0).position(), 0) << "another sequence";
  // Half-close ends what is open, and nothing else.
  const auto first = session_.TakeNext();
  ASSERT_TRUE(first.ok() && *first);
  EXPECT_EQ((*first)->sequence_index(), 1);
  EXPECT_NEAR((*first)->score().totals().cumulative_model_log_prob(), -3.0563431032958081, 1e-6);
  const auto none = session_.TakeNext();
  EXPECT_TRUE(none.ok() && !*none);
  EXPECT_EQ(session_.held_bytes(), empty);
}

TEST_F(ScoreLogitsSessionTest, AnErrorIsItsSequencesAlone) {
  const float nan = std::nanf("");
  const struct {
    const char* config;
    v1::ScoreLogitsRequest wrong;
    const char* error;
  } cases[] = {
      {"", RowsMessage(7, {kRow, {nan, 1, 1, 1}}, {0, 0}), "NON_FINITE_LOGIT of rows.logits"},
      {"", RowsMessage(7, {kRow, {nan, 1, 1, 1}}, {0, -100}), "NON_FINITE_LOGIT of rows.logits"},
      {"", RowsMessage(7, {{-kInf, -kInf, -kInf, -kInf}}, {0}), "NO_FINITE_LOGIT of rows.logits"},
      {"", RowsMessage(7, {kRow}, {4}), "TOKEN_ID_OUT_OF_RANGE of rows.target_token_ids[0]"},
      {"sampling { allowed_tokens { ids { token_ids: 0 } } }", RowsMessage(7, {{-kInf, 1, 1, 1}}, {0}),
       "ALL_TOKENS_EXCLUDED of "},
      {"sampling { frequency_penalty: 1 }", RowsMessage(7, {kRow, kRow}, {-100, 0}),
       "FIELD_OUT_OF_RANGE of rows.target_token_ids[1]"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.error);
    for (const bool ends : {false, true}) {
      Restart(std::string("vocab_size: 4 ") + test.config);
      Take(RowsMessage(2, {kRow}, {0}));
      const int64_t before = session_.held_bytes();
      EXPECT_EQ(RefusedAs(ends ? Last(test.wrong) : test.wrong), test.error);
      if (!ends) {
        // Nothing else comes of it, whatever is sent, up to its end.
        Take(test.wrong);
        Take(RowsMessage(7, {kRow}, {0}));
        Take(Last(RowsMessage(7, {kRow}, {0})));
      }
      EXPECT_EQ(session_.held_bytes(), before) << "what it held is freed";
      Take(Last(RowsMessage(7, {kRow}, {1})));
      Take(RowsMessage(2, {kRow}, {1}));
      const Replies response = Finish();
      EXPECT_EQ(response.sequences_size(), 2);
      EXPECT_EQ(response.sequences(7).totals().token_count(), 1);
      EXPECT_EQ(response.sequences(2).totals().token_count(), 2);
    }
  }
  // One that has failed is not answered again at the end either.
  Restart("vocab_size: 4");
  EXPECT_EQ(RefusedAs(RowsMessage(7, {kRow}, {9})), "TOKEN_ID_OUT_OF_RANGE of rows.target_token_ids[0]");
  EXPECT_EQ(Finish().sequences_size(), 0);
}

// The log-probs of kRow, 6 - ln(e^6 + e^3 + 2 e^0.5) and so on.
constexpr double kLogProbs[] = {-0.0563431032958081, -3.0563431032958081, -5.5563431032958081, -5.5563431032958081};

TEST_F(ScoreLogitsSessionTest, EachPositionNamesItsOwnTokens) {
  Restart("vocab_size: 4 record { rank: true named_token_ids: 2 } sampling { temperature: 0.5 }");
  auto request = RowsMessage(0, {kRow, kRow, kRow, kRow}, {0, -100, 1, 1});
  for (const std::vector<int32_t>& ids : {std::vector<int32_t>{1, 0, 1}, {3}, {}, {3}}) {
    request.mutable_rows()->add_named_by_position()->mutable_token_ids()->Add(ids.begin(), ids.end());
  }
  Take(request);
  Take(RowsMessage(0, {kRow}, {0}));
  const Replies response = Finish();
  const std::vector<std::vector<int32_t>> wanted = {{2, 1, 0, 1}, {2}, {2, 3}, {2}};
  ASSERT_EQ(response.sequences(0).tokens_size(), 4);
  for (int t = 0; t < 4; ++t) {
    const v1::TokenAlternatives& named = response.sequences(0).tokens(t).named();
    ASSERT_EQ(std::vector<int32_t>(named.token_ids().begin(), named.token_ids().end()), wanted[t]) << t;
    for (int i = 0; i < named.token_ids_size(); ++i) {
      const int32_t id = named.token_ids(i);
      EXPECT_NEAR(named.model_log_probs(i), kLogProbs[id], 1e-6);
      EXPECT_EQ(named.ranks(i), id < 2 ? id + 1 : 3);
      EXPECT_TRUE(named.sampling_log_probs(i) < 0);
    }
  }
}

TEST_F(ScoreLogitsSessionTest, NamesOfPositionsAreCheckedAndCounted) {
  const auto refused = [&](const std::string& config, const std::vector<std::vector<int32_t>>& lists) {
    Restart(config);
    auto request = RowsMessage(0, {kRow, kRow}, {0, 1});
    for (const auto& ids : lists) {
      request.mutable_rows()->add_named_by_position()->mutable_token_ids()->Add(ids.begin(), ids.end());
    }
    return RefusedAs(request);
  };
  EXPECT_EQ(refused("vocab_size: 4", {{1}}), "TARGET_COUNT_MISMATCH of rows.named_by_position");
  EXPECT_EQ(refused("vocab_size: 4", {{1}, {}, {}}), "TARGET_COUNT_MISMATCH of rows.named_by_position");
  EXPECT_EQ(refused("vocab_size: 4", {{}, {0, 4}}), "TOKEN_ID_OUT_OF_RANGE of rows.named_by_position[1].token_ids[1]");
  EXPECT_EQ(refused("vocab_size: 4", {{}, std::vector<int32_t>(1025, 1)}),
            "LIMIT_EXCEEDED of rows.named_by_position[1].token_ids");
  EXPECT_EQ(refused("vocab_size: 4 record { layout: RECORD_LAYOUT_NONE }", {{}, {1}}),
            "FIELDS_EXCLUSIVE of rows.named_by_position");

  // 1,024 positions of 1,024 names each: max_alternatives, 2^20.
  Restart("vocab_size: 4");
  const Rows rows(1024, kRow);
  const std::vector<int32_t> targets(1024, 0);
  auto most = RowsMessage(0, rows, targets);
  for (int i = 0; i < 1024; ++i) most.mutable_rows()->add_named_by_position()->mutable_token_ids()->Resize(1024, 3);
  Take(most);
  auto more = RowsMessage(1, {kRow}, {0});
  more.mutable_rows()->add_named_by_position()->add_token_ids(1);
  const absl::Status status = Refused(more);
  EXPECT_EQ(DetailOf(status).limit, "max_alternatives");
  // What is answered makes room.
  v1::ScoreLogitsRequest end;
  end.mutable_rows()->set_sequence_index(0);
  Take(Last(end));
  EXPECT_LT(replies_.of(0).ByteSizeLong(), static_cast<size_t>(kMaxMessageBytes));
  Take(Last(RowsMessage(1, {kRow}, {0})));
  replies_ = Replies();
  Take(Last(more));
  EXPECT_EQ(replies_.sequences(1).tokens(0).named().token_ids_size(), 1);
}

TEST_F(ScoreLogitsSessionTest, MemoryDoesNotGrowWithTheNumberOfSequences) {
  Take(Config("vocab_size: 4 record { top_n: 4 } sampling { temperature: 0.7 }"));
  const int64_t empty = session_.held_bytes();
  const Rows rows(1000, kRow);
  const std::vector<int32_t> targets(1000, 1);
  // Ten times as many records and alternatives as a call may hold.
  for (int i = 0; i < 5300; ++i) {
    Take(Last(RowsMessage(i % 3, rows, targets)));
    ASSERT_EQ(replies_.of(i % 3).score().tokens_size(), 1000) << i;
    replies_ = Replies();
    ASSERT_EQ(session_.held_bytes(), empty) << i;
  }
}

TEST_F(ScoreLogitsSessionTest, BlocksOfEveryTypeGiveTheResultOfTheirWidenedValues) {
  // Values that f16 and bf16 hold exactly.
  const std::vector<float> row = {1.5f, -2, 0.25f, -kInf};
  const std::vector<uint16_t> f16 = {0x3e00, 0xc000, 0x3400, 0xfc00};
  v1::ScoreLogitsRequest request = Parse<v1::ScoreLogitsRequest>(R"(rows {
    blocks { dtype: LOGITS_DTYPE_F16 row_count: 1 width: 4 } blocks { dtype: LOGITS_DTYPE_BF16 row_count: 2 width: 4 }
    blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 4 } target_token_ids: [0, 1, 2, 3] })");
  std::string& payload = *request.mutable_payload();
  payload.append(reinterpret_cast<const char*>(f16.data()), 8);
  for (int i = 0; i < 2; ++i) {
    for (const float value : row) {
      const auto upper = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
      payload.append(reinterpret_cast<const char*>(&upper), 2);
    }
  }
  payload += Bytes(row);
  Restart("vocab_size: 4 sampling { temperature: 0.6 }");
  Take(request);
  const std::string narrow = Finish().SerializeAsString();
  Restart("vocab_size: 4 sampling { temperature: 0.6 }");
  Take(RowsMessage(0, {row, row, row, row}, {0, 1, 2, 3}));
  EXPECT_EQ(Finish().SerializeAsString(), narrow);
}

TEST_F(ScoreLogitsSessionTest, PenaltiesSeeThePromptAndTheTargetsSoFar) {
  const auto rows_with_prompt = [](const std::vector<int32_t>& prompt) {
    auto request = RowsMessage(0, {kRow, kRow, kRow}, {1, 1, 1}, 0, 2);
    request.mutable_rows()->mutable_prompt_token_ids()->Add(prompt.begin(), prompt.end());
    return request;
  };
  Restart(
      "vocab_size: 4 sampling { frequency_penalty: 0.5 repetition_penalty: 3 repetition_scope: PENALTY_SCOPE_PROMPT }");
  Take(rows_with_prompt({0, 2, 0}));
  Take(RowsMessage(0, {kRow}, {1}));
  const Replies response = Finish();
  ASSERT_EQ(response.sequences(0).tokens_size(), 3);
  // Of the prompt's tokens 0 has 6 / 3 and 2 has 0.5 / 3; token 1 loses 0.5 each time that it was a target.
  const auto expected = [](double second) {
    return second - std::log(std::exp(2) + std::exp(second) + std::exp(0.5 / 3) + std::exp(0.5));
  };
  EXPECT_NEAR(response.sequences(0).tokens(0).sampling_log_prob(), expected(3), 1e-6);
  EXPECT_NEAR(response.sequences(0).tokens(1).sampling_log_prob(), expected(2.5), 1e-6);
  EXPECT_NEAR(response.sequences(0).tokens(2).sampling_log_prob(), expected(2), 1e-6) << "over messages too";
  EXPECT_NEAR(response.sequences(0).tokens(2).model_log_prob(), -3.056343, 1e-6) << "the model's stays";
}

TEST_F(ScoreLogitsSessionTest, APromptComesFirstAndIsKeptOnlyIfAStageLooksAtIt) {
  auto late = RowsMessage(0, {kRow}, {1});
  late.mutable_rows()->add_prompt_token_ids(2);
  Restart("vocab_size: 4");
  Take(late);
  EXPECT_THAT(Refused(late), HasReason(ErrorReason::kUnexpectedMessage));
  auto bad = RowsMessage(1, {kRow}, {1});
  bad.mutable_rows()->add_prompt_token_ids(4);
  EXPECT_EQ(RefusedAs(bad), "TOKEN_ID_OUT_OF_RANGE of rows.prompt_token_ids[0]");
  bad.mutable_rows()->set_sequence_index(2);
  bad.mutable_rows()->mutable_prompt_token_ids()->Resize(kMaxPromptTokens + 1, 0);
  EXPECT_EQ(RefusedAs(bad), "LIMIT_EXCEEDED of rows.prompt_token_ids");

  auto with_prompt = RowsMessage(0, {kRow}, {1});
  with_prompt.mutable_rows()->mutable_prompt_token_ids()->Resize(10'000, 0);
  Restart("vocab_size: 4 sampling { frequency_penalty: 1 }");
  Take(with_prompt);
  const int64_t without = session_.held_bytes();
  Restart("vocab_size: 4 sampling { repetition_penalty: 2 }");
  Take(with_prompt);
  EXPECT_GE(session_.held_bytes(), without + 40'000);
}

TEST_F(ScoreLogitsSessionTest, BadConfigsAreRefused) {
  const struct {
    const char* config;
    const char* error;
  } cases[] = {
      {"", "FIELD_OUT_OF_RANGE of config.vocab_size"},
      {"vocab_size: -1", "FIELD_OUT_OF_RANGE of config.vocab_size"},
      {"vocab_size: 1048577", "FIELD_OUT_OF_RANGE of config.vocab_size"},
      {"vocab_size: 4 numerics_version: 99", "NUMERICS_VERSION_MISMATCH of config.numerics_version"},
      {"vocab_size: 4 sampling { temperature: 0 }", "FIELD_OUT_OF_RANGE of config.sampling.temperature"},
      {"vocab_size: 4 sampling { xtc { probability: 0.5 } }", "FIELD_OUT_OF_RANGE of config.sampling.xtc.probability"},
      {"vocab_size: 4 sampling { logit_biases { token_id: 4 } }",
       "TOKEN_ID_OUT_OF_RANGE of config.sampling.logit_biases[0].token_id"},
      {"vocab_size: 4 sampling { temperature: nan }", "FIELD_OUT_OF_RANGE of config.sampling.temperature"},
      {"vocab_size: 4 sampling { top_p: 1.5 }", "FIELD_OUT_OF_RANGE of config.sampling.top_p"},
      {"vocab_size: 4 sampling { allowed_tokens { ids { } } }",
       "EMPTY_TOKEN_SET of config.sampling.allowed_tokens.ids.token_ids"},
      {"vocab_size: 4 record { top_n: 5 }", "LIMIT_EXCEEDED of config.record.top_n"},
      {"vocab_size: 4 record { named_token_ids: 4 }", "TOKEN_ID_OUT_OF_RANGE of config.record.named_token_ids[0]"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.config);
    session_ = ScoreLogitsSession();
    EXPECT_EQ(RefusedAs(Config(test.config)), test.error);
  }
}

// Log-probs of kRow: 6 - ln(e^6 + e^3 + 2 e^0.5) and so on, as RowsGiveTheLogProbsOfTheirTargets has them.
TEST_F(ScoreLogitsSessionTest, PositionsThatAreNotScoredHaveNoRecordAndAreInNoSum) {
  // The same in one message and in several.
  for (const std::vector<size_t>& cuts : {std::vector<size_t>{0, 6}, {0, 1, 2, 3, 4, 5, 6}, {0, 3, 6}}) {
    Restart("vocab_size: 4 record { rank: true } sampling { temperature: 0.5 }");
    const Rows rows(6, kRow);
    const std::vector<int32_t> targets = {-100, -100, 0, -100, 1, -100};
    for (size_t i = 0; i + 1 < cuts.size(); ++i) Take(RowsMessage(0, rows, targets, cuts[i], cuts[i + 1]));
    const Replies response = Finish();
    ASSERT_EQ(response.sequences_size(), 1);
    EXPECT_THAT(response.sequences(0), EqualsProtoApproximately(std::string(R"(
      tokens { token_id: 0 position: 2 origin: TOKEN_ORIGIN_GIVEN log_prob_state: LOG_PROB_STATE_PRESENT
               model_log_prob: -0.0563431032958081 sampling_log_prob: -0.00250900539016091 rank: 1 }
      tokens { token_id: 1 position: 4 origin: TOKEN_ORIGIN_GIVEN log_prob_state: LOG_PROB_STATE_PRESENT
               model_log_prob: -3.0563431032958081 sampling_log_prob: -6.00250900539016091 rank: 2 }
      totals { token_count: 2 cumulative_model_log_prob: -3.1126862065916162
               cumulative_sampling_log_prob: -6.00501801078032182 }
      is_greedy: false)"),
                                                                1e-6));
  }
  // Sums are those of the scored targets alone, to the bit.
  const auto totals = [&](const std::vector<int32_t>& targets) {
    Restart("vocab_size: 4 record { layout: RECORD_LAYOUT_NONE }");
    Take(RowsMessage(0, Rows(targets.size(), kRow), targets));
    return Finish().sequences(0).totals();
  };
  EXPECT_EQ(totals({-100, 3, -100, 0, 1, -100}).SerializeAsString(), totals({3, 0, 1}).SerializeAsString());
}

TEST_F(ScoreLogitsSessionTest, WhatIsNotScoredIsNotGreedyEither) {
  Take(Config("vocab_size: 4"));
  Take(RowsMessage(0, {kRow, kRow}, {-100, -100}));
  Take(RowsMessage(1, {kRow, kRow}, {-100, 0}));
  const Replies response = Finish();
  EXPECT_THAT(response.sequences(0), logitd::testing::EqualsProto("totals { token_count: 0 }"));
  EXPECT_TRUE(response.sequences(1).is_greedy());
}

TEST_F(ScoreLogitsSessionTest, RowsThatAreNotScoredAreCheckedLikeAnyOther) {
  for (const auto& [value, reason] :
       {std::pair(std::nanf(""), ErrorReason::kNonFiniteLogit), std::pair(kInf, ErrorReason::kNonFiniteLogit),
        std::pair(-kInf, ErrorReason::kNoFiniteLogit)}) {
    Restart("vocab_size: 2 sampling { top_k: 1 }");
    const absl::Status status = Refused(RowsMessage(3, {{0, 1}, {value, value}}, {0, -100}));
    EXPECT_THAT(status, HasReason(reason));
    EXPECT_EQ(DetailOf(status).row, 1);
  }
}

TEST_F(ScoreLogitsSessionTest, StagesThatLookBackRefuseWhatIsNotKnown) {
  const std::string config = "vocab_size: 4 sampling { frequency_penalty: 0.5 }";
  // Nothing is scored after it: padding.
  Restart(config);
  Take(RowsMessage(0, {kRow, kRow, kRow}, {0, 1, -100}));
  Take(RowsMessage(0, {kRow}, {-100}));
  EXPECT_EQ(Finish().sequences(0).totals().token_count(), 2);
  // In one message, and in the next.
  Restart(config);
  EXPECT_EQ(RefusedAs(RowsMessage(0, {kRow, kRow, kRow}, {0, -100, 1})),
            "FIELD_OUT_OF_RANGE of rows.target_token_ids[2]");
  Restart(config);
  Take(RowsMessage(0, {kRow}, {-100}));
  Take(RowsMessage(1, {kRow}, {1}));  // Another sequence knows all of its targets.
  EXPECT_EQ(RefusedAs(RowsMessage(0, {kRow}, {1})), "FIELD_OUT_OF_RANGE of rows.target_token_ids[0]");
}

TEST_F(ScoreLogitsSessionTest, LimitsOfRecordsCountWhatIsScored) {
  // 1,024 * 1,024 alternatives are max_alternatives: more records would be refused.
  Restart("vocab_size: 1024 record { top_n: 1024 }");
  const int per_message = kMaxRowsPerMessage;
  const Rows rows(per_message, std::vector<float>(1024));
  Take(RowsMessage(0, rows, std::vector<int32_t>(per_message, -100)));
  Take(RowsMessage(0, rows, std::vector<int32_t>(per_message, -100)));
  EXPECT_EQ(Finish().sequences(0).totals().token_count(), 0);
}

}  // namespace
}  // namespace logitd::server
