#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "tests/client/cli/command_rig.h"

namespace logitd::cli {
namespace {

using ::testing::_;
using ::testing::DoAll;
using ::testing::HasSubstr;
using ::testing::Return;
using ::testing::SaveArg;
using ::testing::SetArgPointee;

constexpr char kRanked[] = R"pb(
  items {
    candidates { place: 2 sum: -3 per_token: -1 per_byte: -0.5 perplexity: 2.718281828 candidate_probability: 0.25 }
    candidates { place: 1 sum: -2 per_token: -2 per_byte: -0.5 perplexity: 7.389056099 candidate_probability: 0.75 }
    candidates { error { code: 3 reason: ERROR_REASON_EMPTY_CONTINUATION message: "it has no token" } }
    orderings {
      by: NORMALIZATION_SUM
      candidate_indices: [ 1, 0 ]
      places: [ 1, 2 ]
    }
    orderings {
      by: NORMALIZATION_PER_TOKEN
      candidate_indices: [ 0, 1 ]
      places: [ 1, 2 ]
    }
    orderings {
      by: NORMALIZATION_PER_BYTE
      candidate_indices: [ 0, 1 ]
      places: [ 1, 1 ]
      tied: true
    }
  })pb";

v1::RankResponse Ranked() {
  v1::RankResponse response;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(kRanked, &response));
  return response;
}

TEST(RankTest, BestFirstWithEveryNormalisationAndItsWinner) {
  CommandRig rig;
  v1::RankRequest request;
  EXPECT_CALL(rig.scoring(), Rank)
      .WillOnce(DoAll(SaveArg<1>(&request), SetArgPointee<2>(Ranked()), Return(grpc::Status::OK)));
  EXPECT_EQ(rig.Run({"rank", "ctx", " long one", " x", "", "--order-by", "per-token", "--inverse-temperature", "-1"}),
            kExitItemFailed);
  v1::RankRequest wanted;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        items {
          context { text: "ctx" }
          candidates { continuation { input { text: " long one" } } }
          candidates { continuation { input { text: " x" } } }
          candidates { continuation { input { text: "" } } }
        }
        order_by: NORMALIZATION_PER_TOKEN
        inverse_temperature: -1
      )pb",
      &wanted));
  EXPECT_EQ(request.DebugString(), wanted.DebugString());
  EXPECT_EQ(
      rig.out(),
      "place  candidate    probability                              sum  per token   per byte  per character  "
      "perplexity\n"
      "    1  \" x\"            0.750000  ████████████████████  -2.000000  -2.000000  -0.500000              -    "
      "7.389056\n"
      "    2  \" long one\"     0.250000  ██████▋               -3.000000  -1.000000  -0.500000              -    "
      "2.718282\n"
      "    -  \"\"                     -                                -          -          -              -    "
      "       -\n"
      "winner by sum: \" x\"\n"
      "winner by per token: \" long one\"\n"
      "winner by per byte: \" long one\", \" x\" (tied)\n"
      "\"\": error: it has no token (EMPTY_CONTINUATION)\n");
}

TEST(RankTest, TokensOfBothNamesAreCandidates) {
  CommandRig rig;
  v1::RankRequest request;
  EXPECT_CALL(rig.scoring(), Rank).WillOnce(DoAll(SaveArg<1>(&request), Return(grpc::Status::OK)));
  EXPECT_EQ(rig.Run({"rank", "--context-tokens", "1", "--candidate-tokens", "2,3", "--continuation-tokens", "4"}),
            kExitOk);
  ASSERT_EQ(request.items(0).candidates_size(), 2);
  EXPECT_EQ(request.items(0).candidates(0).continuation().input().tokens().token_ids(1), 3);
  EXPECT_FALSE(request.has_inverse_temperature());
}

TEST(RankTest, ItemsOfStandardInputBecomeOneObject) {
  CommandRig rig;
  std::string input;
  for (int i = 0; i < 40; ++i) {
    input += "{\"candidates\":[{\"sums\":{\"sum_model_log_prob\":-" + std::to_string(i) + ",\"token_count\":1}}]}\n";
    if (i == 3) input += "nonsense\n";
  }
  rig.SetInput(input);
  EXPECT_CALL(rig.scoring(), Rank)
      .Times(2)
      .WillRepeatedly([](grpc::ClientContext*, const v1::RankRequest& request, v1::RankResponse* response) {
        for (const v1::RankItem& item : request.items()) {
          response->add_items()->add_candidates()->set_sum(item.candidates(0).sums().sum_model_log_prob());
        }
        response->mutable_usage()->set_prompt_token_count(10);
        return grpc::Status::OK;
      });
  EXPECT_EQ(rig.Run({"rank", "--json"}), kExitItemFailed);
  EXPECT_EQ(rig.out().find('\n'), rig.out().size() - 1) << "one object";
  EXPECT_THAT(rig.out(), HasSubstr("\"sum\":-39"));
  EXPECT_THAT(rig.out(), HasSubstr("ERROR_REASON_MALFORMED_MESSAGE"));
  EXPECT_THAT(rig.out(), HasSubstr("\"prompt_token_count\":20"));
}

}  // namespace
}  // namespace logitd::cli
