#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "tests/client/cli/command_rig.h"

namespace logitd::cli {
namespace {

using ::testing::HasSubstr;

class DecideTest : public ::testing::Test {
 protected:
  int Run(std::vector<std::string> args, const std::string& answer) {
    EXPECT_CALL(rig_.scoring(), DecideRaw)
        .WillRepeatedly([this, answer](grpc::ClientContext*, const v1::DecideRequest& request) {
          request_ = request;
          std::vector<v1::DecideResponse> responses;
          for (int i = 0; i < request.items_size(); ++i) {
            v1::DecideResponse& response = responses.emplace_back();
            EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(answer, response.mutable_item()));
            response.set_item_index(i);
          }
          return new ScriptedReader<v1::DecideResponse>(responses);
        });
    args.insert(args.begin(), "decide");
    return rig_.Run(args);
  }

  CommandRig rig_;
  v1::DecideRequest request_;
};

constexpr char kDecided[] = R"pb(
  options { log_prob: -1 probability: 0.75 }
  options { log_prob: -2.5 probability: 0.25 }
  chosen_index: 0
  confidence: 0.75
  label_mass { kind: CLOSED_SET_KIND_EXACT mass: 0.5 }
)pb";

TEST_F(DecideTest, OptionsBecomeAChoice) {
  EXPECT_EQ(Run({"ctx", " yes", "--option-tokens", "7,8", "--temperature", "0.5"}, kDecided), kExitOk);
  EXPECT_EQ(request_.items(0).context().text(), "ctx");
  EXPECT_EQ(request_.items(0).choice().options(0).text(), " yes");
  EXPECT_EQ(request_.items(0).choice().options(1).tokens().token_ids(1), 8);
  EXPECT_EQ(request_.temperature(), 0.5);
  EXPECT_EQ(rig_.out(),
            "option  probability                         log-prob\n"
            "\" yes\"     0.750000  ████████████████████  -1.000000\n"
            "[7,8]      0.250000  ██████▋               -2.500000\n"
            "chosen: \" yes\"\n"
            "label mass: 0.500000\n");
}

TEST_F(DecideTest, ItemsOfStandardInputNameTheirOptions) {
  rig_.SetInput(
      "{\"id\":\"a\",\"predicate\":{\"if_true\":{\"text\":\" yes\"},\"if_false\":{\"text\":\" no\"}}}\n"
      "{\"score\":{\"levels\":[{\"option\":{\"text\":\"1\"},\"value\":1},{\"option\":{\"text\":\"2\"},\"value\":2}]}}\n"
      "nonsense\n");
  EXPECT_EQ(Run({}, kDecided), kExitItemFailed);
  EXPECT_THAT(rig_.out(), HasSubstr("chosen: \" yes\""));
  EXPECT_THAT(rig_.out(), HasSubstr("chosen: \"1\""));
  EXPECT_THAT(rig_.out(), HasSubstr("line 3 of standard input is not a DecideItem"));
}

TEST_F(DecideTest, AnOptionThatFailsIsNamed) {
  EXPECT_EQ(Run({"ctx", " yes", ""},
                R"pb(options { log_prob: -1 }
                     options { error { code: 3 reason: ERROR_REASON_EMPTY_CONTINUATION message: "no token" } })pb"),
            kExitItemFailed);
  EXPECT_THAT(rig_.out(), HasSubstr("\"\": error: no token (EMPTY_CONTINUATION)"));
}

TEST_F(DecideTest, AnOptionIsNeeded) {
  EXPECT_EQ(rig_.Run({"decide", "ctx"}), kExitUsage);
  EXPECT_THAT(rig_.err(), HasSubstr("OPTION is missing"));
}

}  // namespace
}  // namespace logitd::cli
