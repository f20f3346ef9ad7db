#include "server/listen_address.h"

#include "gmock/gmock.h"
#include "server/server.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::IsOk;
using logitd::testing::StatusIs;
using ::testing::HasSubstr;

TEST(ListenAddressTest, FormsAreChecked) {
  for (const char* good : {"127.0.0.1:0", "localhost:50051", "[::1]:1", "unix:/tmp/x.sock", "0.0.0.0:65535"}) {
    EXPECT_THAT(CheckListenAddress("--listen", good), IsOk()) << good;
  }
  // The grammar's own cases are in tests/base/address_test.cc.
  for (const char* bad : {"", "50051", "host:x", "unix:", "::1:50051", "http://h:1"}) {
    EXPECT_THAT(CheckListenAddress("--listen", bad),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--listen")))
        << bad;
  }
  EXPECT_FALSE(CheckListenAddress("--listen", "unix:/" + std::string(200, 'x')).ok());
}

TEST(ListenAddressTest, LoopbackIsLocal) {
  EXPECT_TRUE(IsLocal("127.0.0.1:1"));
  EXPECT_TRUE(IsLocal("127.9.9.9:1"));
  EXPECT_TRUE(IsLocal("[::1]:1"));
  EXPECT_TRUE(IsLocal("unix:/tmp/x"));
  EXPECT_FALSE(IsLocal("0.0.0.0:1"));
  EXPECT_FALSE(IsLocal("[::]:1"));
  EXPECT_FALSE(IsLocal("example.org:1"));
  EXPECT_FALSE(IsLocal("127.example.org:1"));
}

TEST(ServerStartTest, RefusesWhatItMustNotServe) {
  const auto start = [](std::vector<std::string> listen) {
    return Server::Start({.listen = std::move(listen), .runner_listen = "", .allow_plaintext = false}).status();
  };
  EXPECT_THAT(start({"0.0.0.0:0"}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--allow-plaintext")));
  EXPECT_THAT(start({"nonsense"}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("HOST:PORT")));
  EXPECT_THAT(start({}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--listen")));
  const auto first = Server::Start({.listen = {"127.0.0.1:0"}, .runner_listen = "", .allow_plaintext = false});
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(start({(*first)->addresses()[0]}), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("in use")));
}

}  // namespace
}  // namespace logitd::server
