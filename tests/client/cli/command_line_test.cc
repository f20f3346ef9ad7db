// What holds for every subcommand: dispatch, help, the server's address, errors and exit codes.
#include "gmock/gmock.h"
#include "tests/client/cli/command_rig.h"

namespace logitd::cli {
namespace {

using ::testing::_;
using ::testing::DoAll;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Return;
using ::testing::StartsWith;

const std::vector<std::string> kDistribution = {"distribution", "--logits", "1,2"};

std::vector<std::string> With(std::vector<std::string> args, const std::vector<std::string>& more) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

TEST(CommandLineTest, WithoutACommandHelpGoesToStandardErrorAndFails) {
  CommandRig rig;
  EXPECT_EQ(rig.Run({}), kExitUsage);
  EXPECT_THAT(rig.err(), HasSubstr("Usage: logit COMMAND"));
  EXPECT_EQ(rig.out(), "");
}

TEST(CommandLineTest, HelpAndVersionNeedNoServer) {
  for (const char* command : {"complete", "score", "rank", "distribution", "verify", "info"}) {
    CommandRig rig;
    EXPECT_EQ(rig.Run({command, "--help"}), kExitOk);
    EXPECT_THAT(rig.out(), HasSubstr(std::string("Usage: logit ") + command));
    EXPECT_THAT(rig.out(), HasSubstr("Examples:\n  logit " + std::string(command)));
    EXPECT_THAT(rig.connections(), IsEmpty());
  }
  CommandRig rig;
  EXPECT_EQ(rig.Run({"--version"}), kExitOk);
  EXPECT_THAT(rig.out(), StartsWith("logit 0."));
}

TEST(CommandLineTest, UsageErrorsSendNothingAndExitWith2) {
  const struct {
    std::vector<std::string> args;
    const char* message;
    const char* field;
  } cases[] = {
      {{"compleat", "a"}, "unknown command compleat (did you mean complete?); commands: complete, score", "COMMAND"},
      {{"--bogus"}, "unknown flag --bogus", "COMMAND"},
      {{"distribution", "--logits", "1,2", "--tempratur=1"}, "unknown flag --tempratur", "--tempratur"},
      {{"distribution", "--logits", "1,x"},
       "--logits must be numbers separated by commas (6,3,0.5), got \"x\"",
       "--logits"},
      {{"distribution", "--logits", "1,2", "--temperature", "warm"},
       "--temperature must be a number, got \"warm\"",
       "--temperature"},
      {{"distribution", "--logits", "1,2", "--color", "pink"},
       "--color must be auto, always or never, got \"pink\"",
       "--color"},
      {{"distribution", "--logits", "1,2", "--timeout", "0"},
       "--timeout must be in (0, 1e6] seconds, got \"0\"",
       "--timeout"},
      {{"distribution", "--logits", "1,2", "--timeout", "nan"}, "--timeout", "--timeout"},
      {{"distribution", "--logits", "1,2", "--server", "nowhere"},
       "--server: address must be HOST:PORT or unix:PATH",
       "--server"},
      {{"complete", "a", "--seed", "-1"}, "--seed must be an integer in [0, 2^64), got \"-1\"", "--seed"},
      {{"complete"}, "PROMPT is missing", "PROMPT"},
      {{"complete", "a", "b"}, "PROMPT must be one argument, got 2", "PROMPT"},
      {{"complete", "a", "--prompt-tokens", "1"}, "exclude each other", "--prompt-tokens"},
      {{"score", "a"}, "CONTINUATION is missing", "CONTINUATION"},
      {{"score"}, "CONTEXT is missing", "CONTEXT"},
      {{"rank", "a", "b", "--order-by", "luck"},
       "--order-by must be sum, per-token, per-byte, per-character, gnmt, pmi or combined",
       "--order-by"},
      {{"distribution"}, "--logits is missing", "--logits"},
      {{"distribution", "--logits", "1,2", "--labels", "a"}, "one name per logit, got 1 labels for 2", "--labels"},
      {{"distribution", "--logits", "1,2", "--row", "1"}, "--row goes with a file", "--row"},
      {{"distribution", "--logits", "1,2", "--dtype", "bf16"}, "--dtype goes with a file", "--dtype"},
      {{"decode", "--logits", "/nowhere.npy"}, "there is no such file", "--logits"},
      {{"verify", "--logits", "1,2"}, "--token is missing", "--token"},
      {{"score", "a", "b", "--kept-set"}, "--kept-set tells what the stages keep", "--kept-set"},
      {{"complete", "a", "--packed-top"}, "--packed-top needs --top-n N", "--packed-top"},
      {{}, "COMMAND is missing", "COMMAND"},
  };
  for (const auto& c : cases) {
    CommandRig rig;
    if (!c.args.empty()) {
      EXPECT_EQ(rig.Run(c.args), kExitUsage) << c.message;
      EXPECT_THAT(rig.err(), HasSubstr(c.message));
      EXPECT_EQ(rig.out(), "");
    }
    CommandRig with_json;
    EXPECT_EQ(with_json.Run(With(c.args, {"--json"})), kExitUsage) << c.message;
    EXPECT_THAT(with_json.err(), HasSubstr(std::string("\"field\":\"") + c.field + "\"")) << c.message;
    EXPECT_EQ(with_json.out(), "");
  }
}

TEST(CommandLineTest, WithJsonAUsageErrorIsAnObject) {
  CommandRig rig;
  EXPECT_EQ(rig.Run({"distribution", "--temperature", "warm", "--logits", "1", "--json"}), kExitUsage);
  EXPECT_THAT(rig.err(), StartsWith("{\"error\":{\"code\":3,"));
  EXPECT_THAT(rig.err(), HasSubstr("\"field\":\"--temperature\",\"value\":\"warm\",\"bound\":\"a number\""));
}

TEST(CommandLineTest, TheAddressIsTheFlagThenTheVariableThenTheDefault) {
  const auto address = [](const std::vector<std::string>& args, const std::string& variable) {
    CommandRig rig;
    rig.SetVariable("LOGITD_SERVER", variable);
    EXPECT_CALL(rig.decoding(), ComputeDistribution).WillOnce(Return(grpc::Status::OK));
    EXPECT_EQ(rig.Run(args), kExitOk) << rig.err();
    return rig.connections().at(0).address;
  };
  EXPECT_EQ(address(kDistribution, ""), "127.0.0.1:50051");
  EXPECT_EQ(address(kDistribution, "unix:/a"), "unix:/a");
  EXPECT_EQ(address(With(kDistribution, {"--server", "h:1"}), "unix:/a"), "h:1");
  EXPECT_EQ(address(With({"--server", "h:2"}, kDistribution), ""), "h:2");
}

TEST(CommandLineTest, TheTimeoutIsTheCalls) {
  CommandRig rig;
  EXPECT_CALL(rig.decoding(), ComputeDistribution).WillOnce(Return(grpc::Status::OK));
  EXPECT_EQ(rig.Run(With(kDistribution, {"--timeout", "1.5"})), kExitOk);
  EXPECT_EQ(rig.connections().at(0).timeout, std::chrono::milliseconds(1500));
}

TEST(CommandLineTest, TheCommandThatStartsTheServerFitsTheCommandAndTheAddress) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"distribution", "--logits", "1,2", "--server", "unix:/tmp/s"}, "start it with: logitd --listen unix:/tmp/s,"},
      {{"score", "a", "b"}, "start it with: logitd --model FILE,"},
      {{"score", "a", "b", "--server", "[::1]:7"}, "start it with: logitd --model FILE --listen [::1]:7,"},
  };
  for (const auto& [args, message] : cases) {
    CommandRig rig;
    const grpc::Status refused(grpc::StatusCode::UNAVAILABLE, "failed to connect; last error: x: Connection refused");
    EXPECT_CALL(rig.decoding(), ComputeDistribution).WillRepeatedly(Return(refused));
    EXPECT_CALL(rig.scoring(), ScoreRaw).WillRepeatedly([&](grpc::ClientContext*, const v1::ScoreRequest&) {
      return new ScriptedReader<v1::ScoreResponse>({}, refused);
    });
    EXPECT_EQ(rig.Run(args), kExitUnreachable);
    EXPECT_THAT(rig.err(), HasSubstr(message));
  }
}

