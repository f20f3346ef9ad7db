// The flags that several commands share: each sets its field and no other, as it is written.
#include "client/cli/flags.h"

#include <google/protobuf/text_format.h>

#include "base/status_macros.h"
#include "client/cli/request_fields.h"
#include "client/logitd/client_error.h"
#include "gmock/gmock.h"
#include "tests/testing/equals_proto.h"

namespace logitd::cli {
namespace {

using ::logitd::testing::EqualsProto;
using ::testing::HasSubstr;

// The sampling parameters of a command line.
absl::StatusOr<v1::DecodeConfig> Config(const std::vector<std::string>& flags) {
  Arguments arguments({.name = "test",
                       .groups = WithPenaltyFlags({{"Stages", Joined({StageFlags(), TokenSetFlags()})},
                                                   {"Stop", StopFlags("none")},
                                                   {"Output", Joined({RecordFlags(), {DrawFlag()}})}}),
                       .request = v1::DecodeConfig::descriptor()});
  EXPECT_TRUE(arguments.Parse(flags).ok());
  v1::DecodeConfig config;
  RETURN_IF_ERROR(SetFields(arguments, config));
  return config;
}

TEST(FlagsTest, EachSetsItsField) {
  const struct {
    std::vector<std::string> flags;
    const char* params;
  } cases[] = {
      {{"--temperature", "0.7"}, "temperature: 0.7"},
      {{"--top-k", "-3"}, "top_k: -3"},
      {{"--top-p", "2"}, "top_p: 2"},
      {{"--min-p", "0.05"}, "min_p: 0.05"},
      {{"--typical-p", "0.9"}, "typical_p: 0.9"},
      {{"--epsilon-cutoff", "3e-4"}, "epsilon_cutoff: 3e-4"},
      {{"--eta-cutoff", "0.01"}, "eta_cutoff: 0.01"},
      {{"--top-n-sigma", "0"}, "top_n_sigma: 0"},
      {{"--xtc-probability", "0"}, "xtc { probability: 0 }"},
      {{"--xtc-probability", "0.5", "--xtc-threshold", "0.2"}, "xtc { probability: 0.5 threshold: 0.2 }"},
      {{"--allowed-tokens", ""}, "allowed_tokens { ids {} }"},
      {{"--banned-tokens", "1,2"}, "banned_tokens { ids { token_ids: [1, 2] } }"},
      {{"--logit-bias", "7=-1.5", "--logit-bias=8=inf"},
       "logit_biases { token_id: 7 bias: -1.5 } logit_biases { token_id: 8 bias: inf }"},
      {{"--sequence-bias", "5,7=0", "--bad-words", "1", "--bad-words", "2,3"},
       "sequence_biases { token_ids: [5, 7] bias: 0 } sequence_biases { token_ids: 1 } "
       "sequence_biases { token_ids: [2, 3] }"},
      {{"--bad-words", ""}, "sequence_biases {}"},
      {{"--repetition-penalty", "1.3"}, "repetition_penalty: 1.3"},
      {{"--frequency-penalty", "-0.5"}, "frequency_penalty: -0.5"},
      {{"--presence-penalty", "0"}, "presence_penalty: 0"},
      {{"--repetition-scope", "prompt-and-output"}, "repetition_scope: PENALTY_SCOPE_PROMPT_AND_OUTPUT"},
      {{"--occurrence-scope", "PROMPT"}, "occurrence_scope: PENALTY_SCOPE_PROMPT"},
      {{"--penalty-window", "64"}, "penalty_window: 64"},
      {{"--no-repeat-ngram-size", "3"}, "no_repeat_ngram_size: 3"},
      {{"--dry-multiplier", "0.8", "--dry-base", "2", "--dry-allowed-length", "1", "--dry-window", "0", "--dry-breaker",
        "4,5", "--dry-breaker", "6"},
       "dry { multiplier: 0.8 base: 2 allowed_length: 1 window: 0 breakers { token_ids: [4, 5] } "
       "breakers { token_ids: 6 } }"},
      {{"--dry-multiplier", "0"}, "dry { multiplier: 0 }"},
      {{"--stage-order", "llama-cpp"}, "stage_order { preset: STAGE_PRESET_LLAMA_CPP }"},
      {{"--stage-order", "TRT_LLM"}, "stage_order { preset: STAGE_PRESET_TRT_LLM }"},
      {{"--stage-order", "temperature"}, "stage_order { stages: STAGE_TEMPERATURE }"},
      {{"--stage-order", "min-p,top_k,no-repeat-ngram"},
       "stage_order { stages: [STAGE_MIN_P, STAGE_TOP_K, STAGE_NO_REPEAT_NGRAM] }"},
      {{"--top-k-ties", "keep-all"}, "top_k_ties: TIE_RULE_KEEP_ALL"},
      {{"--top-p-boundary", "mass-above"}, "top_p_boundary: TOP_P_BOUNDARY_MASS_ABOVE"},
      {{"--typical-ties", "lowest-id"}, "typical_ties: TIE_RULE_LOWEST_ID"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.params);
    const absl::StatusOr<v1::DecodeConfig> config = Config(test.flags);
    ASSERT_TRUE(config.ok()) << config.status();
    ASSERT_TRUE(config->has_sampling());
    EXPECT_THAT(config->sampling(), EqualsProto(std::string(test.params)));
  }
}

TEST(FlagsTest, WithoutFlagsThereIsNoMessage) {
  for (const std::vector<std::string>& flags :
       std::vector<std::vector<std::string>>{{}, {"--stop-token-ids", ""}, {"--top-n", "0"}}) {
    const auto config = Config(flags);
    ASSERT_TRUE(config.ok());
    EXPECT_EQ(config->ByteSizeLong(), 0u);
  }
}

TEST(FlagsTest, StopAndRecordHaveTheirFields) {
  const auto config = Config({"--max-tokens", "5", "--min-tokens=0", "--stop-token-ids", "7,8", "--ignore-eos",
                              "--rank", "--top-n", "3", "--packed-top", "--kept-set", "--draw", "--entropy"});
  ASSERT_TRUE(config.ok());
  EXPECT_THAT(*config,
              EqualsProto("stop { max_tokens: 5 min_tokens: 0 stop_token_ids: [7, 8] ignore_eos: true } record { rank: "
                          "true top_n: 3 packed_top: true kept_set: true draw: true entropy: true }"));
}

TEST(FlagsTest, WhatCannotBeSentNamesTheFlagAndWhatItTakes) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"--typical-p", "most"}, "--typical-p must be a number, got \"most\""},
      {{"--penalty-window", "1.5"}, "--penalty-window must be an integer of 32 bits, got \"1.5\""},
      {{"--logit-bias", "7"}, "--logit-bias must be a token id and nats (ID=NATS, as 7=-1.5), got \"7\""},
      {{"--logit-bias", "=1"}, "--logit-bias must be"},
      {{"--logit-bias", "a=1"}, "got \"a=1\""},
      {{"--logit-bias", "7=much"}, "got \"7=much\""},
      {{"--sequence-bias", "7,8"}, "--sequence-bias must be token ids and nats (IDS=NATS, as 5,7=-1.5), got \"7,8\""},
      {{"--sequence-bias", "7,b=1"}, "--sequence-bias must be token ids separated by commas (1,2,3), got \"7,b\""},
      {{"--bad-words", "the"}, "--bad-words must be token ids"},
      {{"--dry-breaker", "\n"}, "--dry-breaker must be token ids"},
      {{"--repetition-scope", "all"}, "--repetition-scope must be prompt-and-output, output or prompt, got \"all\""},
      {{"--repetition-scope", "unspecified"}, "got \"unspecified\""},
      {{"--top-k-ties", "random"}, "--top-k-ties must be lowest-id or keep-all, got \"random\""},
      {{"--top-p-boundary", ""}, "--top-p-boundary must be reached, exceeded, ascending or mass-above, got \"\""},
      {{"--stage-order", "top-k,topp"},
       "--stage-order must be logitd, hf, vllm, llama-cpp or trt-llm, or stages separated by commas (token-sets, "},
      {{"--stage-order", "hf,top-k"}, "got \"hf\""},
      {{"--stage-order", ""}, "got \"\""},
  };
  for (const auto& [flags, message] : cases) {
    const auto config = Config(flags);
    ASSERT_FALSE(config.ok()) << message;
    EXPECT_TRUE(client::IsInputError(config.status()));
    EXPECT_THAT(std::string(config.status().message()), HasSubstr(message));
  }
}

}  // namespace
}  // namespace logitd::cli
