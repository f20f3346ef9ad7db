// Rows of hidden states, wherever rows go: every reply has the bits of the same logits sent as rows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/errors.h"
#include "server/handlers/decode.h"
#include "server/handlers/score_logits.h"
#include "server/head_tiles.h"
#include "tests/server/decode_messages.h"
#include "tests/server/in_process.h"
#include "tests/server/score_logits_messages.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using ::logitd::testing::Bytes;
using ::logitd::testing::Describe;
using ::logitd::testing::ErrorOf;
using ::logitd::testing::HasReason;
using ::logitd::testing::IsOk;
using ::logitd::testing::Parse;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int32_t kVocabSize = 50;
constexpr int32_t kHiddenSize = 20;

std::vector<float> Normal(size_t count, uint32_t seed) {
  std::mt19937 bits(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(bits() % 4001) / 1000.0f - 2;
  return values;
}

NamedHead MakeHead(const std::string& name, int32_t vocab_size, int32_t hidden_size, bool has_norm = true) {
  auto builder = SoftmaxHead::Builder::Make({vocab_size, hidden_size});
  EXPECT_THAT(builder.status(), IsOk());
  EXPECT_THAT(builder->AddTokens(Normal(static_cast<size_t>(vocab_size) * static_cast<size_t>(hidden_size), 7)),
              IsOk());
  EXPECT_THAT(builder->SetBias(Normal(static_cast<size_t>(vocab_size), 8)), IsOk());
  if (has_norm) {
    EXPECT_THAT(builder->SetOutputNorm(Normal(static_cast<size_t>(hidden_size), 9), 1e-5), IsOk());
  }
  auto head = std::move(*builder).Build();
  EXPECT_THAT(head.status(), IsOk());
  return {.name = name, .head = *std::move(head), .has_bias = true};
}

const Heads& TwoHeads() {
  static const Heads& heads =
      *new Heads({MakeHead("lm", kVocabSize, kHiddenSize), MakeHead("wide", kVocabSize, 33, /*has_norm=*/false)});
  return heads;
}
const SoftmaxHead& Lm() { return *TwoHeads().list()[0].head; }

std::vector<float> LogitsOf(const SoftmaxHead& head, std::span<const float> hidden, bool normed = false) {
  HiddenTile tile(head.hidden_size());
  EXPECT_THAT(tile.Add(hidden, normed ? head.output_norm() : nullptr), IsOk());
  std::vector<float> logits(static_cast<size_t>(head.vocab_size()));
  head.columns().ComputeLogits(tile, logits);
  return logits;
}

std::string Block(int rows, int width, const std::string& hidden = "") {
  return " blocks { dtype: LOGITS_DTYPE_F32 row_count: " + std::to_string(rows) + " width: " + std::to_string(width) +
         (hidden.empty() ? "" : " hidden { " + hidden + " }") + " }";
}

std::string BatchOf(const std::string& blocks, int rows) {
  std::string text = "batch { batch_id: 1" + blocks;
  for (int i = 0; i < rows; ++i) {
    text += " opens { sequence_id: " + std::to_string(i + 1) +
            " fresh {} } steps { sequence_id: " + std::to_string(i + 1) + " row: " + std::to_string(i) + " }";
  }
  return text + " }";
}

const std::string kDecodeConfig =
    "config { vocab_size: 50 sampling { seed: 3 temperature: 0.8 top_p: 0.95 } record { top_n: 5 entropy: true rank: "
    "true } stop { max_tokens: 100 } }";

// The reply to one batch.
v1::DecodeResponse Decoded(const v1::DecodeRequest& batch, StepWorkspaces& workspaces) {
  DecodeSession session(TwoHeads());
  v1::DecodeResponse response;
  EXPECT_THAT(session.Handle(Request(kDecodeConfig), {}, workspaces, response), IsOk());
  response.Clear();
  EXPECT_THAT(session.Handle(batch, {}, workspaces, response), IsOk());
  return response;
}

TEST(HiddenRowsTest, DecodeHasTheBitsOfTheLogitsForAnyBatchAndNumberOfThreads) {
  for (const int rows : {1, 2, 13, 200}) {
    SCOPED_TRACE(rows);
    const std::vector<float> hidden = Normal(static_cast<size_t>(rows) * kHiddenSize, 1);
    std::vector<float> logits;
    for (int i = 0; i < rows; ++i) {
      const auto row = LogitsOf(Lm(), std::span(hidden).subspan(static_cast<size_t>(i) * kHiddenSize, kHiddenSize));
      logits.insert(logits.end(), row.begin(), row.end());
    }
    StepWorkspaces alone(1);
    StepWorkspaces crew(4, 3);
    const v1::DecodeResponse expected = Decoded(Request(BatchOf(Block(rows, kVocabSize), rows), logits), alone);
    ASSERT_EQ(expected.result().steps_size(), rows);
    for (StepWorkspaces* workspaces : {&alone, &crew}) {
      const v1::DecodeResponse response =
          Decoded(Request(BatchOf(Block(rows, kHiddenSize, R"(head: "lm")"), rows), hidden), *workspaces);
      EXPECT_EQ(response.SerializeAsString(), expected.SerializeAsString());
    }
  }
}

TEST(HiddenRowsTest, BlocksOfAllKindsAndStepsInAnyOrderMix) {
  // Rows: 0, 1 hidden for lm; 2 logits; 3 hidden for wide; 4 hidden, before the norm; 5 hidden, a subset.
  const std::vector<float> lm = Normal(2 * kHiddenSize, 1);
  const std::vector<float> plain = Normal(kVocabSize, 2);
  const std::vector<float> wide = Normal(33, 3);
  const std::vector<float> early = Normal(kHiddenSize, 4);
  const std::vector<float> some = Normal(kHiddenSize, 5);
  std::vector<float> sent;
  std::vector<float> as_logits;
  const auto add = [](std::vector<float>& to, const std::vector<float>& values) {
    to.insert(to.end(), values.begin(), values.end());
  };
  for (const auto* values : {&lm, &plain, &wide, &early, &some}) add(sent, *values);
  add(as_logits, LogitsOf(Lm(), std::span(lm).first(kHiddenSize)));
  add(as_logits, LogitsOf(Lm(), std::span(lm).subspan(kHiddenSize)));
  add(as_logits, plain);
  add(as_logits, LogitsOf(*TwoHeads().list()[1].head, wide));
  add(as_logits, LogitsOf(Lm(), early, /*normed=*/true));
  std::vector<float> subset(kVocabSize, -std::numeric_limits<float>::infinity());
  const std::vector<float> whole = LogitsOf(Lm(), some);
  for (const int id : {0, 7, 49}) subset[static_cast<size_t>(id)] = whole[static_cast<size_t>(id)];
  add(as_logits, subset);
  std::string steps;
  std::map<int, int> positions;
  for (const auto& [sequence, row] :
       {std::pair(1, 5), {2, 0}, {1, 3}, {2, 0}, {2, 5}, {1, 1}, {3, 2}, {3, 4}, {1, 0}}) {
    steps += " steps { sequence_id: " + std::to_string(sequence) + " row: " + std::to_string(row) +
             " position: " + std::to_string(positions[sequence]++) + " }";
  }
  const std::string opens =
      " opens { sequence_id: 1 fresh {} } opens { sequence_id: 2 fresh {} } opens { sequence_id: 3 fresh {} }";
  const std::string blocks = Block(2, kHiddenSize, R"(head: "lm")") + Block(1, kVocabSize) +
                             Block(1, 33, R"(head: "wide")") +
                             Block(1, kHiddenSize, R"(head: "lm" before_output_norm: true)") +
                             Block(1, kHiddenSize, R"(head: "lm" token_ids: [0, 7, 49])");
  StepWorkspaces crew(4, 3);
  const auto expected =
      Decoded(Request("batch { batch_id: 1" + opens + Block(6, kVocabSize) + steps + " }", as_logits), crew);
  const auto response = Decoded(Request("batch { batch_id: 1" + opens + blocks + steps + " }", sent), crew);
  for (const v1::StepResult& step : expected.result().steps()) EXPECT_FALSE(step.has_error()) << step.DebugString();
  EXPECT_EQ(response.SerializeAsString(), expected.SerializeAsString());
}

TEST(HiddenRowsTest, AValueThatIsNotFiniteIsAnErrorOfItsStepAlone) {
  std::vector<float> hidden = Normal(3 * kHiddenSize, 1);
  hidden[kHiddenSize + 4] = std::numeric_limits<float>::quiet_NaN();
  StepWorkspaces workspaces(1);
  const auto response =
      Decoded(Request(BatchOf(Block(3, kHiddenSize, R"(head: "lm")"), 3), hidden), workspaces).result();
  EXPECT_FALSE(response.steps(0).has_error());
  EXPECT_EQ(Describe(response.steps(1).error()), "FIELD_OUT_OF_RANGE of batch.steps[1].hidden[4]");
  EXPECT_EQ(response.steps(1).error().row(), 1);
  EXPECT_FALSE(response.steps(2).has_error());
}

TEST(HiddenRowsTest, ALogitThatOverflowsIsNamed) {
  const std::vector<float> hidden(kHiddenSize, 3e38f);
  StepWorkspaces workspaces(1);
  const auto response =
      Decoded(Request(BatchOf(Block(1, kHiddenSize, R"(head: "lm")"), 1), hidden), workspaces).result();
  EXPECT_EQ(response.steps(0).error().reason(), v1::ERROR_REASON_NON_FINITE_LOGIT) << response.DebugString();
}

struct Refusal {
  const char* name;
  std::string block;
  int floats;
  ErrorReason reason;
  std::vector<const char*> parts;
};

TEST(HiddenRowsTest, BlocksThatDoNotFitAreRefusedWithBothShapes) {
  const Refusal cases[] = {
      {"another d",
       Block(2, 19, R"(head: "lm")"),
       38,
       ErrorReason::kHeadShapeMismatch,
       {"batch.blocks[0].width must be 20, got 19: axis d of rows [2, 19] and head \"lm\" (W [V = 50, d = 20])"}},
      {"logits",
       Block(1, kVocabSize, R"(head: "lm")"),
       50,
       ErrorReason::kHeadShapeMismatch,
       {"axis d of rows [1, 50]", "these are logits, or W was read transposed (layout=dv"}},
      {"no such head",
       Block(1, 20, R"(head: "ml")"),
       20,
       ErrorReason::kHeadNotFound,
       {"batch.blocks[0].hidden.head", "there is no head \"ml\"", "lm, wide"}},
      {"which head", Block(1, 20, "before_output_norm: false"), 20, ErrorReason::kHeadNotFound, {"must name a head"}},
      {"no norm",
       Block(1, 33, R"(head: "wide" before_output_norm: true)"),
       33,
       ErrorReason::kFieldOutOfRange,
       {"batch.blocks[0].hidden.before_output_norm", "has no output norm"}},
      {"an id too large",
       Block(1, 20, R"(head: "lm" token_ids: [3, 50])"),
       20,
       ErrorReason::kTokenIdOutOfRange,
       {"batch.blocks[0].hidden.token_ids[1]"}},
      {"an unused slot",
       Block(1, 20, R"(head: "lm" token_ids: [3, -1])"),
       20,
       ErrorReason::kTokenIdOutOfRange,
       {"batch.blocks[0].hidden.token_ids[1]"}},
      {"an id twice",
       Block(1, 20, R"(head: "lm" token_ids: [3, 3])"),
       20,
       ErrorReason::kDuplicateTokenId,
       {"batch.blocks[0].hidden.token_ids[1]"}},
      {"descending ids",
       Block(1, 20, R"(head: "lm" token_ids: [4, 3])"),
       20,
       ErrorReason::kFieldOutOfRange,
       {"batch.blocks[0].hidden.token_ids[1]"}},
      {"LIN16",
       R"( blocks { dtype: LOGITS_DTYPE_LIN16 row_count: 1 width: 20 linear_max: 1 linear_step: 1 hidden { head: "lm" } })",
       10,
       ErrorReason::kFieldOutOfRange,
       {"batch.blocks[0].dtype", "F32, F16 or BF16"}},
      {"sparse",
       R"( blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 20 sparse { rest: SPARSE_REST_EXCLUDED } hidden { head: "lm" } })",
       20,
       ErrorReason::kFieldsExclusive,
       {"batch.blocks[0].hidden"}},
      {"too few bytes", Block(2, 20, R"(head: "lm")"), 39, ErrorReason::kRowLengthMismatch, {"payload"}},
      {"no row", Block(0, 20, R"(head: "lm")"), 0, ErrorReason::kFieldOutOfRange, {"row_count"}},
  };
  for (const Refusal& test : cases) {
    SCOPED_TRACE(test.name);
    DecodeSession session(TwoHeads());
    StepWorkspaces workspaces(1);
    v1::DecodeResponse response;
    ASSERT_THAT(session.Handle(Request(kDecodeConfig), {}, workspaces, response), IsOk());
    const absl::Status status =
        session.Handle(Request(BatchOf(test.block, 1), std::vector<float>(static_cast<size_t>(test.floats))), {},
                       workspaces, response);
    EXPECT_THAT(status, HasReason(test.reason));
    for (const char* part : test.parts) EXPECT_THAT(std::string(status.message()), HasSubstr(part));
  }
}

TEST(HiddenRowsTest, AnotherVocabularyIsRefusedWithBothShapes) {
  DecodeSession session(TwoHeads());
  StepWorkspaces workspaces(1);
  v1::DecodeResponse response;
  ASSERT_THAT(session.Handle(Request("config { vocab_size: 20 }"), {}, workspaces, response), IsOk());
  const absl::Status status = session.Handle(Request(BatchOf(Block(1, 20, R"(head: "lm")"), 1), std::vector<float>(20)),
                                             {}, workspaces, response);
  EXPECT_THAT(status, HasReason(ErrorReason::kHeadShapeMismatch));
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("batch.blocks[0].hidden.head must be a head of V = 20 (vocab_size), got V = 50"),
                    HasSubstr("axis V of logits [20] and head \"lm\" (W [V = 50, d = 20])"),
                    HasSubstr("W was read transposed")));
}

