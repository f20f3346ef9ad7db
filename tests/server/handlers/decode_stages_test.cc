// Decode with stages that look at tokens: what they see, what a session keeps for them, and what records say of them.
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/decoder.h"
#include "core/limits.h"
#include "server/handlers/decode.h"
#include "tests/server/in_process.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using ::logitd::testing::Bytes;
using ::logitd::testing::IsOk;
using ::logitd::testing::Parse;

class DecodeStagesTest : public ::testing::Test {
 protected:
  v1::DecodeResponse Send(const v1::DecodeRequest& request) {
    v1::DecodeResponse response;
    EXPECT_THAT(session_.Handle(request, {}, workspaces_, response), IsOk());
    return response;
  }
  v1::DecodeResponse Send(const std::string& text) { return Send(Parse<v1::DecodeRequest>(text)); }
  // One step of sequence 1; `opens` opens it.
  v1::StepResult Step(int position, const std::vector<float>& row, const std::string& opens = "") {
    auto request = Parse<v1::DecodeRequest>("batch { " + opens + " }");
    request.mutable_batch()->set_batch_id(++batch_id_);
    v1::LogitsBlock& block = *request.mutable_batch()->add_blocks();
    block.set_dtype(v1::LOGITS_DTYPE_F32);
    block.set_row_count(1);
    block.set_width(static_cast<int32_t>(row.size()));
    v1::SequenceStep& step = *request.mutable_batch()->add_steps();
    step.set_sequence_id(1);
    step.set_position(position);
    request.set_payload(Bytes(row));
    return Send(request).result().steps(0);
  }
  void Restart(const std::string& config) {
    session_ = DecodeSession();
    batch_id_ = 0;
    Send("config { " + config + " }");
  }

  DecodeSession session_;
  StepWorkspaces workspaces_{1};
  int64_t batch_id_ = 0;
};

const std::vector<float> kRow = {6, 3, 0.5, 0.5};

TEST_F(DecodeStagesTest, PenaltiesSeeThePromptAndTheTokensChosen) {
  Restart("vocab_size: 4 sampling { temperature: 0 repetition_penalty: 10 }");
  // 6 / 10 < 3: token 0 of the prompt gives way to token 1, and that one, once chosen, to 0 again: 0.6 > 0.3.
  EXPECT_EQ(Step(0, kRow, "opens { sequence_id: 1 fresh { prompt_token_ids: 0 } }").chosen().tokens(0).token_id(), 1);
  EXPECT_EQ(Step(1, kRow).chosen().tokens(0).token_id(), 0);
  Restart("vocab_size: 4 sampling { temperature: 0 repetition_penalty: 10 }");
  EXPECT_EQ(Step(0, kRow, "opens { sequence_id: 1 }").chosen().tokens(0).token_id(), 0) << "no prompt, no penalty";
  EXPECT_EQ(Step(1, kRow).chosen().tokens(0).token_id(), 1);
}

TEST_F(DecodeStagesTest, CutAnywhereAndResumedTheBytesAreTheSame) {
  const std::string config = R"(vocab_size: 4 sampling {
    temperature: 0.9 seed: 77 repetition_penalty: 1.3 frequency_penalty: 0.4 presence_penalty: 0.2
    no_repeat_ngram_size: 3 dry { multiplier: 0.8 } xtc { probability: 0.5 } typical_p: 0.95
    sequence_biases { token_ids: [0, 1] bias: -2 } } record { kept_set: true draw: true rank: true })";
  const std::string opens = "opens { sequence_id: 1 fresh { prompt_token_ids: [2, 0, 1] } }";
  constexpr int kSteps = 12;
  std::vector<std::vector<float>> rows;
  for (int i = 0; i < kSteps; ++i) {
    rows.push_back({1.5f + 0.1f * static_cast<float>(i % 3), 1, 0.75f, 0.25f * static_cast<float>(i % 5)});
  }
  Restart(config);
  std::vector<v1::StepResult> whole;
  for (int i = 0; i < kSteps; ++i) whole.push_back(Step(i, rows[i], i == 0 ? opens : ""));
  for (int cut = 1; cut < kSteps; ++cut) {
    SCOPED_TRACE(cut);
    Restart(config);
    auto resumed = Parse<v1::OpenSequence>("sequence_id: 1 fresh { prompt_token_ids: [2, 0, 1] }");
    v1::SequenceState& state = *resumed.mutable_fresh()->mutable_state();
    for (int i = 0; i < cut; ++i) state.mutable_tokens()->add_token_ids(whole[i].chosen().tokens(0).token_id());
    *state.mutable_resume_state() = whole[cut - 1].chosen().resume_state();
    for (int i = cut; i < kSteps; ++i) {
      const v1::StepResult step = Step(i, rows[i], i == cut ? "opens { " + resumed.ShortDebugString() + " }" : "");
      EXPECT_EQ(step.SerializeAsString(), whole[i].SerializeAsString()) << i;
    }
  }
}

