#include <cmath>
#include <limits>
#include <tuple>

#include "gmock/gmock.h"
#include "tests/client/cli/command_rig.h"
#include "tests/testing/equals_proto.h"

namespace logitd::cli {
namespace {

using ::logitd::testing::EqualsProto;
using ::testing::_;
using ::testing::DoAll;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Return;
using ::testing::SaveArg;
using ::testing::SetArgPointee;

class DistributionTest : public ::testing::Test {
 protected:
  // Runs the command; the server answers with `response_`.
  int Run(std::vector<std::string> flags) {
    EXPECT_CALL(rig_.decoding(), ComputeDistribution)
        .WillOnce(DoAll(SaveArg<1>(&request_), SetArgPointee<2>(response_), Return(grpc::Status::OK)));
    flags.insert(flags.begin(), "distribution");
    return rig_.Run(flags);
  }
  void Answer(const std::vector<std::pair<int, double>>& probabilities) {
    for (const auto& [id, probability] : probabilities) {
      response_.add_token_ids(id);
      response_.add_probabilities(probability);
      response_.add_sampling_log_probs(std::log(probability));
    }
  }

  CommandRig rig_;
  v1::ComputeDistributionRequest request_;
  v1::ComputeDistributionResponse response_;
};

TEST_F(DistributionTest, LogitsPassAsTheyAre) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Run({"--logits", "-1,2,1e30,-1e30,-inf,inf,0.1,-0.0"}), kExitOk);
  EXPECT_THAT(request_.logits().float_values(), ElementsAre(-1, 2, 1e30f, -1e30f, -inf, inf, 0.1f, -0.0f));
  EXPECT_FALSE(request_.has_sampling());
}

TEST_F(DistributionTest, NanPassesTooForTheServerToRefuse) {
  EXPECT_EQ(Run({"--logits=nan,1"}), kExitOk);
  EXPECT_TRUE(std::isnan(request_.logits().float_values(0)));
}

TEST_F(DistributionTest, StagesPassAsTheyAre) {
  EXPECT_EQ(Run({"--logits", "1,2", "--temperature", "-1", "--top-k", "-3", "--top-p", "2", "--min-p", "0.1"}),
            kExitOk);
  EXPECT_EQ(request_.sampling().temperature(), -1);
  EXPECT_EQ(request_.sampling().top_k(), -3);
  EXPECT_EQ(request_.sampling().top_p(), 2);
  EXPECT_EQ(request_.sampling().min_p(), 0.1);
}

TEST_F(DistributionTest, AllowedTokensAreLabelsOrIds) {
  EXPECT_EQ(Run({"--logits", "1,2,3", "--labels", "a,2,b", "--allowed", "b,2,0,-1"}), kExitOk);
  // "2" is a label, of token 1: a label wins over an id.
  EXPECT_THAT(request_.sampling().allowed_tokens().ids().token_ids(), ElementsAre(2, 1, 0, -1));
}

TEST_F(DistributionTest, TokenSetsHaveTheFlagsOfTheOtherCommands) {
  EXPECT_EQ(Run({"--logits", "1,2,3", "--labels", "2,1,0", "--allowed-tokens", "0,2", "--banned-tokens", "2"}),
            kExitOk);
  EXPECT_THAT(request_.sampling().allowed_tokens().ids().token_ids(), ElementsAre(0, 2)) << "labels do not count";
  EXPECT_THAT(request_.sampling().banned_tokens().ids().token_ids(), ElementsAre(2));
}

TEST_F(DistributionTest, AnEmptySetIsSent) {
  EXPECT_EQ(Run({"--logits", "1,2,3", "--allowed", ""}), kExitOk);
  EXPECT_TRUE(request_.sampling().has_allowed_tokens());
  EXPECT_TRUE(request_.sampling().allowed_tokens().has_ids());
}

TEST_F(DistributionTest, BarsAreAlignedAndLabelled) {
  Answer({{0, 0.945214774}, {1, 0.047059473}, {2, 0.003862877}});
  EXPECT_EQ(Run({"--logits", "6,3,0.5", "--labels", "mat,rug,floor"}), kExitOk);
  EXPECT_EQ(rig_.out(),
            "mat    0.945215  ████████████████████  -0.056343\n"
            "rug    0.047059  █                     -3.056343\n"
            "floor  0.003863  ▏                     -5.556343\n");
}

TEST_F(DistributionTest, WithoutLabelsTheIdsAreShownAndOnlyWhatIsKept) {
  Answer({{1, 1.0}});
  EXPECT_EQ(Run({"--logits", "1,3,2", "--top-k", "1"}), kExitOk);
  EXPECT_EQ(rig_.out(), "1  1.000000  ████████████████████  0.000000\n");
}

