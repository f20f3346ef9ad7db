// GetServerInfo, the cases of limits_test.cc and load_limits_test.cc, and docs/operations.md have the same limits.
#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

// A limit's value as docs/operations.md shows it: "64 MiB", "1,024", or the flag that sets it.
std::string Documented(const std::string& name, int64_t value) {
  for (const char* flag : {"max_calls", "max_open_streams", "max_idle", "max_stall"}) {
    if (name != flag && name != flag + std::string("_ms")) continue;
    std::string shown = std::string("`--") + flag + "`";
    std::replace(shown.begin(), shown.end(), '_', '-');
    return shown;
  }
  for (const auto& [shift, unit] : {std::pair{30, " GiB"}, {20, " MiB"}, {10, " KiB"}}) {
    if (name.find("_bytes") != std::string::npos && value % (int64_t{1} << shift) == 0)
      return std::to_string(value >> shift) + unit;
  }
  std::string digits = std::to_string(value);
  for (size_t i = digits.size(); i > 3;) digits.insert(i -= 3, ",");
  return digits;
}

// The table of GetServerInfo is complete, and so are the cases above; docs/operations.md has the same values.
TEST(LimitsTableTest, EveryLimitHasAValueAndACase) {
  std::set<std::string> cases;
  const auto& tests = *::testing::UnitTest::GetInstance();
  for (int i = 0; i < tests.total_test_suite_count(); ++i) {
    const auto& suite = *tests.GetTestSuite(i);
    if (std::string(suite.name()) != "LimitsTest") continue;
    for (int j = 0; j < suite.total_test_count(); ++j) cases.insert(suite.GetTestInfo(j)->name());
  }
  const auto server = Server::Start({.listen = {"127.0.0.1:0"}});
  ASSERT_TRUE(server.ok());
  const auto stub =
      v1::ServerService::NewStub(grpc::CreateChannel((*server)->addresses()[0], grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  v1::GetServerInfoResponse response;
  ASSERT_TRUE(stub->GetServerInfo(&context, {}, &response).ok());
  std::ifstream file(LOGITD_DOCS_DIR "/operations.md");
  const std::string document{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::set<std::string> fields;
  const auto& descriptor = *v1::Limits::descriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    fields.insert(descriptor.field(i)->name());
    const auto& field = *descriptor.field(i);
    const auto& reflection = *v1::Limits::GetReflection();
    EXPECT_TRUE(reflection.HasField(response.limits(), &field)) << field.name() << " is not reported";
    const int64_t value = field.cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_INT64
                              ? reflection.GetInt64(response.limits(), &field)
                              : reflection.GetInt32(response.limits(), &field);
    const std::string row = "| `" + field.name() + "` | " + Documented(field.name(), value) + " |";
    EXPECT_NE(document.find(row), std::string::npos) << "docs/operations.md has no " << row;
  }
  EXPECT_EQ(cases, fields);
}

}  // namespace
}  // namespace logitd::server
