// `logit verify`: the request that is sent, the verdict that is shown, and the exit code that goes with it.
#include "gmock/gmock.h"
#include "tests/client/cli/command_rig.h"
#include "tests/client/logitd/npy_bytes.h"
#include "tests/testing/equals_proto.h"

namespace logitd::cli {
namespace {

using client::RawBytes;
using client::SavedArray;
using client::TemporaryFile;
using ::logitd::testing::EqualsProto;
using ::testing::DoAll;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Return;
using ::testing::SaveArg;
using ::testing::SetArgPointee;
using ::testing::StartsWith;

class VerifyTest : public ::testing::Test {
 protected:
  VerifyTest() {
    v1::Verification& verification = *response_.mutable_verification();
    verification.set_token_id(1);
    // r = 2^63 * 1000 / 2^64 = 500.
    verification.mutable_draw()->set_uniform(uint64_t{1} << 63);
    verification.mutable_draw()->set_total_weight(1000);
    verification.mutable_draw()->set_interval_start(400);
    verification.mutable_draw()->set_weight(200);
    response_.set_kept_count(2);
    v1::StageReport& stage = *response_.add_stages();
    stage.set_stage(v1::STAGE_TOP_K);
    stage.set_kept_before_count(4);
    stage.set_kept_after_count(2);
    stage.set_removed_mass(0.0625);
  }

  // Runs the command; the server answers with `response_`.
  int Run(std::vector<std::string> flags) {
    EXPECT_CALL(rig_.decoding(), ComputeDistribution)
        .WillOnce(DoAll(SaveArg<1>(&request_), SetArgPointee<2>(response_), Return(grpc::Status::OK)));
    flags.insert(flags.begin(), "verify");
    return rig_.Run(flags);
  }

