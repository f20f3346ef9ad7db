// ModelService.RenderChat through a real server: what reaches the runner, what comes back, and what is refused before.
#include <gmock/gmock.h>

#include <string>

#include "core/limits.h"
#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::Describe;
using logitd::testing::ErrorOf;
using logitd::testing::FakeTokens;
using logitd::testing::Parse;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

class RenderChatTest : public logitd::testing::InProcessServer {
 protected:
  grpc::Status Render(const std::string& request, v1::RenderChatResponse* response = nullptr) {
    return Send(Parse<v1::RenderChatRequest>(request), response);
  }
  grpc::Status Send(const v1::RenderChatRequest& request, v1::RenderChatResponse* response = nullptr) {
    v1::RenderChatResponse own;
    return models_->RenderChat(Context().get(), request, response == nullptr ? &own : response);
  }
};

TEST_F(RenderChatTest, TheRunnersTextAndTokensComeBack) {
  Attach({.chat_template = true});
  v1::RenderChatResponse response;
  ASSERT_EQ(Describe(Render(R"(chat { messages { role: "system" content: "be good" }
                                      messages { role: "user" content: "the cat" } })",
                            &response)),
            "OK");
  EXPECT_EQ(response.text(), "system be good.user the cat.assistant ");
  EXPECT_THAT(response.token_ids(), ElementsAreArray(FakeTokens(response.text())));
  EXPECT_EQ(response.provenance().model(), "fake");
  ASSERT_EQ(Describe(Render(R"(chat { messages { role: "user" content: "the cat" } add_generation_prompt: false })",
                            &response)),
            "OK");
  EXPECT_EQ(response.text(), "user the cat.");
}

TEST_F(RenderChatTest, AModelWithoutATemplateIsNamed) {
  Attach();
  const grpc::Status status = Render(R"(chat { messages { role: "user" content: "a" } })");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(ErrorOf(status)->reason(), v1::ERROR_REASON_CHAT_TEMPLATE_UNAVAILABLE);
  EXPECT_THAT(ErrorOf(status)->message(), HasSubstr("fake"));
}

TEST_F(RenderChatTest, TheTemplatesRefusalIsTheCallers) {
  Attach({.chat_template = true});
  const grpc::Status status = Render(R"(chat { messages { role: "user" } })");
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ErrorOf(status)->reason(), v1::ERROR_REASON_CHAT_TEMPLATE_FAILED);
  EXPECT_THAT(ErrorOf(status)->message(), HasSubstr("an empty message"));
}

TEST_F(RenderChatTest, BadConversationsAreRefusedBeforeTheRunner) {
  Attach({.chat_template = true});
  EXPECT_EQ(Describe(Render("")), "FIELD_REQUIRED of chat");
  EXPECT_EQ(Describe(Render("chat {}")), "FIELD_REQUIRED of chat.messages");
  EXPECT_EQ(Describe(Render("chat { messages { content: 'a' } }")), "FIELD_REQUIRED of chat.messages[0].role");
  for (const std::string role : {"User", "<s>", "1st", "us er", "r2345678901234567890123456789012x"}) {
    EXPECT_EQ(Describe(Render("chat { messages { role: '" + role + "' content: 'a' } }")),
              "FIELD_OUT_OF_RANGE of chat.messages[0].role")
        << role;
  }
  const std::string message = "messages { role: 'user' content: 'a' } ";
  EXPECT_EQ(Describe(Render("chat { " + message + "template_arguments { name: 'a b' } }")),
            "FIELD_OUT_OF_RANGE of chat.template_arguments[0].name");
  EXPECT_EQ(Describe(Render("chat { " + message + "template_arguments { name: 'messages' } }")),
            "FIELDS_EXCLUSIVE of chat.template_arguments[0].name");
  EXPECT_EQ(
      Describe(Render("chat { " + message + "template_arguments { name: 'a' } template_arguments { name: 'a' } }")),
      "FIELD_OUT_OF_RANGE of chat.template_arguments[1].name");
  EXPECT_EQ(Describe(Render("chat { " + message + "template_arguments { name: 'a' double_value: nan } }")),
            "FIELD_OUT_OF_RANGE of chat.template_arguments[0].double_value");
  EXPECT_EQ(Describe(Render("model: 'other' chat { " + message + " }")), "MODEL_NOT_FOUND of model");
}

TEST_F(RenderChatTest, SizesAreBounded) {
  Attach({.chat_template = true});
  v1::RenderChatRequest request;
  for (int i = 0; i <= kMaxSegments; ++i) {
    request.mutable_chat()->add_messages()->set_role("user");
  }
  EXPECT_EQ(Describe(Send(request)), "LIMIT_EXCEEDED of chat.messages");
  request.clear_chat();
  for (int i = 0; i < 65; ++i) {
    request.mutable_chat()->add_template_arguments()->set_name("a" + std::to_string(i));
  }
  request.mutable_chat()->add_messages()->set_role("user");
  EXPECT_EQ(Describe(Send(request)), "FIELD_OUT_OF_RANGE of chat.template_arguments");
  request.mutable_chat()->clear_template_arguments();
  request.mutable_chat()->mutable_messages(0)->set_content(std::string(static_cast<size_t>(kMaxTextBytes), 'a'));
  EXPECT_EQ(Describe(Send(request)), "LIMIT_EXCEEDED of chat");
}

}  // namespace
}  // namespace logitd::server
