#include "gmock/gmock.h"
#include "tests/client/cli/command_rig.h"

namespace logitd::cli {
namespace {

using ::testing::_;
using ::testing::HasSubstr;

v1::VocabularyToken Token(int32_t id, v1::TokenKind kind, const std::string& bytes, const std::string& name = "",
                          bool ends_text = false) {
  v1::VocabularyToken token;
  token.set_token_id(id);
  token.set_kind(kind);
  token.set_token_bytes(bytes);
  token.set_name(name);
  token.set_ends_text(ends_text);
  return token;
}

class VocabularyTest : public ::testing::Test {
 protected:
  int Run(std::vector<std::string> args, grpc::Status status = grpc::Status::OK) {
    std::vector<v1::GetVocabularyResponse> responses(2);
    for (v1::GetVocabularyResponse& response : responses) {
      response.set_model("m");
      response.set_vocab_size(12);
      response.set_vocab_fingerprint("abc");
    }
    *responses[0].add_tokens() = Token(0, v1::TOKEN_KIND_CONTROL, "", "</s>", true);
    *responses[0].add_tokens() = Token(1, v1::TOKEN_KIND_TEXT, "\n\xc3");
    *responses[1].add_tokens() = Token(2, v1::TOKEN_KIND_UNUSED, "");
    *responses[1].add_tokens() = Token(11, v1::TOKEN_KIND_TEXT, " cat");
    EXPECT_CALL(rig_.models(), GetVocabularyRaw(_, _)).WillOnce([&, responses, status](auto*, const auto& request) {
      model_ = request.model();
      return new ScriptedReader<v1::GetVocabularyResponse>(responses, status);
    });
    args.insert(args.begin(), "vocabulary");
    return rig_.Run(args);
  }
  CommandRig rig_;
  std::string model_;
};

TEST_F(VocabularyTest, OneLineForEachToken) {
  EXPECT_EQ(Run({}), kExitOk);
  EXPECT_EQ(rig_.out(),
            " 0  control  ends a text  \"</s>\"\n"
            " 1  text                  \"\\n\\xc3\"\n"
            " 2  unused\n"
            "11  text                  \" cat\"\n");
}

TEST_F(VocabularyTest, JsonLinesBeginWithWhatHoldsForAll) {
  EXPECT_EQ(Run({"--json", "--model", "m"}), kExitOk);
  EXPECT_EQ(model_, "m");
  EXPECT_THAT(rig_.out(),
              ::testing::StartsWith(
                  "{\"model\":\"m\",\"vocab_size\":12,\"vocab_fingerprint\":\"YWJj\",\"tokens\":[]}\n"
                  "{\"token_id\":0,\"kind\":\"TOKEN_KIND_CONTROL\",\"token_bytes\":\"\",\"name\":\"\\u003c/s\\u003e\","
                  "\"ends_text\":true}\n"));
  EXPECT_THAT(rig_.out(), HasSubstr("\"token_id\":1,\"kind\":\"TOKEN_KIND_TEXT\",\"token_bytes\":\"CsM=\""));
}

TEST_F(VocabularyTest, TheServersRefusalIsShown) {
  EXPECT_NE(Run({}, Refusal(MakeError(9, v1::ERROR_REASON_VOCABULARY_UNAVAILABLE, "vocabulary"))), kExitOk);
  EXPECT_THAT(rig_.err(), HasSubstr("vocabulary is wrong"));
}

}  // namespace
}  // namespace logitd::cli
