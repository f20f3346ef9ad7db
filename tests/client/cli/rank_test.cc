#include <sstream>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "tests/client/cli/command_rig.h"

namespace logitd::cli {
namespace {

using ::testing::HasSubstr;

constexpr char kRanked[] = R"pb(
  item {
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
  EXPECT_CALL(rig.scoring(), RankRaw).WillOnce([&](grpc::ClientContext*, const v1::RankRequest& sent) {
    request = sent;
    return new ScriptedReader<v1::RankResponse>({Ranked()});
  });
  EXPECT_EQ(rig.Run({"rank", "ctx", " long one", " x", "", "--order-by", "per-token", "--inverse-temperature", "-1"}),
            kExitItemFailed);
  v1::RankRequest wanted;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        items {
          context { text: "ctx" }
          candidates { text: " long one" }
          candidates { text: " x" }
          candidates { text: "" }
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

TEST(RankTest, WhatWasAskedForHasAColumn) {
  CommandRig rig;
  v1::RankRequest request;
  v1::RankResponse response;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(item {
             candidates { pruned: true }
             candidates { place: 1 sum: -1 per_token: -0.5 gnmt: -0.9 pmi: 2 }
             closed_set { kind: CLOSED_SET_KIND_PREFIXES mass: 0.5 }
           })pb",
      &response));
  EXPECT_CALL(rig.scoring(), RankRaw).WillOnce([&](grpc::ClientContext*, const v1::RankRequest& sent) {
    request = sent;
    return new ScriptedReader<v1::RankResponse>({response});
  });
  EXPECT_EQ(rig.Run({"rank", "c", "a", "b", "--order-by", "pmi", "--gnmt-alpha", "0.6", "--unconditional-context", "u",
                     "--winner-only"}),
            kExitOk);
  EXPECT_EQ(request.order_by(), v1::NORMALIZATION_PMI);
  EXPECT_EQ(request.gnmt_alpha(), 0.6);
  EXPECT_EQ(request.unconditional_context().text(), "u");
  EXPECT_TRUE(request.winner_only());
  EXPECT_EQ(
      rig.out(),
      "place  candidate  probability          sum  per token  per byte  per character  perplexity       gnmt       "
      "pmi\n"
      "    1  \"b\"                  -    -1.000000  -0.500000         -              -           -  -0.900000  "
      "2.000000\n"
      "    -  \"a\"                  -            -          -         -              -           -          -       "
      "  -\n"
      "probability of all candidates together: 0.500000 (some begin with another one, which counts for both)\n"
      "1 of 2 candidates were given up early\n");
}

TEST(RankTest, OrdersAreAskedForAndShown) {
  CommandRig rig;
  v1::RankRequest request;
  v1::RankResponse response;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(item {
             candidates { place: 1 sum: -1 }
             candidates { place: 2 sum: -2 }
             returned_order {
               candidate_indices: [ 0, 1 ]
               log_prob: -0.31326168751822286
               top_count: 1
               top_log_prob: -0.31326168751822286
             }
             given_order {
               candidate_indices: [ 1, 0 ]
               top_count: 1
               top_log_prob: -1.3132616875182228
             }
           })pb",
      &response));
  EXPECT_CALL(rig.scoring(), RankRaw).WillOnce([&](grpc::ClientContext*, const v1::RankRequest& sent) {
    request = sent;
    return new ScriptedReader<v1::RankResponse>({response});
  });
  EXPECT_EQ(rig.Run({"rank", "ctx", " x", " y", "--order", "--given-order", "1,0", "--top-k", "1"}), kExitOk);
  EXPECT_TRUE(request.has_order());
  EXPECT_EQ(request.order().top_k(), 1);
  EXPECT_THAT(request.items(0).given_order(), ::testing::ElementsAre(1, 0));
  EXPECT_THAT(rig.out(), HasSubstr("probability of the returned order (\" x\", \" y\"): 0.731059 (ln -0.313262); of "
                                   "its first place: 0.731059 (ln -0.313262)\n"));
  EXPECT_THAT(rig.out(), HasSubstr("probability of the given order (\" y\", \" x\"): 0; of its first place: 0.268941 "
                                   "(ln -1.313262)\n"));
}

TEST(RankTest, AGivenOrderIsOfCandidatesOnTheCommandLine) {
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{"-"}, std::vector<std::string>{"items.jsonl", "--out", "ranks.jsonl"}}) {
    CommandRig rig;
    rig.SetInput("{}");
    std::vector<std::string> args = {"rank", "--given-order", "0,1"};
    args.insert(args.end(), more.begin(), more.end());
    EXPECT_EQ(rig.Run(args), kExitUsage);
    EXPECT_THAT(rig.err(), HasSubstr("write given_order into each item"));
  }
}

