#include "base/address.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using logitd::testing::IsOk;
using logitd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(HostAddressTest, TakesHostPortAndUnixPath) {
  struct Case {
    const char* text;
    const char* host;
    int port;
    const char* path;
    bool is_local;
  };
  for (const Case& c : std::vector<Case>{{"127.0.0.1:50051", "127.0.0.1", 50051, "", true},
                                         {"127.9.9.9:1", "127.9.9.9", 1, "", true},
                                         {"localhost:65535", "localhost", 65535, "", true},
                                         {"[::1]:50051", "[::1]", 50051, "", true},
                                         {"[::]:1", "[::]", 1, "", false},
                                         {"[fe80::1]:7", "[fe80::1]", 7, "", false},
                                         {"0.0.0.0:1", "0.0.0.0", 1, "", false},
                                         {"logitd.example:443", "logitd.example", 443, "", false},
                                         {"localhost.example:443", "localhost.example", 443, "", false},
                                         {"127.example.org:1", "127.example.org", 1, "", false},
                                         {"127.1:1", "127.1", 1, "", false},
                                         {"unix:/run/logitd.sock", "", 0, "/run/logitd.sock", true},
                                         {"unix:logitd.sock", "", 0, "logitd.sock", true}}) {
    for (const PortUse use : {PortUse::kListen, PortUse::kConnect}) {
      SCOPED_TRACE(c.text);
      const absl::StatusOr<HostAddress> address = ParseHostAddress(c.text, use);
      ASSERT_THAT(address, IsOk());
      EXPECT_EQ(address->host, c.host);
      EXPECT_EQ(address->port, c.port);
      EXPECT_EQ(address->path, c.path);
      EXPECT_EQ(address->IsLocal(), c.is_local);
    }
  }
}

TEST(HostAddressTest, PortZeroIsForListeningAlone) {
  EXPECT_THAT(ParseHostAddress("127.0.0.1:0", PortUse::kListen), IsOk());
  EXPECT_THAT(ParseHostAddress("127.0.0.1:0", PortUse::kConnect),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[1, 65535]")));
}

TEST(HostAddressTest, RefusesWhatIsNeitherAndSaysWhy) {
  const std::vector<std::pair<std::string, const char*>> cases = {
      {"", "no port"},
      {"localhost", "no port"},
      {"50051", "no port"},
      {":50051", "no host"},
      {"unix:", "no path"},
      {"unix:/" + std::string(107, 'x'), "shorter than 108 bytes, got 108"},
      {"h:65536", "65535]"},
      {"h:-1", "65535]"},
      {"h:", "65535]"},
      {"h:+5", "65535]"},
      {"h: 5", "65535]"},
      {"h:99999999999999999999", "65535]"},
      {"::1:50051", "brackets"},
      {"::", "brackets"},
      {"[nonsense]:1", "IPv6"},
      {"[]:1", "not a host name"},
      {"http://h/x:1", "leave out http://"},
      {"https://h:1", "leave out https://"},
      {"dns:///h:1", "leave out dns://"},
      {"h/x:1", "not a host name"},
      {"a b:1", "not a host name"},
      {"user@h:1", "not a host name"},
  };
  for (const auto& [text, why] : cases) {
    for (const PortUse use : {PortUse::kListen, PortUse::kConnect}) {
      EXPECT_THAT(ParseHostAddress(text, use),
                  StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(why), HasSubstr(text))))
          << text;
    }
  }
}

}  // namespace
}  // namespace logitd
