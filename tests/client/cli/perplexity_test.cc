#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "tests/client/cli/command_rig.h"

namespace logitd::cli {
namespace {

using ::testing::HasSubstr;

class PerplexityTest : public ::testing::Test {
 protected:
  int Run(std::vector<std::string> args, const std::string& answer) {
    EXPECT_CALL(rig_.scoring(), ScoreRaw)
        .WillRepeatedly([this, answer](grpc::ClientContext*, const v1::ScoreRequest& request) {
          rolling_ = request.items(0).rolling();
          v1::ScoreResponse response;
          EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(answer, response.mutable_item()));
          return new ScriptedReader<v1::ScoreResponse>({response});
        });
    args.insert(args.begin(), "perplexity");
    return rig_.Run(args);
  }

  CommandRig rig_;
  v1::RollingText rolling_;
};

constexpr char kScore[] = R"pb(
  rolling {
    score { totals { token_count: 5 cumulative_model_log_prob: -10 } }
    perplexity: 7.38905609893065
    windows { first_token: 0 token_count: 3 context_token_count: 1 sum_model_log_prob: -6 }
    windows { first_token: 3 token_count: 2 context_token_count: 2 sum_model_log_prob: -4 }
  }
)pb";

TEST_F(PerplexityTest, AFileInWindows) {
  const std::string path = std::filesystem::temp_directory_path() / "logitd-perplexity-test.txt";
  std::ofstream(path) << "a text\n";
  EXPECT_EQ(Run({path, "--window", "4", "--stride", "3", "--rule", "strided", "--windows"}, kScore), kExitOk);
  std::filesystem::remove(path);
  EXPECT_EQ(rolling_.input().text(), "a text\n");
  EXPECT_EQ(rolling_.window(), 4);
  EXPECT_EQ(rolling_.stride(), 3);
  EXPECT_EQ(rolling_.rule(), v1::ROLLING_RULE_STRIDED);
  EXPECT_EQ(rig_.out(),
            "first token  context  scored        sum\n"
            "          0        1       3  -6.000000\n"
            "          3        2       2  -4.000000\n"
            "\n"
            "tokens: 5 in 2 windows\n"
            "cumulative model log-prob: -10.000000\n"
            "perplexity: 7.389056\n"
            "bits per byte: -\n");
}

TEST_F(PerplexityTest, IdsAndStandardInput) {
  EXPECT_EQ(Run({"--ids", "1,2", "--json"}, kScore), kExitOk);
  EXPECT_EQ(rolling_.input().tokens().token_ids_size(), 2);
  EXPECT_FALSE(rolling_.has_window());
  EXPECT_THAT(rig_.out(), HasSubstr("\"perplexity\":7.38905609893065"));
}

TEST_F(PerplexityTest, AnErrorOfTheTextNamesItsOwnField) {
  EXPECT_EQ(Run({"--ids", "99"},
                R"pb(error { code: 3 message: "items[0].rolling.input must not" field: "items[0].rolling.input" })pb"),
            kExitItemFailed);
  EXPECT_EQ(rig_.err(), "logit: rolling.input must not\n");
}

}  // namespace
}  // namespace logitd::cli
