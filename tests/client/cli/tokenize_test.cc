#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "tests/client/cli/command_rig.h"

namespace logitd::cli {
namespace {

using ::testing::HasSubstr;

class TokenizeTest : public ::testing::Test {
 protected:
  // The server makes a token of each byte; 'B' stands for BOS.
  int Run(std::vector<std::string> args) {
    EXPECT_CALL(rig_.models(), Tokenize)
        .Times(::testing::AtMost(1))
        .WillRepeatedly(
            [this](grpc::ClientContext*, const v1::TokenizeRequest& request, v1::TokenizeResponse* response) {
              request_ = request;
              v1::TokenizedText& text = *response->add_texts();
              for (const char byte : request.texts(0)) {
                text.add_token_ids(static_cast<unsigned char>(byte));
                if (request.token_bytes()) text.add_token_bytes(std::string(1, byte));
              }
              text.mutable_tokenization()->set_doubled_bos(request.texts(0).find('B') != std::string::npos);
              return grpc::Status::OK;
            });
    args.insert(args.begin(), "tokenize");
    return rig_.Run(args);
  }

  CommandRig rig_;
  v1::TokenizeRequest request_;
};

TEST_F(TokenizeTest, IdsAsOtherCommandsTakeThem) {
  EXPECT_EQ(Run({"ab", "--model", "m", "--add-special-tokens", "false"}), kExitOk);
  EXPECT_EQ(rig_.out(), "97,98\n");
  EXPECT_EQ(request_.model(), "m");
  EXPECT_FALSE(request_.tokenization().add_special_tokens());
  EXPECT_TRUE(request_.tokenization().has_add_special_tokens());
}

TEST_F(TokenizeTest, ATableOfTokens) {
  EXPECT_EQ(Run({"aB", "--tokens"}), kExitOk);
  EXPECT_EQ(rig_.out(), "position  token id  text\n       0        97  \"a\"\n       1        66  \"B\"\ntokens: 2\n");
  EXPECT_THAT(rig_.err(), HasSubstr("begins with BOS"));
}

TEST_F(TokenizeTest, StandardInputKeepsItsNewline) {
  rig_.SetInput(
      "\xEF\xBB\xBF"
      "a\n");
  EXPECT_EQ(Run({}), kExitOk);
  EXPECT_EQ(rig_.out(), "97,10\n");
}

TEST_F(TokenizeTest, AFile) {
  const std::string path = std::filesystem::temp_directory_path() / "logitd-tokenize-test.txt";
  std::ofstream(path) << "xyz";
  EXPECT_EQ(Run({"--file", path, "--json"}), kExitOk);
  EXPECT_THAT(rig_.out(), HasSubstr("\"token_ids\":[120,121,122]"));
  std::filesystem::remove(path);
}

TEST_F(TokenizeTest, TextThatIsNotUtf8IsRefused) {
  rig_.SetInput("a\xff");
  EXPECT_EQ(Run({"-"}), kExitUsage);
  EXPECT_THAT(rig_.err(), HasSubstr("standard input is not UTF-8"));
}

TEST_F(TokenizeTest, MissingAndContradictingTexts) {
  for (const std::vector<std::string>& args : {std::vector<std::string>{"tokenize"},
                                               {"tokenize", "a", "b"},
                                               {"tokenize", "a", "--file", "f"},
                                               {"tokenize", "--file", "/nobody"},
                                               {"tokenize", "a", "--ids", "1"},
                                               {"tokenize", "--tokens", "--ids", "1"},
                                               {"tokenize", "a", "--render-special-tokens"}}) {
    CommandRig rig;
    EXPECT_EQ(rig.Run(args), kExitUsage);
  }
}

TEST_F(TokenizeTest, IdsBecomeTextWithTheirBytes) {
  EXPECT_CALL(rig_.models(), Detokenize)
      .WillOnce([](grpc::ClientContext*, const v1::DetokenizeRequest& request, v1::DetokenizeResponse* response) {
        EXPECT_EQ(request.tokens(0).token_ids_size(), 2);
        EXPECT_TRUE(request.render_special_tokens());
        response->add_texts()->set_text("\xEF\xBF\xBD");
        response->mutable_texts(0)->set_raw_bytes("\xe2\x82");
        return grpc::Status::OK;
      });
  EXPECT_EQ(rig_.Run({"tokenize", "--ids", "7,8", "--render-special-tokens"}), kExitOk);
  EXPECT_EQ(rig_.out(), "\xe2\x82\n");
}

}  // namespace
}  // namespace logitd::cli