TEST(CommandLineTest, ExitCodesTellWhoFailed) {
  v1::Error draining;
  draining.set_code(14);
  draining.set_reason(v1::ERROR_REASON_DRAINING);
  draining.set_message("the server shuts down");
  v1::Error late;
  late.set_code(4);
  late.set_reason(v1::ERROR_REASON_DEADLINE_EXCEEDED);
  late.set_message("the call's deadline passed");
  const struct {
    grpc::Status status;
    int exit_code;
    const char* message;
  } cases[] = {
      {grpc::Status(grpc::StatusCode::UNAVAILABLE, "failed to connect; last error: x: Connection refused"),
       kExitUnreachable,
       "cannot reach logitd at 127.0.0.1:50051 (Connection refused); start it with: logitd, or name another with "
       "--server or LOGITD_SERVER\n"},
      {grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "Deadline Exceeded"), kExitUnreachable,
       "no complete answer from logitd at 127.0.0.1:50051"},
      {Refusal(draining), kExitRefused, "the server shuts down"},
      {Refusal(late), kExitUnreachable, "no complete answer from logitd at 127.0.0.1:50051 within --timeout"},
      {Refusal(MakeError(3, v1::ERROR_REASON_FIELD_OUT_OF_RANGE, "sampling.temperature")), kExitRefused,
       "sampling.temperature is wrong"},
      {grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "unknown method"), kExitRefused, "unknown method"},
  };
  for (const auto& c : cases) {
    CommandRig rig;
    EXPECT_CALL(rig.decoding(), ComputeDistribution).WillOnce(Return(c.status));
    EXPECT_EQ(rig.Run(kDistribution), c.exit_code);
    EXPECT_THAT(rig.err(), HasSubstr(c.message));
    EXPECT_EQ(rig.out(), "");
  }
}

TEST(CommandLineTest, WithJsonARefusalIsTheServersError) {
  CommandRig rig;
  v1::Error error = MakeError(3, v1::ERROR_REASON_FIELD_OUT_OF_RANGE, "sampling.temperature");
  error.set_value("-1");
  error.set_bound("0 or in [0.0001, 1e+06]");
  EXPECT_CALL(rig.decoding(), ComputeDistribution).WillOnce(Return(Refusal(error)));
  EXPECT_EQ(rig.Run(With(kDistribution, {"--temperature", "-1", "--json"})), kExitRefused);
  EXPECT_EQ(
      rig.err(),
      "{\"error\":{\"code\":3,\"reason\":\"ERROR_REASON_FIELD_OUT_OF_RANGE\",\"message\":\"sampling.temperature is "
      "wrong\",\"field\":\"sampling.temperature\",\"value\":\"-1\",\"bound\":\"0 or in [0.0001, "
      "1e+06]\",\"limit\":\"\"}}\n");
  EXPECT_EQ(rig.out(), "");
}

}  // namespace
}  // namespace logitd::cli