  CommandRig rig_;
  v1::ComputeDistributionRequest request_;
  v1::ComputeDistributionResponse response_;
};

TEST_F(VerifyTest, TheDrawIsSentAndNotTheWholeDistributionAskedFor) {
  EXPECT_EQ(Run({"--logits",
                 "6,3,-inf",
                 "--seed",
                 "18446744073709551615",
                 "--sequence-key",
                 "9",
                 "--position",
                 "2",
                 "--token",
                 "1",
                 "--temperature",
                 "0.7",
                 "--min-p",
                 "0.1",
                 "--prompt-tokens",
                 "0,1",
                 "--output-tokens",
                 "2,2",
                 "--excluded-tokens",
                 "0"}),
            kExitOk);
  EXPECT_THAT(request_, EqualsProto(std::string(R"(
    logits { float_values: [6, 3, -inf] }
    sampling { temperature: 0.7 min_p: 0.1 }
    layout: RECORD_LAYOUT_NONE explain: true
    prompt_token_ids: [0, 1] output_token_ids: [2, 2] excluded_token_ids: 0
    verify { seed: 18446744073709551615 sequence_key: 9 position: 2 token_id: 1 })")));
}

TEST_F(VerifyTest, WhatIsNotGivenIsNotSent) {
  EXPECT_EQ(Run({"--logits", "6,3", "--token", "1"}), kExitOk);
  EXPECT_THAT(request_, EqualsProto(std::string(R"(
    logits { float_values: [6, 3] } layout: RECORD_LAYOUT_NONE explain: true verify { token_id: 1 })")));
}

TEST_F(VerifyTest, TheOneIsShownWithItsIntervalAndWhatTheStagesRemoved) {
  EXPECT_EQ(Run({"--logits", "1,2,3,4", "--token", "1"}), kExitOk);
  EXPECT_EQ(rig_.out(),
            "token 1 is the one that is drawn\n"
            "draw: r = 500 of 1000, in [400, 600)\n"
            "kept: 2\n"
            "\n"
            "stage  kept before  kept after  removed mass\n"
            "top_k            4           2      0.062500\n");
}

TEST_F(VerifyTest, AnotherOneIsNamedAndExitsWith1) {
  EXPECT_EQ(Run({"--logits", "1,2,3,4", "--token", "3"}), kExitItemFailed);
  EXPECT_THAT(rig_.out(), StartsWith("token 3 is not the one: token 1 is drawn\n"));
}

TEST_F(VerifyTest, JsonIsTheResponseAndTheExitCodeTheSame) {
  response_.mutable_verification()->set_matches(false);
  EXPECT_EQ(Run({"--logits", "1,2,3,4", "--token", "3", "--json"}), kExitItemFailed);
  EXPECT_THAT(rig_.out(), HasSubstr("\"stages\":[{\"stage\":\"STAGE_TOP_K\",\"kept_before_count\":4,"));
  EXPECT_THAT(rig_.out(), HasSubstr("\"verification\":{\"token_id\":1,\"draw\":{\"uniform\":\"9223372036854775808\","));
  EXPECT_THAT(rig_.out(), HasSubstr("\"matches\":false"));
}

TEST_F(VerifyTest, TheRowOfAFileIsThatOfThePosition) {
  const TemporaryFile file(SavedArray("<f4", "(2, 3, 2)", RawBytes<float>({0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15})));
  const struct {
    std::vector<std::string> flags;
    std::vector<float> row;
  } cases[] = {
      {{}, {0, 1}},
      {{"--position", "2"}, {4, 5}},
      {{"--output-tokens", "1"}, {2, 3}},
      {{"--position", "2", "--row", "1"}, {2, 3}},
      {{"--position", "1", "--sequence", "1"}, {12, 13}},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(::testing::PrintToString(test.row));
    CommandRig rig;
    v1::ComputeDistributionRequest request;
    EXPECT_CALL(rig.decoding(), ComputeDistribution)
        .WillOnce(DoAll(SaveArg<1>(&request), SetArgPointee<2>(response_), Return(grpc::Status::OK)));
    std::vector<std::string> args = {"verify", "--logits", file.path(), "--token", "1"};
    args.insert(args.end(), test.flags.begin(), test.flags.end());
    EXPECT_EQ(rig.Run(args), kExitOk) << rig.err();
    EXPECT_THAT(request.logits().block(), EqualsProto(std::string("dtype: LOGITS_DTYPE_F32 row_count: 1 width: 2")));
    EXPECT_EQ(request.logits().values(), RawBytes(test.row));
  }
}

TEST_F(VerifyTest, AReplyWithoutAVerdictIsNoVerdict) {
  response_.clear_verification();
  EXPECT_EQ(Run({"--logits", "1,2", "--token", "0"}), kExitRefused);
  EXPECT_THAT(rig_.err(), HasSubstr("holds no verification"));
}

TEST(VerifyUsageTest, WhatCannotBeSentIsAUsageError) {
  const TemporaryFile file(SavedArray("<f4", "(1, 2)", RawBytes<float>({0, 1})));
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"--logits", "1,2"}, "--token is missing"},
      {{"--token", "1"}, "--logits is missing"},
      {{"--token", "one", "--logits", "1,2"}, "--token must be an integer of 32 bits, got \"one\""},
      {{"--token", "1", "--logits", "1,2", "--row", "0"}, "--row goes with a file of rows"},
      {{"--token", "1", "--logits", "1,2", "--sequence", "0"}, "--sequence goes with a file of rows"},
      {{"--token", "1", "--logits", "1,x"}, "--logits"},
      {{"--token", "1", "--logits", file.path(), "--position", "1"},
       "--position must be in [0, 1), a row of the file, got \"1\""},
      {{"--token", "1", "--logits", file.path(), "--row", "-1"}, "--row must be in [0, 1)"},
      {{"--token", "1", "--logits", file.path(), "--sequence", "1"},
       "--sequence must be in [0, 1), a sequence of the file, got \"1\""},
  };
  for (const auto& [flags, message] : cases) {
    CommandRig rig;
    std::vector<std::string> args = flags;
    args.insert(args.begin(), "verify");
    EXPECT_EQ(rig.Run(args), kExitUsage) << message;
    EXPECT_THAT(rig.err(), HasSubstr(message));
  }
}

}  // namespace
}  // namespace logitd::cli
