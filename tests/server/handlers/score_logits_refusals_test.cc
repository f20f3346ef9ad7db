// What ScoreLogits refuses, and what bounds a call.

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
using logitd::testing::HasReason;
using logitd::testing::IsOk;
using logitd::testing::Parse;

class ScoreLogitsRefusalsTest : public ScoreLogitsSessionTest {};

TEST_F(ScoreLogitsRefusalsTest, BadRowsAreRefusedByNameAndPlace) {
  const auto refused = [&](const v1::ScoreLogitsRequest& request) {
    Restart("vocab_size: 4");
    Take(RowsMessage(2, {kRow}, {0}));
    return RefusedAs(request);
  };
  const auto message = [](const std::string& text, const std::vector<float>& payload) {
    auto request = Parse<v1::ScoreLogitsRequest>("rows { " + text + " }");
    request.set_payload(Bytes(payload));
    return request;
  };
  const std::string block = "blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 4 } ";
  EXPECT_EQ(refused(message("", {})), "FIELD_REQUIRED of rows.blocks");
  EXPECT_EQ(refused(message(block, kRow)), "TARGET_COUNT_MISMATCH of rows.target_token_ids");
  EXPECT_EQ(refused(message(block + "target_token_ids: [0, 1]", kRow)),
            "TARGET_COUNT_MISMATCH of rows.target_token_ids");
  EXPECT_EQ(refused(message(block + "target_token_ids: 4", kRow)), "TOKEN_ID_OUT_OF_RANGE of rows.target_token_ids[0]");
  for (const int32_t negative : {-1, -99, -101, std::numeric_limits<int32_t>::min()}) {
    EXPECT_EQ(refused(RowsMessage(2, {kRow, kRow, kRow}, {0, 1, negative})),
              "TOKEN_ID_OUT_OF_RANGE of rows.target_token_ids[2]");
  }
  EXPECT_EQ(refused(RowsMessage(-1, {kRow}, {0})), "FIELD_OUT_OF_RANGE of rows.sequence_index");
  EXPECT_EQ(refused(RowsMessage(kMaxScoreSequences, {kRow}, {0})), "LIMIT_EXCEEDED of rows.sequence_index");
  EXPECT_EQ(refused(RowsMessage(0, {{1, 2, 3}}, {0})), "ROW_LENGTH_MISMATCH of rows.blocks[0].width");
  EXPECT_EQ(refused(message(block + "target_token_ids: 0", {1, 2, 3})), "ROW_LENGTH_MISMATCH of rows.payload");
  EXPECT_EQ(refused(message("blocks { row_count: 1 width: 4 } target_token_ids: 0", kRow)),
            "FIELD_REQUIRED of rows.blocks[0].dtype");
  EXPECT_EQ(refused(message("blocks { dtype: LOGITS_DTYPE_F32 row_count: 1025 width: 4 }", {})),
            "LIMIT_EXCEEDED of rows.blocks[0].row_count");

  Restart("vocab_size: 4");
  Take(RowsMessage(2, {kRow}, {0}));
  const absl::Status bad = Refused(RowsMessage(2, {kRow, {1, 2, std::nanf(""), 4}}, {0, 0}));
  EXPECT_THAT(bad, HasReason(ErrorReason::kNonFiniteLogit));
  EXPECT_EQ(DetailOf(bad).field, "rows.logits");
  EXPECT_EQ(DetailOf(bad).row, 1);
  EXPECT_EQ(DetailOf(bad).token_id, 2);
  EXPECT_EQ(bad.message(), "rows.logits[2] must be finite or -inf, got nan (row 1: position 2 of sequence 2)");
  Restart("vocab_size: 4");
  Take(RowsMessage(2, {kRow}, {0}));
  EXPECT_EQ(Refused(RowsMessage(2, {kRow, kRow}, {0, 7})).message(),
            "rows.target_token_ids[1] must be in [0, 4), got 7 (row 1: position 2 of sequence 2)");
  Restart("vocab_size: 2");
  EXPECT_EQ(RefusedAs(RowsMessage(0, {{-kInf, -kInf}}, {0})), "NO_FINITE_LOGIT of rows.logits");
  Restart("vocab_size: 2 sampling { allowed_tokens { ids { token_ids: 0 } } }");
  EXPECT_EQ(RefusedAs(RowsMessage(0, {{-kInf, 1}}, {0})), "ALL_TOKENS_EXCLUDED of ");
}

