// Decode: forks of open sequences, and a time limit for each sequence.
#include <string>
#include <utility>
#include <vector>

#include "core/limits.h"
#include "server/handlers/decode.h"
#include "tests/server/decode_messages.h"
#include "tests/server/in_process.h"
#include "tests/testing/equals_proto.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using ::logitd::testing::Bytes;
using ::logitd::testing::Describe;
using ::logitd::testing::EqualsProto;
using ::logitd::testing::IsOk;
using ::logitd::testing::Parse;

constexpr int kVocab = 16;

// A stream. The row of a step depends on its position and on `kind`, so that forks can get rows of their own.
class Stream {
 public:
  explicit Stream(const std::string& config) {
    Send(Parse<v1::DecodeRequest>("config { vocab_size: 16 " + config + " }"));
  }
  v1::BatchResult Batch(const std::string& text) {
    auto request = Parse<v1::DecodeRequest>("batch { " + text + " }");
    request.mutable_batch()->set_batch_id(++batch_id_);
    return Send(request).result();
  }
  v1::OpenResult Open(const std::string& text) { return Batch("opens { " + text + " }").opens(0); }
  v1::StepResult Step(int64_t sequence_id, int position, int kind = 0) {
    auto request = Parse<v1::DecodeRequest>("batch { blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: 16 } }");
    request.mutable_batch()->set_batch_id(++batch_id_);
    v1::SequenceStep& step = *request.mutable_batch()->add_steps();
    step.set_sequence_id(sequence_id);
    step.set_position(position);
    std::vector<float> values;
    for (int id = 0; id < kVocab; ++id) {
      values.push_back(0.25f * static_cast<float>((position * 31 + id * 17 + kind * 7) % 13));
    }
    request.set_payload(Bytes(values));
    return Send(request).result().steps(0);
  }
  int64_t held_bytes() const { return session_.held_bytes(); }

 private:
  v1::DecodeResponse Send(const v1::DecodeRequest& request) {
    v1::DecodeResponse response;
    EXPECT_THAT(session_.Handle(request, {}, workspaces_, response), IsOk());
    return response;
  }

  DecodeSession session_;
  StepWorkspaces workspaces_{4, 2};
  int64_t batch_id_ = 0;
};

// With and without stages that look at the tokens and the prompt.
const char* const kConfigs[] = {
    "sampling { temperature: 0.9 seed: 5 top_p: 0.95 } ",
    "sampling { temperature: 0.9 seed: 5 repetition_penalty: 1.3 presence_penalty: 0.4 no_repeat_ngram_size: 3 } ",
};
constexpr char kPrompt[] = "prompt_token_ids: [3, 4, 5, 3, 4]";

TEST(DecodeForkTest, AForkIsTheSequenceThatIsOpenedWithTheSamePast) {
  for (const char* config : kConfigs) {
    for (const int back : {0, 1}) {
      for (int length = back; length < 6; ++length) {
        SCOPED_TRACE(std::string(config) + std::to_string(length) + " tokens, back " + std::to_string(back));
        Stream stream(config);
        stream.Open("sequence_id: 1 sequence_key: 77 fresh { " + std::string(kPrompt) + " }");
        std::vector<v1::StepResult> steps;
        for (int t = 0; t < length; ++t) steps.push_back(stream.Step(1, t));
        const int past = length - back;
        const v1::OpenResult forked =
            stream.Open("sequence_id: 2 sequence_key: 78 fork { source_sequence_id: 1 " +
                        (back == 0 ? std::string() : "position: " + std::to_string(past)) + " }");
        ASSERT_FALSE(forked.has_error()) << forked.error().message();

        Stream other(config);
        std::string state;
        if (past > 0) {
          state = "state { tokens { token_ids: [";
          for (int t = 0; t < past; ++t) {
            state += (t == 0 ? "" : ", ") + std::to_string(steps[t].chosen().tokens(0).token_id());
          }
          state += "] } resume_state { " + steps[past - 1].chosen().resume_state().ShortDebugString() + " } }";
        }
        const v1::OpenResult opened =
            other.Open("sequence_id: 2 sequence_key: 78 fresh { " + std::string(kPrompt) + " " + state + " }");
        ASSERT_FALSE(opened.has_error()) << opened.error().message();
        EXPECT_THAT(forked, EqualsProto(opened));
        for (int t = past; t < past + 8; ++t) {
          EXPECT_EQ(stream.Step(2, t, 1).SerializeAsString(), other.Step(2, t, 1).SerializeAsString()) << t;
        }
        // The source goes on as if nothing had been.
        Stream alone(config);
        alone.Open("sequence_id: 1 sequence_key: 77 fresh { " + std::string(kPrompt) + " }");
        for (int t = 0; t < length; ++t) EXPECT_EQ(alone.Step(1, t).SerializeAsString(), steps[t].SerializeAsString());
        EXPECT_EQ(stream.Step(1, length).SerializeAsString(), alone.Step(1, length).SerializeAsString());
      }
    }
  }
}

