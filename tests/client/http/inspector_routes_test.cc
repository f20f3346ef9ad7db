#include "client/http/inspector_routes.h"

#include <set>
#include <string>
#include <thread>

#include "client/http/http_server.h"
#include "client/http/inspector_files.h"
#include "gmock/gmock.h"

namespace logitd::http {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class InspectorRoutesTest : public ::testing::Test {
 protected:
  InspectorRoutesTest() : server_({.bounds = {}, .allowed_hosts = {"127.0.0.1"}}) {
    AddInspectorRoutes(server_);
    EXPECT_TRUE(server_.Listen("127.0.0.1", 0).ok());
    serving_ = std::thread([this] { server_.Serve(); });
  }
  ~InspectorRoutesTest() override {
    server_.Stop();
    serving_.join();
  }

  httplib::Client Client() { return httplib::Client("127.0.0.1", server_.port()); }
  httplib::Result Get(const std::string& path, const httplib::Headers& headers = {}) {
    return Client().Get(path, headers);
  }

 private:
  HttpServer server_;
  std::thread serving_;
};

std::string PathOf(const InspectorFile& file) {
  return file.name == "index.html" ? "/" : "/inspector/" + std::string(file.name);
}

TEST_F(InspectorRoutesTest, EveryFileIsServedAsItIs) {
  std::set<std::string_view> types;
  for (const InspectorFile& file : InspectorFiles()) {
    const httplib::Result reply = Get(PathOf(file));
    ASSERT_TRUE(reply) << file.name;
    EXPECT_EQ(reply->status, 200) << file.name;
    EXPECT_EQ(reply->body, file.content);
    EXPECT_EQ(reply->get_header_value("Content-Type"), file.content_type);
    types.insert(file.content_type);
  }
  EXPECT_THAT(types, ::testing::IsSupersetOf({"text/html; charset=utf-8", "text/css; charset=utf-8",
                                              "text/javascript; charset=utf-8", "image/svg+xml"}));
  EXPECT_EQ(Get("/inspector/index.html")->status, 404);
  EXPECT_EQ(Get("/inspector/")->status, 404);
  EXPECT_EQ(Get("/inspector/../api.cc")->status, 404);
}

TEST_F(InspectorRoutesTest, HeadersForbidWhatThePageDoesNotNeed) {
  for (const InspectorFile& file : InspectorFiles()) {
    const httplib::Result reply = Get(PathOf(file));
    ASSERT_TRUE(reply) << file.name;
    const std::string policy = reply->get_header_value("Content-Security-Policy");
    EXPECT_THAT(policy, AllOf(HasSubstr("default-src 'none';"), HasSubstr("script-src 'self';"),
                              HasSubstr("style-src 'self';"), HasSubstr("connect-src 'self';"),
                              HasSubstr("frame-ancestors 'none';"), HasSubstr("base-uri 'none';"),
                              HasSubstr("form-action 'none';"), HasSubstr("require-trusted-types-for 'script'")));
    EXPECT_THAT(policy, AllOf(Not(HasSubstr("unsafe")), Not(HasSubstr("*")), Not(HasSubstr("http"))));
    EXPECT_EQ(reply->get_header_value("X-Content-Type-Options"), "nosniff");
    EXPECT_EQ(reply->get_header_value("Referrer-Policy"), "no-referrer");
    EXPECT_EQ(reply->get_header_value("X-Frame-Options"), "DENY");
    EXPECT_EQ(reply->get_header_value("Cross-Origin-Resource-Policy"), "same-origin");
    // Once: "no-store" of the API's replies is not there too.
    EXPECT_EQ(reply->get_header_value_count("Cache-Control"), 1);
    EXPECT_EQ(reply->get_header_value("Cache-Control"), "no-cache");
    EXPECT_FALSE(reply->has_header("Access-Control-Allow-Origin"));
  }
}

TEST_F(InspectorRoutesTest, AnUnchangedFileIsNotSentAgain) {
  const std::string tag = Get("/")->get_header_value("ETag");
  EXPECT_THAT(tag, ::testing::MatchesRegex("\"[0-9a-f]+\""));
  for (const std::string& known : {tag, "W/" + tag, "\"0\", " + tag, std::string("*")}) {
    const httplib::Result reply = Get("/", {{"If-None-Match", known}});
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 304) << known;
    EXPECT_THAT(reply->body, IsEmpty());
    EXPECT_EQ(reply->get_header_value("ETag"), tag);
    EXPECT_TRUE(reply->has_header("Content-Security-Policy"));
  }
  EXPECT_EQ(Get("/", {{"If-None-Match", "\"0000000000000000\""}})->status, 200);
  std::set<std::string_view> tags;
  for (const InspectorFile& file : InspectorFiles()) tags.insert(file.entity_tag);
  EXPECT_EQ(tags.size(), InspectorFiles().size());
}

TEST_F(InspectorRoutesTest, ForeignHostsAndOtherMethodsAreRefused) {
  for (const char* path : {"/", "/inspector/inspector.js"}) {
    EXPECT_EQ(Get(path, {{"Host", "evil.example"}})->status, 403);
    EXPECT_EQ(Client().Post(path, "{}", "application/json")->status, 405);
  }
}

TEST_F(InspectorRoutesTest, HeadHasTheHeadersAlone) {
  const httplib::Result reply = Client().Head("/");
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 200);
  EXPECT_THAT(reply->body, IsEmpty());
  EXPECT_EQ(reply->get_header_value("ETag"), Get("/")->get_header_value("ETag"));
  EXPECT_TRUE(reply->has_header("Content-Security-Policy"));
}

}  // namespace
}  // namespace logitd::http