TEST_F(ScoreLogitsRefusalsTest, IllegalOrdersOfMessagesAreRefused) {
  const auto is_unexpected = HasReason(ErrorReason::kUnexpectedMessage);
  EXPECT_THAT(Refused(RowsMessage(0, {kRow}, {0})), is_unexpected) << "rows before config";
  EXPECT_THAT(Refused(v1::ScoreLogitsRequest()), is_unexpected);
  auto with_payload = Config("vocab_size: 4");
  with_payload.set_payload("1234");
  EXPECT_THAT(Refused(with_payload), is_unexpected);
  EXPECT_THAT(session_.TakeNext().status(), is_unexpected) << "nothing at all";
  Take(Config("vocab_size: 4"));
  EXPECT_THAT(Refused(Config("vocab_size: 4")), is_unexpected) << "a second config";
  EXPECT_THAT(session_.TakeNext().status(), is_unexpected) << "no rows";
}

TEST_F(ScoreLogitsRefusalsTest, OthersHaveTheirTurnBetweenTheRowsOfAMessage) {
  Take(Config("vocab_size: 4 sampling { temperature: 0.5 }"));
  std::optional<StepWorkspaces::Lease> only(*workspaces_.Lend({}));
  std::stop_source give_up;
  absl::Status status;
  std::atomic<bool> is_done = false;
  std::jthread working([&] {
    status =
        session_.Take(RowsMessage(0, {kRow, kRow, kRow}, {0, 1, 2}), {.given_up = give_up.get_token()}, workspaces_)
            .status();
    is_done = true;
  });
  while (workspaces_.waiting_count() < 1) std::this_thread::yield();
  std::jthread other([&] {
    const auto workspace = workspaces_.Lend({});
    EXPECT_THAT(workspace, IsOk());
    while (workspaces_.waiting_count() < 1 && !is_done) std::this_thread::yield();
    EXPECT_FALSE(is_done) << "the whole message was one turn";
    give_up.request_stop();
    working.join();
  });
  while (workspaces_.waiting_count() < 2) std::this_thread::yield();
  only.reset();
  other.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  Replies response = Finish();
  EXPECT_EQ(response.sequences(0).totals().token_count(), 1) << "the other had its turn after one row";
}

