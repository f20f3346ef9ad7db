#include "client/logitd/address.h"

#include "gmock/gmock.h"

namespace logitd::client {
namespace {

using ::testing::HasSubstr;

struct Case {
  const char* name;
  const char* text;
  const char* target;
  bool is_local;
};

TEST(AddressTest, TakesHostPortAndUnixPath) {
  const Case cases[] = {
      {"ipv4 loopback", "127.0.0.1:50051", "dns:///127.0.0.1:50051", true},
      {"another loopback", "127.3.2.1:1", "dns:///127.3.2.1:1", true},
      {"localhost", "localhost:65535", "dns:///localhost:65535", true},
      {"ipv6 loopback", "[::1]:50051", "dns:///[::1]:50051", true},
      {"name", "logitd.example:443", "dns:///logitd.example:443", false},
      {"name that begins like localhost", "localhost.example:443", "dns:///localhost.example:443", false},
      {"unix path", "unix:/run/logitd.sock", "unix:/run/logitd.sock", true},
      {"relative unix path", "unix:logitd.sock", "unix:logitd.sock", true},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const absl::StatusOr<Address> address = ParseAddress(c.text);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(address->target, c.target);
    EXPECT_EQ(address->is_local, c.is_local);
  }
}

// The grammar's own cases are in tests/base/address_test.cc.
TEST(AddressTest, RefusesWhatIsNeitherAndSaysWhy) {
  for (const auto& [text, why] :
       {std::pair{"localhost", "no port"}, {"h:0", "[1, 65535]"}, {"::1:50051", "brackets"}}) {
    const absl::StatusOr<Address> address = ParseAddress(text);
    ASSERT_FALSE(address.ok());
    EXPECT_EQ(address.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(address.status().message()), HasSubstr(why));
    EXPECT_THAT(std::string(address.status().message()), HasSubstr(text));
  }
}

}  // namespace
}  // namespace logitd::client
