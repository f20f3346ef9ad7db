#include "server/foreign_logs.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include <stdexcept>
#include <thread>

#include "gtest/gtest.h"
#include "server/logging.h"

namespace logitd::server {
namespace {

// In processes of their own: what is set up here holds for a whole process.
TEST(ForeignLogsDeathTest, ExceptionThatNobodyCatchesIsOneLine) {
  const auto end = [](LogFormat format) {
    RouteForeignLogs();
    SetUpLog(format, LogLevel::kOff);
    std::thread([] { throw std::runtime_error("boom \x1b"); }).join();
  };
  EXPECT_DEATH(end(LogFormat::kText), "^logitd: an exception that nobody catches: boom");
  EXPECT_DEATH(end(LogFormat::kJson),
               "^.\"time\":\"[^\"]*\",\"level\":\"error\",\"message\":\"failed\",\"error\":\"an exception that nobody "
               "catches: boom .u001b\".\n$");
}

TEST(ForeignLogsDeathTest, LibrariesWriteToTheLog) {
  const auto say = [] {
    RouteForeignLogs();
    SetUpLog(LogFormat::kJson, LogLevel::kDebug);
    GOOGLE_LOG(ERROR) << "of protobuf";
    gpr_set_log_verbosity(GPR_LOG_SEVERITY_DEBUG);
    gpr_log(GPR_ERROR, "of gRPC");
    std::abort();
  };
  EXPECT_DEATH(
      say(),
      "^.\"time\":\"[^\"]*\",\"level\":\"debug\",\"message\":\"protobuf says\",\"line\":\"of "
      "protobuf\",[^\n]*.\n.\"time\":\"[^\"]*\",\"level\":\"warn\",\"message\":\"grpc says\",\"line\":\"of gRPC\"");
}

}  // namespace
}  // namespace logitd::server