TEST_F(ScoreLogitsRefusalsTest, SizesAndProductsAreBounded) {
  // `message_count` messages of 1,024 rows of one value each; a sequence has room for 128 of them. Then a row more.
  const auto overrun = [&](int message_count) {
    const Rows many(1024, {0});
    const std::vector<int32_t> zeros(1024, 0);
    for (int i = 0; i < message_count; ++i) Take(RowsMessage(i / 128, many, zeros));
    return DetailOf(Refused(RowsMessage((message_count - 1) / 128, {{0}}, {0}))).limit;
  };
  Restart("vocab_size: 1 record { layout: RECORD_LAYOUT_NONE }");
  EXPECT_EQ(overrun(128), "max_tokens") << "rows of one sequence";
  Take(RowsMessage(1, {{0}}, {0}));  // Another one has room of its own.
  const Replies lengths = Finish();
  EXPECT_EQ(lengths.sequences_size(), 1) << "the first was answered with its error";
  EXPECT_EQ(lengths.sequences(1).totals().token_count(), 1);

  Restart("vocab_size: 1");
  const Rows many(1024, {0});
  const std::vector<int32_t> zeros(1024, 0);
  for (int i = 0; i < kMaxScoreTokens / 1024; ++i) Take(RowsMessage(i / 128, many, zeros));
  EXPECT_EQ(DetailOf(Refused(RowsMessage(4, {{0}}, {0}))).limit, "max_score_tokens");
  // What is answered makes room.
  v1::ScoreLogitsRequest last;
  last.mutable_rows()->set_sequence_index(3);
  Take(Last(last));
  EXPECT_EQ(replies_.sequences(3).tokens_size(), kMaxTokens);
  EXPECT_LT(replies_.of(3).ByteSizeLong(), static_cast<size_t>(kMaxMessageBytes));
  Take(RowsMessage(5, many, zeros));

  Restart("vocab_size: 1024 record { top_n: 1000 named_token_ids: 5 layout: RECORD_LAYOUT_RECORDS }");
  const Rows rows(512, std::vector<float>(1024, 0));
  const std::vector<int32_t> targets(512, 0);
  Take(RowsMessage(0, rows, targets));
  Take(RowsMessage(1, rows, targets));
  // 1,047 records have 1,048,047 alternatives; 1,048 have 1,049,048.
  Take(RowsMessage(2, rows, targets, 0, 23));
  const absl::Status status = Refused(RowsMessage(2, rows, targets, 0, 1));
  EXPECT_THAT(status, HasReason(ErrorReason::kLimitExceeded));
  EXPECT_EQ(DetailOf(status).limit, "max_alternatives");
  EXPECT_EQ(DetailOf(status).value, "1049048");
  EXPECT_EQ(DetailOf(status).bound, "[0, 1048576] alternatives (records * (top_n + named)) of a call's open sequences");
}

TEST_F(ScoreLogitsRefusalsTest, RecordsStopAtTheirLimitAndTheReplyFitsAMessage) {
  Take(Config("vocab_size: 2 record { rank: true entropy: true top_n: 1 named_token_ids: 1 } sampling { }"));
  const Rows rows(1024, {1, 0});
  const std::vector<int32_t> targets(1024, 1);
  for (int i = 0; i < kMaxScoreTokens / 1024; ++i) Take(RowsMessage(kMaxScoreSequences - 1 - i % 4, rows, targets));
  const absl::Status status = Refused(RowsMessage(0, {{1, 0}}, {0}));
  EXPECT_EQ(DetailOf(status).limit, "max_score_tokens");
  const Replies response = Finish();
  for (int i = 1; i <= 4; ++i) {
    EXPECT_LT(response.of(kMaxScoreSequences - i).ByteSizeLong(), static_cast<size_t>(kMaxMessageBytes));
  }
}

TEST_F(ScoreLogitsRefusalsTest, ACallThatIsGivenUpStopsAtTheNextRow) {
  Take(Config("vocab_size: 4"));
  std::stop_source give_up;
  give_up.request_stop();
  EXPECT_THAT(session_.Take(RowsMessage(0, {kRow}, {0}), {give_up.get_token()}, workspaces_).status(),
              HasReason(ErrorReason::kCancelled));
}

TEST_F(ScoreLogitsRefusalsTest, HeldBytesAreThoseOfTheRecords) {
  Take(Config("vocab_size: 4 record { top_n: 4 } sampling { temperature: 0.7 }"));
  EXPECT_EQ(session_.held_bytes(), 0);
  const Rows rows(1000, kRow);
  const std::vector<int32_t> targets(1000, 1);
  Take(RowsMessage(0, rows, targets));
  const int64_t one = session_.held_bytes();
  Take(RowsMessage(1, rows, targets));
  EXPECT_EQ(session_.held_bytes(), 2 * one);
  EXPECT_GE(2 * one, std::ssize(Finish().SerializeAsString()));
  EXPECT_EQ(session_.held_bytes(), 0);

  Restart("vocab_size: 4 record { layout: RECORD_LAYOUT_NONE } sampling { temperature: 0.7 }");
  Take(RowsMessage(0, {kRow}, {1}));
  const int64_t sums = session_.held_bytes();
  EXPECT_GT(sums, 0);
  Take(RowsMessage(0, rows, targets));
  EXPECT_EQ(session_.held_bytes(), sums) << "without records only sums are kept";
}

}  // namespace
}  // namespace logitd::server