TEST(DecodeForkTest, AForkTakesOverWhatItDoesNotBring) {
  Stream stream("sampling { temperature: 1 seed: 1 } stop { max_tokens: 50 }");
  stream.Open(
      "sequence_id: 1 sampling { temperature: 0.5 seed: 9 } stop { max_tokens: 3 } record { rank: true layout: "
      "RECORD_LAYOUT_RECORDS }");
  stream.Step(1, 0);
  v1::OpenResult fork = stream.Open("sequence_id: 2 fork { source_sequence_id: 1 }");
  EXPECT_THAT(fork, EqualsProto("sequence_id: 2 seed: 9 sequence_key: 2 next_position: 1"));
  EXPECT_TRUE(stream.Step(2, 1).chosen().tokens(0).has_rank());
  EXPECT_EQ(stream.Step(2, 2).chosen().finish().reason(), v1::FINISH_REASON_MAX_TOKENS);
  // What it brings replaces the whole; a seed that it does not bring is the stream's.
  fork = stream.Open("sequence_id: 3 fork { source_sequence_id: 1 } sampling { temperature: 0 } stop { } record { }");
  EXPECT_EQ(fork.seed(), 1u);
  const v1::StepResult step = stream.Step(3, 1);
  EXPECT_EQ(step.chosen().tokens(0).sampling_log_prob(), 0);
  EXPECT_FALSE(step.chosen().tokens(0).has_rank());
  EXPECT_FALSE(stream.Step(3, 2).chosen().has_finish());
}

TEST(DecodeForkTest, SamplesOfOnePastCanComeFromOneBatch) {
  Stream stream("sampling { temperature: 1 seed: 1 repetition_penalty: 1.2 }");
  const v1::BatchResult result = stream.Batch(
      "opens { sequence_id: 1 fresh { " + std::string(kPrompt) +
      " state { tokens { token_ids: [7, 8] } } } } "
      "opens { sequence_id: 2 fork { source_sequence_id: 1 } } opens { sequence_id: 3 fork { source_sequence_id: 2 } } "
      "close_sequence_ids: 1");
  for (int i = 1; i < 3; ++i) {
    EXPECT_FALSE(result.opens(i).has_error());
    EXPECT_EQ(result.opens(i).next_position(), 2);
  }
  EXPECT_FALSE(stream.Step(3, 2).has_error());
}

TEST(DecodeForkTest, SumsThatTheSourceDoesNotRecordAreUnknown) {
  Stream stream("sampling { temperature: 1 seed: 1 } record { model_log_prob: false }");
  stream.Open("sequence_id: 1");
  stream.Open("sequence_id: 2 fork { source_sequence_id: 1 } record { }");
  EXPECT_TRUE(stream.Step(2, 0).chosen().totals().has_cumulative_model_log_prob()) << "of no tokens all is known";
  stream.Step(1, 0);
  stream.Open("sequence_id: 3 fork { source_sequence_id: 1 } record { }");
  const v1::StepResult step = stream.Step(3, 1);
  EXPECT_FALSE(step.chosen().totals().has_cumulative_model_log_prob()) << "a part is no whole";
  EXPECT_TRUE(step.chosen().totals().has_cumulative_sampling_log_prob());
}