TEST(HiddenRowsTest, WithoutHeadsTheErrorTellsHowToHaveOne) {
  DecodeSession session;
  StepWorkspaces workspaces(1);
  v1::DecodeResponse response;
  ASSERT_THAT(session.Handle(Request(kDecodeConfig), {}, workspaces, response), IsOk());
  for (const char* name : {"head: \"lm\"", "before_output_norm: false"}) {
    const absl::Status status =
        session.Handle(Request(BatchOf(Block(1, 20, name), 1), std::vector<float>(20)), {}, workspaces, response);
    EXPECT_THAT(status, HasReason(ErrorReason::kHeadNotFound));
    EXPECT_THAT(std::string(status.message()), HasSubstr("--head NAME=FILE"));
  }
}

TEST(HiddenRowsTest, SubsetsOfAMessageTakeABoundedNumberOfIds) {
  const Heads heads({MakeHead("big", 1 << 20, 1, /*has_norm=*/false)});
  std::string ids;
  for (int i = 0; i < 600'000; ++i) ids += "token_ids: " + std::to_string(i) + " ";
  DecodeSession session(heads);
  StepWorkspaces workspaces(1);
  v1::DecodeResponse response;
  ASSERT_THAT(session.Handle(Request("config { vocab_size: 1048576 }"), {}, workspaces, response), IsOk());
  const std::string block = Block(1, 1, ids);
  EXPECT_THAT(session.Handle(Request(BatchOf(block, 1), {1}), {}, workspaces, response), IsOk());
  const absl::Status status =
      session.Handle(Request("batch { batch_id: 2" + block + block + " }", {1, 1}), {}, workspaces, response);
  EXPECT_THAT(status, HasReason(ErrorReason::kLimitExceeded));
  EXPECT_EQ(DetailOf(status).limit, "max_vocab_size");
}

TEST(HiddenRowsTest, ScoreLogitsHasTheBitsOfTheLogitsHoweverRowsAreSplit) {
  constexpr int kRows = 30;
  const std::vector<float> hidden = Normal(kRows * kHiddenSize, 1);
  Rows states;
  Rows logits;
  std::vector<int32_t> targets;
  for (size_t i = 0; i < kRows; ++i) {
    states.emplace_back(hidden.begin() + static_cast<ptrdiff_t>(i * kHiddenSize),
                        hidden.begin() + static_cast<ptrdiff_t>((i + 1) * kHiddenSize));
    logits.push_back(LogitsOf(Lm(), states.back()));
    targets.push_back(i == 5 ? -100 : static_cast<int32_t>(i * 7 % kVocabSize));
  }
  const auto score = [&](const Rows& rows, size_t at_once, bool is_hidden, StepWorkspaces& workspaces) {
    ScoreLogitsSession session(TwoHeads());
    EXPECT_THAT(session
                    .Take(Config("vocab_size: 50 record { top_n: 3 rank: true entropy: true } "
                                 "sampling { temperature: 0.7 top_k: 9 }"),
                          {}, workspaces)
                    .status(),
                IsOk());
    v1::ScoreLogitsResponse response;
    for (size_t begin = 0; begin < rows.size(); begin += at_once) {
      auto message = RowsMessage(0, rows, targets, begin, begin + at_once);
      if (is_hidden) message.mutable_rows()->mutable_blocks(0)->mutable_hidden()->set_head("lm");
      message.mutable_rows()->set_last(begin + at_once >= rows.size());
      const auto reply = session.Take(message, {}, workspaces);
      EXPECT_THAT(reply.status(), IsOk());
      if (reply.ok() && *reply) response = **reply;
    }
    return response;
  };
  StepWorkspaces alone(1);
  StepWorkspaces crew(4, 3);
  const auto expected = score(logits, kRows, false, alone);
  ASSERT_TRUE(expected.has_score()) << expected.DebugString();
  EXPECT_EQ(expected.provenance().head(), "");
  for (const size_t at_once : {size_t{1}, size_t{7}, size_t{kRows}}) {
    for (StepWorkspaces* workspaces : {&alone, &crew}) {
      const auto response = score(states, at_once, true, *workspaces);
      EXPECT_EQ(response.score().SerializeAsString(), expected.score().SerializeAsString());
      EXPECT_EQ(response.provenance().head(), "lm");
    }
  }
}

TEST(HiddenRowsTest, AGivenUpCallStopsBetweenTiles) {
  std::stop_source stop;
  stop.request_stop();
  RequestContext context;
  context.given_up = stop.get_token();
  DecodeSession session(TwoHeads());
  StepWorkspaces workspaces(1);
  v1::DecodeResponse response;
  ASSERT_THAT(session.Handle(Request(kDecodeConfig), {}, workspaces, response), IsOk());
  v1::DecodeRequest batch =
      Request("batch { batch_id: 1" + Block(1, kHiddenSize, R"(head: "lm")") + " steps { sequence_id: 1 } }",
              std::vector<float>(kHiddenSize));
  EXPECT_THAT(session.Handle(batch, context, workspaces, response), HasReason(ErrorReason::kCancelled));
  HiddenTile tile(kHiddenSize);
  ASSERT_THAT(tile.Add(std::vector<float>(kHiddenSize)), IsOk());
  std::vector<float> logits(kVocabSize);
  EXPECT_THAT(ComputeTile(Lm().columns(), tile, workspaces.crew(), context, logits.data()),
              HasReason(ErrorReason::kCancelled));
}

// More rows than one tile holds: 16 MiB of logits are 4 rows of 2^20.
TEST(HiddenRowsTest, MoreRowsThanATileGiveTheSameBits) {
  const Heads heads({MakeHead("big", 1 << 20, 2, /*has_norm=*/false)});
  const SoftmaxHead& head = *heads.list()[0].head;
  constexpr int kRows = 9;
  const std::vector<float> hidden = Normal(kRows * 2, 1);
  StepWorkspaces workspaces(2, 1);
  DecodeSession session(heads);
  v1::DecodeResponse response;
  ASSERT_THAT(
      session.Handle(Request("config { vocab_size: 1048576 sampling { temperature: 0 } }"), {}, workspaces, response),
      IsOk());
  response.Clear();
  ASSERT_THAT(session.Handle(Request(BatchOf(Block(kRows, 2, "before_output_norm: false"), kRows), hidden), {},
                             workspaces, response),
              IsOk());
  for (int i = 0; i < kRows; ++i) {
    const auto logits = LogitsOf(head, std::span(hidden).subspan(static_cast<size_t>(i) * 2, 2));
    const auto largest = std::max_element(logits.begin(), logits.end()) - logits.begin();
    EXPECT_EQ(response.result().steps(i).chosen().tokens(0).token_id(), largest);
  }
}

class HiddenRowsServer : public logitd::testing::InProcessServer {
 protected:
  void SetUp() override { Start({}, TwoHeads()); }
};

TEST_F(HiddenRowsServer, ComputeDistributionHasTheBitsOfTheLogits) {
  const std::vector<float> hidden = Normal(kHiddenSize, 1);
  const std::string rest = " sampling { temperature: 0.9 top_p: 0.9 }";
  const auto compute = [&](const std::string& block, const std::vector<float>& values) {
    auto request = Parse<v1::ComputeDistributionRequest>("logits { block { dtype: LOGITS_DTYPE_F32 row_count: 1 " +
                                                         block + " } }" + rest);
    request.mutable_logits()->set_values(Bytes(values));
    v1::ComputeDistributionResponse response;
    const grpc::Status status = decoding_->ComputeDistribution(Context().get(), request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  };
  auto expected = compute("width: 50", LogitsOf(Lm(), hidden));
  auto response = compute(R"(width: 20 hidden { head: "lm" })", hidden);
  EXPECT_EQ(response.provenance().head(), "lm");
  response.mutable_provenance()->clear_head();
  EXPECT_EQ(response.SerializeAsString(), expected.SerializeAsString());
  response = compute(R"(width: 20 hidden { head: "lm" token_ids: [2, 3] })", hidden);
  EXPECT_THAT(response.token_ids(), ::testing::ElementsAre(2, 3));
}

TEST_F(HiddenRowsServer, ARowOfComputeDistributionIsCheckedWithItsFields) {
  const struct {
    std::string logits;
    size_t floats;
    const char* error;
  } cases[] = {
      {R"(block { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 19 hidden { head: "lm" } })", 19,
       "HEAD_SHAPE_MISMATCH of logits.block.width"},
      {R"(block { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 20 hidden { head: "lm" } } vocab_size: 49)", 20,
       "HEAD_SHAPE_MISMATCH of logits.block.hidden.head"},
      {R"(block { dtype: LOGITS_DTYPE_F32 row_count: 2 width: 20 hidden { head: "lm" } })", 40,
       "FIELD_OUT_OF_RANGE of logits.block.row_count"},
      {R"(block { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 20 hidden { head: "lm" } })", 21,
       "ROW_LENGTH_MISMATCH of logits.values"},
      {R"(block { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 20 hidden { head: "no" } })", 20,
       "HEAD_NOT_FOUND of logits.block.hidden.head"},
      {R"(float_values: 1 block { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 20 hidden { head: "lm" } })", 0,
       "FIELDS_EXCLUSIVE of logits.block"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.logits);
    auto request = Parse<v1::ComputeDistributionRequest>("logits { " + test.logits + " }");
    if (test.floats > 0) request.mutable_logits()->set_values(Bytes(std::vector<float>(test.floats)));
    v1::ComputeDistributionResponse response;
    EXPECT_EQ(Describe(decoding_->ComputeDistribution(Context().get(), request, &response)), test.error);
  }
  auto request = Parse<v1::ComputeDistributionRequest>(
      R"(logits { block { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 20 hidden { head: "lm" } } })");
  request.mutable_logits()->set_values(Bytes(std::vector<float>(20, std::numeric_limits<float>::infinity())));
  v1::ComputeDistributionResponse response;
  EXPECT_EQ(Describe(decoding_->ComputeDistribution(Context().get(), request, &response)),
            "FIELD_OUT_OF_RANGE of logits.hidden[0]");
}

TEST_F(HiddenRowsServer, GetServerInfoListsTheHeads) {
  v1::GetServerInfoResponse info;
  ASSERT_TRUE(info_->GetServerInfo(Context().get(), {}, &info).ok());
  ASSERT_EQ(info.heads_size(), 2);
  const v1::HeadInfo& head = info.heads(0);
  EXPECT_EQ(head.name(), "lm");
  EXPECT_EQ(head.vocab_size(), kVocabSize);
  EXPECT_EQ(head.hidden_size(), kHiddenSize);
  EXPECT_EQ(head.memory_bytes(), static_cast<int64_t>(Lm().bytes()));
  EXPECT_TRUE(head.has_bias());
  EXPECT_TRUE(head.has_output_norm());
  EXPECT_FALSE(head.has_logit_scale());
  EXPECT_FALSE(head.has_soft_cap());
  EXPECT_FALSE(info.heads(1).has_output_norm());
  EXPECT_EQ(info.limits().max_hidden_size(), kMaxHiddenSize.value);
}

}  // namespace
}  // namespace logitd::server
