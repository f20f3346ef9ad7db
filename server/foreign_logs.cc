#include "server/foreign_logs.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include <cstdlib>
#include <exception>
#include <string>

#include "server/logging.h"

namespace logitd::server {
namespace {

void OnProtobufLine(google::protobuf::LogLevel level, const char* file, int line, const std::string& message) {
  const bool is_fatal = level == google::protobuf::LOGLEVEL_FATAL;
  Log(is_fatal ? LogLevel::kError : LogLevel::kDebug, "protobuf says",
      {{"line", message}, {"at", std::string(file) + ":" + std::to_string(line)}});
}

void OnGrpcLine(gpr_log_func_args* args) {
  const LogLevel level = args->severity == GPR_LOG_SEVERITY_ERROR  ? LogLevel::kWarn
                         : args->severity == GPR_LOG_SEVERITY_INFO ? LogLevel::kInfo
                                                                   : LogLevel::kDebug;
  Log(level, "grpc says",
      {{"line", std::string(args->message)}, {"at", std::string(args->file) + ":" + std::to_string(args->line)}});
}

[[noreturn]] void OnTerminate() {
  std::string what = "an exception that nobody catches";
  if (const std::exception_ptr current = std::current_exception()) {
    try {
      std::rethrow_exception(current);
    } catch (const std::exception& error) {
      what += std::string(": ") + error.what();
    } catch (...) {
    }
  }
  ReportFailure(what);
  std::abort();
}

}  // namespace

void RouteForeignLogs() {
  google::protobuf::SetLogHandler(OnProtobufLine);
  gpr_set_log_function(OnGrpcLine);
  std::set_terminate(OnTerminate);
}

}  // namespace logitd::server