TEST(DecodeForkTest, WhatCannotBeForkedIsNamed) {
  Stream stream("sampling { temperature: 1 seed: 1 }");
  stream.Open("sequence_id: 1 stop { max_tokens: 20 } fresh { state { token_count: 4 } }");
  const auto refused = [&](const std::string& fork, const std::string& more = "") {
    const v1::OpenResult result = stream.Open("sequence_id: 9 fork { source_sequence_id: 1 " + fork + " } " + more);
    return Describe(result.error());
  };
  EXPECT_EQ(Describe(stream.Open("sequence_id: 9 fork { source_sequence_id: 5 }").error()),
            "SEQUENCE_NOT_OPEN of batch.opens[0].fork.source_sequence_id");
  EXPECT_EQ(Describe(stream.Open("sequence_id: 9 fork { }").error()),
            "SEQUENCE_NOT_OPEN of batch.opens[0].fork.source_sequence_id");
  EXPECT_EQ(Describe(stream.Open("sequence_id: 1 fork { source_sequence_id: 1 }").error()),
            "SEQUENCE_ALREADY_OPEN of batch.opens[0].sequence_id");
  EXPECT_EQ(refused("position: 5"), "POSITION_GAP of batch.opens[0].fork.position");
  EXPECT_EQ(refused("position: 3"), "POSITION_TOO_OLD of batch.opens[0].fork.position") << "it was taken elsewhere";
  EXPECT_EQ(refused("position: -1"), "POSITION_TOO_OLD of batch.opens[0].fork.position");
  EXPECT_EQ(refused("", "stop { max_tokens: 4 }"), "FIELD_OUT_OF_RANGE of batch.opens[0].fork.position");
  EXPECT_EQ(refused("", "sampling { repetition_penalty: 2 repetition_scope: PENALTY_SCOPE_OUTPUT }"),
            "FIELD_REQUIRED of batch.opens[0].fresh");
  EXPECT_EQ(refused("", "sampling { repetition_penalty: 2 repetition_scope: PENALTY_SCOPE_PROMPT }"),
            "FIELD_REQUIRED of batch.opens[0].fresh");
  EXPECT_EQ(refused("", "stop { stop_strings: 'x' }"), "FIELD_OUT_OF_RANGE of batch.opens[0].stop.stop_strings");
  EXPECT_EQ(refused("", "stop { time_limit_ms: 0 }"), "FIELD_OUT_OF_RANGE of batch.opens[0].stop.time_limit_ms");
  stream.Step(1, 4);
  EXPECT_EQ(refused("position: 3"), "POSITION_TOO_OLD of batch.opens[0].fork.position");
  // None of them is open, and the source still is.
  EXPECT_EQ(refused("position: 4"), "UNSPECIFIED of ");
  EXPECT_FALSE(stream.Step(1, 5).has_error());
}