TEST_F(DistributionTest, JsonIsTheResponseWithTheLabelsOfTheKeptTokens) {
  Answer({{0, 0.25}, {2, 0.75}});
  EXPECT_EQ(Run({"--logits", "1,0,2", "--labels", "a,b,c\"", "--allowed", "0,2", "--json"}), kExitOk);
  EXPECT_THAT(rig_.out(), HasSubstr("\"token_ids\":[0,2]"));
  EXPECT_THAT(rig_.out(), HasSubstr("\"probabilities\":[0.25,0.75]"));
  EXPECT_THAT(rig_.out(), ::testing::EndsWith(",\"labels\":[\"a\",\"c\\\"\"]}\n"));
}

TEST_F(DistributionTest, TheStepPassesAsItIsAndTheSeedIsTheDraws) {
  EXPECT_EQ(Run({"--logits", "1,2,3", "--seed", "7", "--sequence-key", "4", "--position", "1", "--prompt-tokens", "0",
                 "--output-tokens", "2", "--excluded-tokens", "1", "--frequency-penalty", "0.5"}),
            kExitOk);
  EXPECT_THAT(request_, EqualsProto(std::string(R"(
    logits { float_values: [1, 2, 3] } sampling { frequency_penalty: 0.5 }
    prompt_token_ids: 0 output_token_ids: 2 excluded_token_ids: 1
    verify { seed: 7 sequence_key: 4 position: 1 })")));
}

TEST_F(DistributionTest, TheDrawnTokenIsShownByItsLabel) {
  Answer({{0, 0.5}, {1, 0.5}});
  response_.mutable_verification()->set_token_id(1);
  EXPECT_EQ(Run({"--logits", "1,1", "--labels", "a,b", "--seed", "7"}), kExitOk);
  EXPECT_FALSE(request_.has_sampling());
  EXPECT_THAT(rig_.out(), ::testing::EndsWith("\n\ndrawn: b\n"));
}

TEST_F(DistributionTest, ExplainShowsWhatEachStageRemoved) {
  Answer({{0, 1.0}});
  for (const auto& [stage, before, after, mass] : {std::tuple(v1::STAGE_MIN_TOKENS, 12, 12, 0.0),
                                                   {v1::STAGE_TEMPERATURE, 12, 12, 0.0},
                                                   {v1::STAGE_TOP_P, 12, 1, 0.375}}) {
    v1::StageReport& report = *response_.add_stages();
    report.set_stage(stage);
    report.set_kept_before_count(before);
    report.set_kept_after_count(after);
    report.set_removed_mass(mass);
  }
  EXPECT_EQ(Run({"--logits", "1,0", "--explain"}), kExitOk);
  EXPECT_TRUE(request_.explain());
  EXPECT_EQ(rig_.out(),
            "0  1.000000  ████████████████████  0.000000\n"
            "\n"
            "stage        kept before  kept after  removed mass\n"
            "min_tokens            12          12      0.000000\n"
            "temperature           12          12      0.000000\n"
            "top_p                 12           1      0.375000\n");
}

TEST(DistributionUsageTest, WhatCannotBeSentIsAUsageError) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"distribution"}, "--logits is missing"},
      {{"distribution", "--logits", ""}, "--logits must be"},
      {{"distribution", "--logits", "1e39"}, "f32 numbers"},
      {{"distribution", "--logits", "1,2", "--labels", "a"}, "one name per logit, got 1 labels for 2 logits"},
      {{"distribution", "--logits", "1,2", "--labels", "a,b", "--allowed", "c"},
       "labels of --labels (a, b), or token ids, got \"c\""},
      {{"distribution", "--logits", "1,1,1,1,1,1,1,1,1,1,1,1", "--labels", "a,b,c,d,e,f,g,h,i,j,k,l", "--allowed", "x"},
       "(a, b, c, d, e, f, g, h, i, j, and 2 more)"},
      {{"distribution", "--logits", "1,2", "--allowed", "1", "--allowed-tokens", "1"}, "exclude each other"},
      {{"distribution", "--logits", "1,2", "--labels", "a,a", "--allowed", "a"}, "a label that only one token has"},
      {{"distribution", "--logits", "1,2", "--allowed", "c"}, "--allowed must be token ids, got \"c\""},
      {{"distribution", "1,2"}, "unexpected argument \"1,2\""},
  };
  for (const auto& [args, message] : cases) {
    CommandRig rig;
    EXPECT_EQ(rig.Run(args), kExitUsage);
    EXPECT_THAT(rig.err(), HasSubstr(message));
  }
}

}  // namespace
}  // namespace logitd::cli
