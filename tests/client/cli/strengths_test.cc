#include <sstream>

#include "client/cli/ranking_lines.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "tests/client/cli/command_rig.h"

namespace logitd::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kFit[] = R"pb(
  log_strengths: [ -0.25, 1, -0.75 ]
  standard_errors: [ 0.5, 0.625, 0.75 ]
  log_likelihood: -3.5
  equal_log_likelihood: -5.375
  mm_step_count: 20
  newton_step_count: 3
  last_newton_step: 1e-12
)pb";

class StrengthsTest : public ::testing::Test {
 protected:
  int Run(const std::string& input, std::vector<std::string> flags = {}) {
    EXPECT_CALL(rig_.fitting(), FitStrengths)
        .Times(::testing::AtMost(1))
        .WillRepeatedly(
            [this](grpc::ClientContext*, const v1::FitStrengthsRequest& request, v1::FitStrengthsResponse* response) {
              request_ = request;
              EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(kFit, response));
              return grpc::Status::OK;
            });
    rig_.SetInput(input);
    flags.insert(flags.begin(), "strengths");
    return rig_.Run(flags);
  }

  CommandRig rig_;
  v1::FitStrengthsRequest request_;
};

TEST_F(StrengthsTest, RankingsOfNamesAreFittedAndShownStrongestFirst) {
  EXPECT_EQ(Run("[\"rug\", \"mat\", \"floor\"]\n\n"
                "{\"order\": [[\"mat\", \"floor\"], \"rug\"], \"count\": 2}\n"
                "{\"order\": [\"mat\"], \"others_below\": true}\n",
                {"--ties", "by-index"}),
            kExitOk);
  v1::FitStrengthsRequest wanted;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        item_count: 3
        rankings { item_indices: [ 0, 1, 2 ] }
        rankings {
          item_indices: [ 1, 2, 0 ]
          places: [ 1, 1, 2 ]
          count: 2
        }
        rankings {
          item_indices: [ 1 ]
          others_below: true
        }
        ties: ORDER_TIES_BY_INDEX
      )pb",
      &wanted));
  EXPECT_EQ(request_.DebugString(), wanted.DebugString());
  EXPECT_EQ(rig_.out(),
            "item   log-strength  std. error     first\n"
            "mat        1.000000    0.625000  0.684801  ████████████████████\n"
            "rug       -0.250000    0.500000  0.196199  █████▊\n"
            "floor     -0.750000    0.750000  0.119001  ███▌\n"
            "log-likelihood of 3 rankings: -3.500000; with equal strengths: -5.375000\n");
}

TEST_F(StrengthsTest, JsonHasTheNamesAndTheReply) {
  EXPECT_EQ(Run("[\"b \\\"x\\\"\", \"a\"]\n", {"--json", "--item", "a"}), kExitOk);
  EXPECT_THAT(request_.rankings(0).item_indices(), ElementsAre(1, 0));
  EXPECT_THAT(rig_.out(),
              ::testing::StartsWith("{\"items\":[\"a\",\"b \\\"x\\\"\"],\"log_strengths\":[-0.25,1,-0.75],"));
  EXPECT_THAT(rig_.out(), HasSubstr("\"last_newton_step\":1e-12"));
}

TEST_F(StrengthsTest, LinesThatAreNoRankingsAreNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"[\"a\", 3]", "line 1 of standard input: order[1] must be a text, or a list of texts that are tied"},
      {"[\"a\", [\"b\", [\"c\"]]]", "line 1 of standard input: order[1] must be a text, or a list of texts"},
      {"[\"a\", \"b\"]\n5", "line 2 of standard input: the line must be a list of items, best first, or an object"},
      {"{\"count\": 3}", "order must be a list of items, best first, and is missing"},
      {"{\"order\": \"ab\"}", "order must be a list of items, best first"},
      {"{\"order\": [\"a\", \"b\"], \"count\": 1.5}", "count must be a whole number in [1, 1000000000]"},
      {"{\"order\": [\"a\", \"b\"], \"count\": \"3\"}", "count must be a whole number in [1, 1000000000]"},
      {"{\"order\": [\"a\", \"b\"], \"others_below\": 1}", "others_below must be true or false"},
      {"{\"order\": [\"a\", \"b\"], \"weight\": 1}", "unknown key \"weight\""},
      {"[\"a\", \"b\"", "line 1 of standard input is not a ranking in JSON"},
      {"\n\n", "standard input has no ranking"}};
  for (const auto& [input, message] : cases) {
    SCOPED_TRACE(input);
    CommandRig rig;
    rig.SetInput(input);
    EXPECT_NE(rig.Run({"strengths"}), kExitOk);
    EXPECT_THAT(rig.err(), HasSubstr(message));
  }
  CommandRig missing;
  EXPECT_EQ(missing.Run({"strengths"}), kExitUsage);
  CommandRig absent;
  EXPECT_EQ(absent.Run({"strengths", "/nonexistent/rankings.jsonl"}), kExitUsage);
  CommandRig doubled;
  EXPECT_EQ(doubled.Run({"strengths", "-", "--item", "a", "--item", "a"}), kExitUsage);
}

TEST(RankingLinesTest, AnErrorOfTheFitNamesItsItems) {
  v1::Error error;
  error.set_reason(v1::ERROR_REASON_STRENGTHS_UNDEFINED);
  error.set_message("m");
  error.set_value("2, 0 and 5 more");
  NameItems({"mat", "rug", "floor"}, error);
  EXPECT_EQ(error.message(), "m (item 2 is \"floor\", item 0 is \"mat\")");
  error.set_reason(v1::ERROR_REASON_ORDER_INVALID);
  error.set_message("m");
  NameItems({"mat", "rug", "floor"}, error);
  EXPECT_EQ(error.message(), "m");
}

}  // namespace
}  // namespace logitd::cli