TEST(DecodeForkTest, AForkCountsLikeTheSequenceInItsPlace) {
  const std::string sets =
      "sampling { temperature: 1 seed: 1 repetition_penalty: 1.2 allowed_tokens { ids { token_ids: [1, 2, 3] } } "
      "logit_biases { token_id: 3 bias: 1 } }";
  const std::string state = "state { tokens { token_ids: [1, 2, 3, 1, 2] } }";
  Stream forked("sampling { temperature: 1 }");
  forked.Open("sequence_id: 1 " + sets + " fresh { " + kPrompt + " " + state + " }");
  const int64_t one = forked.held_bytes();
  forked.Open("sequence_id: 2 fork { source_sequence_id: 1 }");
  Stream opened("sampling { temperature: 1 }");
  for (const char* id : {"1", "2"}) {
    opened.Open("sequence_id: " + std::string(id) + " " + sets + " fresh { " + kPrompt + " " + state + " }");
  }
  EXPECT_EQ(forked.held_bytes(), opened.held_bytes());
  forked.Batch("close_sequence_ids: 1");
  EXPECT_EQ(forked.held_bytes(), one) << "the prompt is the fork's now";
  forked.Batch("close_sequence_ids: 2");
  opened.Batch("close_sequence_ids: [1, 2]");
  EXPECT_EQ(forked.held_bytes(), opened.held_bytes());
  // Forks stop where the room of a stream does.
  Stream full("sampling { temperature: 1 repetition_penalty: 1.2 }");
  std::string tokens = "1";
  for (int i = 1; i < 100'000; ++i) tokens += ", 1";
  ASSERT_FALSE(full.Open("sequence_id: 1 fresh { state { tokens { token_ids: [" + tokens + "] } } }").has_error());
  int64_t id = 1;
  v1::OpenResult result;
  do {
    result = full.Open("sequence_id: " + std::to_string(++id) + " fork { source_sequence_id: 1 }");
  } while (!result.has_error() && id < 1000);
  EXPECT_EQ(result.error().limit(), "max_stream_state_bytes");
  EXPECT_EQ(result.error().field(), "batch.opens[0].fork");
  EXPECT_EQ(id, 1 + (int64_t{64} << 20) / 400'000);
}

TEST(DecodeTimeLimitTest, ASequenceEndsAfterItsTimeAndTheStreamGoesOn) {
  Stream stream("sampling { temperature: 1 seed: 1 } stop { time_limit_ms: 86400000 }");
  stream.Open("sequence_id: 1 stop { time_limit_ms: 1 }");
  stream.Open("sequence_id: 2");
  int position = 0;
  v1::StepResult latest;
  v1::StepResult step = stream.Step(1, position);
  while (!step.chosen().has_finish()) {
    ASSERT_FALSE(step.has_error());
    ASSERT_EQ(step.chosen().tokens_size(), 1);
    latest = step;
    ASSERT_LT(++position, 100'000);
    step = stream.Step(1, position);
  }
  EXPECT_THAT(step.chosen().finish(), EqualsProto("reason: FINISH_REASON_TIME_LIMIT"));
  EXPECT_EQ(step.chosen().tokens_size(), 0);
  EXPECT_EQ(step.position(), position);
  EXPECT_THAT(step.chosen().totals(), EqualsProto(latest.chosen().totals()));
  EXPECT_THAT(step.chosen().resume_state(), EqualsProto(latest.chosen().resume_state()));
  // It is closed, and its state is enough to go on.
  EXPECT_EQ(stream.Step(1, position).error().reason(), v1::ERROR_REASON_SEQUENCE_NOT_OPEN);
  const v1::OpenResult resumed =
      stream.Open("sequence_id: 1 fresh { state { token_count: " + std::to_string(position) + " resume_state { " +
                  step.chosen().resume_state().ShortDebugString() + " } } }");
  ASSERT_FALSE(resumed.has_error()) << resumed.error().message();
  EXPECT_EQ(stream.Step(1, position).chosen().tokens_size(), 1);
  EXPECT_EQ(stream.Step(2, 0).chosen().tokens_size(), 1);
}

TEST(DecodeTimeLimitTest, TheBatchThatOpensASequenceIsAlwaysInTime) {
  Stream stream("sampling { temperature: 0 }");
  auto request = Parse<v1::DecodeRequest>(
      "batch { opens { sequence_id: 1 stop { time_limit_ms: 1 } } blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: "
      "16 } }");
  DecodeSession session;
  StepWorkspaces workspaces{1};
  v1::DecodeResponse response;
  ASSERT_THAT(session.Handle(Parse<v1::DecodeRequest>("config { vocab_size: 16 sampling { temperature: 0 } }"), {},
                             workspaces, response),
              IsOk());
  request.mutable_batch()->set_batch_id(1);
  request.set_payload(Bytes(std::vector<float>(16, 1)));
  // These take longer than a millisecond.
  for (int i = 0; i < 1024; ++i) {
    v1::SequenceStep& step = *request.mutable_batch()->add_steps();
    step.set_sequence_id(1);
    step.set_position(i);
    step.set_row(0);
  }
  response.Clear();
  ASSERT_THAT(session.Handle(request, {}, workspaces, response), IsOk());
  for (const v1::StepResult& step : response.result().steps()) ASSERT_EQ(step.chosen().tokens_size(), 1);
}

TEST(DecodeTimeLimitTest, AForkHasItsOwnTime) {
  Stream stream("sampling { temperature: 1 seed: 1 }");
  stream.Open("sequence_id: 1 stop { time_limit_ms: 1 }");
  int position = 0;
  while (!stream.Step(1, position).chosen().has_finish()) {
    // A fork that was made at any time lives on without the limit; with its source's it ends, too.
    ++position;
    if (position != 1) continue;
    stream.Open("sequence_id: 2 fork { source_sequence_id: 1 } stop { }");
    stream.Open("sequence_id: 3 fork { source_sequence_id: 1 }");
  }
  if (position == 0) GTEST_SKIP() << "the machine stood still for a millisecond";
  EXPECT_EQ(stream.Step(2, 1).chosen().tokens_size(), 1);
  int own = 1;
  while (!stream.Step(3, own).chosen().has_finish()) ASSERT_LT(++own, 100'000);
}

TEST(DecodeTimeLimitTest, StopStringsAreRefusedByTheStreamToo) {
  DecodeSession session;
  StepWorkspaces workspaces{1};
  v1::DecodeResponse response;
  const absl::Status status =
      session.Handle(Parse<v1::DecodeRequest>("config { vocab_size: 4 stop { stop_strings: 'a' stop_strings: 'b' } }"),
                     {}, workspaces, response);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("config.stop.stop_strings must be empty"));
}

}  // namespace
}  // namespace logitd::server