TEST(RankTest, TokensOfBothNamesAreCandidates) {
  CommandRig rig;
  v1::RankRequest request;
  EXPECT_CALL(rig.scoring(), RankRaw).WillOnce([&](grpc::ClientContext*, const v1::RankRequest& sent) {
    request = sent;
    return new ScriptedReader<v1::RankResponse>({v1::RankResponse()});
  });
  EXPECT_EQ(rig.Run({"rank", "--context-tokens", "1", "--candidate-tokens", "2,3", "--continuation-tokens", "4"}),
            kExitOk);
  ASSERT_EQ(request.items(0).candidates_size(), 2);
  EXPECT_EQ(request.items(0).candidates(0).tokens().token_ids(1), 3);
  EXPECT_FALSE(request.has_inverse_temperature());
}

TEST(RankTest, ItemsOfStandardInputAreALineEachInTheirOrder) {
  CommandRig rig;
  std::string input;
  for (int i = 0; i < 40; ++i) {
    input += "{\"id\":\"n" + std::to_string(i) + "\",\"candidates\":[{\"sums\":{\"sum_model_log_prob\":-" +
             std::to_string(i) + ",\"token_count\":1}}]}\n";
    if (i == 3) input += "nonsense\n";
  }
  rig.SetInput(input);
  EXPECT_CALL(rig.scoring(), RankRaw).Times(2).WillRepeatedly([](grpc::ClientContext*, const v1::RankRequest& request) {
    // The last one first.
    std::vector<v1::RankResponse> responses;
    for (int i = request.items_size() - 1; i >= 0; --i) {
      v1::RankResponse& response = responses.emplace_back();
      response.set_item_index(i);
      response.set_id(request.items(i).id());
      response.mutable_item()->add_candidates()->set_sum(request.items(i).candidates(0).sums().sum_model_log_prob());
    }
    return new ScriptedReader<v1::RankResponse>(std::move(responses));
  });
  EXPECT_EQ(rig.Run({"rank", "--json"}), kExitItemFailed);
  std::istringstream lines(rig.out());
  std::string line;
  for (int i = 0; i < 41; ++i) {
    ASSERT_TRUE(std::getline(lines, line)) << i;
    EXPECT_THAT(line, HasSubstr("\"item_index\":" + std::to_string(i) + ","));
    if (i == 4) {
      EXPECT_THAT(line, HasSubstr("ERROR_REASON_MALFORMED_MESSAGE"));
    } else {
      EXPECT_THAT(line, HasSubstr("\"id\":\"n" + std::to_string(i < 4 ? i : i - 1) + "\""));
    }
  }
  EXPECT_FALSE(std::getline(lines, line));
}

TEST(RankTest, ItemsOfStandardInputHaveTheirHeadings) {
  CommandRig rig;
  rig.SetInput("{\"candidates\":[{\"text\":\"a\"}]}\n{\"id\":\"b\\u001b[0m\",\"candidates\":[{\"text\":\"a\"}]}\n");
  EXPECT_CALL(rig.scoring(), RankRaw).WillOnce([](grpc::ClientContext*, const v1::RankRequest& request) {
    std::vector<v1::RankResponse> responses(2);
    responses[1].set_item_index(1);
    responses[1].set_id(request.items(1).id());
    return new ScriptedReader<v1::RankResponse>(std::move(responses));
  });
  EXPECT_EQ(rig.Run({"rank"}), kExitOk);
  EXPECT_THAT(rig.out(), testing::StartsWith("item 0\n"));
  EXPECT_THAT(rig.out(), HasSubstr("\n\nitem 1 (b\\x1b[0m)\n"));
}

TEST(RankTest, WhatWasAnsweredBeforeTheCallEndedIsShown) {
  CommandRig rig;
  rig.SetInput("{\"candidates\":[{\"text\":\"a\"}]}\n{\"candidates\":[{\"text\":\"a\"}]}\n");
  EXPECT_CALL(rig.scoring(), RankRaw).WillOnce([](grpc::ClientContext*, const v1::RankRequest&) {
    return new ScriptedReader<v1::RankResponse>({v1::RankResponse()},
                                                Refusal(MakeError(14, v1::ERROR_REASON_RUNNER_LOST, "")));
  });
  EXPECT_NE(rig.Run({"rank", "--json"}), kExitOk);
  EXPECT_THAT(rig.out(), testing::StartsWith("{\"item_index\":0,"));
}

}  // namespace
}  // namespace logitd::cli