TEST_F(DecodeStagesTest, APromptIsKeptOnlyIfAStageLooksAtIt) {
  const auto held_with = [this](const std::string& sampling) {
    Restart("vocab_size: 4");
    auto open =
        Parse<v1::DecodeRequest>("batch { batch_id: 1 opens { sequence_id: 1 sampling { " + sampling + " } } }");
    open.mutable_batch()->mutable_opens(0)->mutable_fresh()->mutable_prompt_token_ids()->Resize(10'000, 0);
    Send(open);
    return session_.held_bytes();
  };
  const int64_t without = held_with("temperature: 0.7 frequency_penalty: 0.5");
  EXPECT_LT(without, 10'000) << "frequency_penalty looks at the output alone";
  for (const char* sampling : {"repetition_penalty: 1.1", "no_repeat_ngram_size: 2", "dry { multiplier: 1 }",
                               "presence_penalty: 1 occurrence_scope: PENALTY_SCOPE_PROMPT",
                               "frequency_penalty: 1 stage_order { preset: STAGE_PRESET_TRT_LLM }"}) {
    SCOPED_TRACE(sampling);
    EXPECT_GE(held_with(sampling), 40'000);
    Send("batch { batch_id: 2 close_sequence_ids: 1 }");
    EXPECT_EQ(session_.held_bytes(), 0);
  }
}

TEST_F(DecodeStagesTest, PromptsCountInTheStateOfTheStream) {
  Restart("vocab_size: 4 sampling { repetition_penalty: 1.1 }");
  // 131,072 tokens are 512 KiB: 128 of them are the 64 MiB that a stream may hold.
  for (int i = 1; i <= 129; ++i) {
    v1::DecodeRequest open;
    open.mutable_batch()->set_batch_id(i);
    v1::OpenSequence& sequence = *open.mutable_batch()->add_opens();
    sequence.set_sequence_id(i);
    sequence.mutable_fresh()->mutable_prompt_token_ids()->Resize(kMaxPromptTokens, 0);
    // No two of them are equal.
    for (int bit = 0; bit < 8; ++bit) sequence.mutable_fresh()->set_prompt_token_ids(bit, (i >> bit) & 1);
    const v1::OpenResult opened = Send(open).result().opens(0);
    if (i < 129) {
      ASSERT_FALSE(opened.has_error()) << i << opened.error().message();
    } else {
      EXPECT_EQ(opened.error().limit(), "max_stream_state_bytes");
      EXPECT_EQ(opened.error().field(), "batch.opens[0].fresh.prompt_token_ids");
    }
  }
}

TEST_F(DecodeStagesTest, RecordsSayWhatWasKeptAndHowItWasDrawn) {
  Restart("vocab_size: 4 sampling { temperature: 0.5 top_k: 2 seed: 9 } record { kept_set: true draw: true }");
  const v1::TokenRecord token = Step(0, kRow, "opens { sequence_id: 1 sequence_key: 4 }").chosen().tokens(0);
  EXPECT_EQ(token.kept_count(), 2);
  // 1 - 2 exp(-11) / (1 + exp(-6) + 2 exp(-11)).
  EXPECT_NEAR(token.kept_mass(), 0.9999666, 1e-6);
  const v1::DrawRecord& draw = token.draw();
  const auto r = static_cast<uint64_t>((static_cast<unsigned __int128>(draw.uniform()) * draw.total_weight()) >> 64);
  EXPECT_GE(r, draw.interval_start());
  EXPECT_LT(r, draw.interval_start() + draw.weight());
  EXPECT_NEAR(static_cast<double>(draw.weight()) / static_cast<double>(draw.total_weight()),
              std::exp(token.sampling_log_prob()), 1e-6);
  Restart("vocab_size: 4 sampling { temperature: 0.5 seed: 9 }");
  const v1::TokenRecord plain = Step(0, kRow, "opens { sequence_id: 1 }").chosen().tokens(0);
  EXPECT_FALSE(plain.has_kept_count() || plain.has_kept_mass() || plain.has_draw());
}

TEST_F(DecodeStagesTest, TheWholeVocabularyIsColumnsInIdOrder) {
  Restart("vocab_size: 4 sampling { temperature: 0.7 seed: 1 } record { top_n: 4 packed_top: true rank: true }");
  const v1::TokenRecord token = Step(0, kRow, "opens { sequence_id: 1 }").chosen().tokens(0);
  EXPECT_FALSE(token.has_top());
  const v1::PackedAlternatives& top = token.packed_top();
  EXPECT_EQ(top.count(), 4);
  EXPECT_EQ(top.token_ids(), "");
  ASSERT_EQ(top.model_log_probs().size(), 32u);
  double model[4];
  std::memcpy(model, top.model_log_probs().data(), sizeof(model));
  const double expected[] = {-0.056343, -3.056343, -5.556343, -5.556343};
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(model[i], expected[i], 1e-6) << i;
  int32_t ranks[4];
  ASSERT_EQ(top.ranks().size(), sizeof(ranks));
  std::memcpy(ranks, top.ranks().data(), sizeof(ranks));
  EXPECT_THAT(ranks, ::testing::ElementsAre(1, 2, 3, 3));
}

TEST_F(DecodeStagesTest, TheAlternativesOfABatchAreBounded) {
  // 2^19 alternatives each: the third step is one too many.
  Restart("vocab_size: 524288 record { top_n: 524288 packed_top: true } sampling { temperature: 0 }");
  auto request = Parse<v1::DecodeRequest>(R"(batch { batch_id: 1
    opens { sequence_id: 1 } opens { sequence_id: 2 } opens { sequence_id: 3 }
    opens { sequence_id: 4 record { layout: RECORD_LAYOUT_NONE top_n: 1024 } }
    blocks { dtype: LOGITS_DTYPE_F16 row_count: 1 width: 524288 }
    steps { sequence_id: 1 row: 0 } steps { sequence_id: 4 row: 0 } steps { sequence_id: 2 row: 0 }
    steps { sequence_id: 3 row: 0 } })");
  request.set_payload(std::string(2 * 524288, '\0'));
  const v1::DecodeResponse response = Send(request);
  EXPECT_LT(response.ByteSizeLong(), static_cast<size_t>(kMaxMessageBytes));
  for (int i : {0, 1, 2}) EXPECT_FALSE(response.result().steps(i).has_error()) << i;
  EXPECT_EQ(response.result().steps(3).error().limit(), "max_alternatives");
  request.mutable_batch()->set_batch_id(2);
  request.mutable_batch()->clear_opens();
  request.mutable_batch()->clear_steps();
  v1::SequenceStep& step = *request.mutable_batch()->add_steps();
  step.set_sequence_id(1);
  step.set_position(1);
  EXPECT_FALSE(Send(request).result().steps(0).has_error()) << "every batch begins anew";
}

TEST_F(DecodeStagesTest, SessionsTakeTurnsInOneWorkspace) {
  const std::string sampling = " sampling { temperature: 0.7 seed: 5 top_p: 0.9 repetition_penalty: 1.5 }";
  const std::string record = " record { rank: true entropy: true kept_set: true draw: true }";
  const auto rows = [](int width, int batch_id) {
    auto request = Parse<v1::DecodeRequest>(
        "batch { batch_id: " + std::to_string(batch_id) + (batch_id == 1 ? " opens { sequence_id: 1 }" : "") +
        " blocks { dtype: LOGITS_DTYPE_F32 row_count: 1 width: " + std::to_string(width) +
        " } steps { sequence_id: 1 row: 0 position: " + std::to_string(batch_id - 1) + " } }");
    std::vector<float> row;
    for (int i = 0; i < width; ++i) row.push_back(0.01f * static_cast<float>(i * (batch_id + 37) % 101));
    request.set_payload(Bytes(row));
    return request;
  };
  const int widths[] = {5000, 4};
  DecodeSession sharing[2], alone[2];
  StepWorkspaces own[2] = {StepWorkspaces(1), StepWorkspaces(1)};
  for (int s = 0; s < 2; ++s) {
    const auto config =
        Parse<v1::DecodeRequest>("config { vocab_size: " + std::to_string(widths[s]) + sampling + record + " }");
    v1::DecodeResponse response;
    ASSERT_THAT(sharing[s].Handle(config, {}, workspaces_, response), IsOk());
    ASSERT_THAT(alone[s].Handle(config, {}, own[s], response), IsOk());
  }
  for (int batch_id = 1; batch_id < 5; ++batch_id) {
    for (int s = 0; s < 2; ++s) {
      v1::DecodeResponse shared, expected;
      ASSERT_THAT(sharing[s].Handle(rows(widths[s], batch_id), {}, workspaces_, shared), IsOk());
      ASSERT_THAT(alone[s].Handle(rows(widths[s], batch_id), {}, own[s], expected), IsOk());
      ASSERT_TRUE(expected.result().steps(0).has_chosen()) << expected.ShortDebugString();
      EXPECT_EQ(shared.SerializeAsString(), expected.SerializeAsString()) << "batch " << batch_id << " of " << s;
    }
  }
}

}  // namespace
}  // namespace logitd::server
