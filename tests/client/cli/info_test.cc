#include "gmock/gmock.h"
#include "tests/client/cli/command_rig.h"

namespace logitd::cli {
namespace {

using ::testing::DoAll;
using ::testing::HasSubstr;
using ::testing::Return;
using ::testing::SetArgPointee;

class InfoTest : public ::testing::Test {
 protected:
  int Run(std::vector<std::string> args, bool has_model) {
    v1::GetServerInfoResponse info;
    info.set_server_version("0.1.0");
    info.set_numerics_version(1);
    info.set_kernel_target("SCALAR");
    info.mutable_limits()->set_max_score_tokens(int64_t{1} << 40);
    v1::ListModelsResponse models;
    if (has_model) {
      v1::ModelStatus* status = models.add_models();
      status->set_runner_count(2);
      status->mutable_model()->set_name("smollm2");
      status->mutable_model()->set_precision("f32");
      status->mutable_model()->set_context_length(8192);
      status->mutable_model()->set_vocab_size(49152);
      status->mutable_model()->set_eos_token_id(0);
      status->mutable_model()->set_hidden_width(576);
      status->mutable_model()->add_warnings("the file is odd");
      status->mutable_model()->add_warnings("and old");
    }
    EXPECT_CALL(rig_.server(), GetServerInfo).WillOnce(DoAll(SetArgPointee<2>(info), Return(grpc::Status::OK)));
    EXPECT_CALL(rig_.models(), ListModels).WillOnce(DoAll(SetArgPointee<2>(models), Return(grpc::Status::OK)));
    args.insert(args.begin(), "info");
    return rig_.Run(args);
  }
  CommandRig rig_;
};

TEST_F(InfoTest, TellsVersionsModelsAndEveryLimit) {
  EXPECT_EQ(Run({}, true), kExitOk);
  for (const char* part : {"logitd 0.1.0 at 127.0.0.1:50051\n", "numerics version: 1\n", "kernel target: SCALAR\n",
                           "model    precision  context length  vocab size  runners  batch tolerance\n"
                           "smollm2  f32                  8192       49152        2        not known\n",
                           "warning: smollm2: the file is odd\nwarning: smollm2: and old\n",
                           "max_score_tokens            1099511627776\n", "max_calls"}) {
    EXPECT_THAT(rig_.out(), HasSubstr(part));
  }
}

TEST_F(InfoTest, WithoutAModelItSaysWhatWorks) {
  EXPECT_EQ(Run({}, false), kExitOk);
  EXPECT_THAT(rig_.out(), HasSubstr("No model is attached"));
}

TEST_F(InfoTest, JsonIsOneObject) {
  EXPECT_EQ(Run({"--json"}, true), kExitOk);
  EXPECT_THAT(rig_.out(), ::testing::StartsWith("{\"server\":{\"server_version\":\"0.1.0\""));
  EXPECT_THAT(rig_.out(), HasSubstr("},\"models\":[{\"model\":{\"name\":\"smollm2\""));
  for (const char* part :
       {"\"eos_token_id\":0,", "\"hidden_width\":576", "\"warnings\":[\"the file is odd\",\"and old\"]"}) {
    EXPECT_THAT(rig_.out(), HasSubstr(part));
  }
  EXPECT_THAT(rig_.out(), ::testing::EndsWith("]}\n"));
}

}  // namespace
}  // namespace logitd::cli
