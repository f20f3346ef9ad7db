// The log: lines on standard error, as text for people or as JSON for programs.
//
//   Log(LogLevel::kInfo, "runner attached", {{"model", name}, {"runner", runner_id}});
//
//   2026-01-31T12:00:00.123Z info runner attached model=smollm2 runner=1
//   {"time":"2026-01-31T12:00:00.123Z","level":"info","message":"runner attached","model":"smollm2","runner":1}
//
// No user data is ever logged: no prompts, texts, token ids, logits or log-probs; names of models, methods, statuses,
// counts and times are. Control characters are escaped, and bytes that are not UTF-8 replaced: a line is one line.
//
// Thread-safe.
#ifndef LOGITD_SERVER_LOGGING_H_
#define LOGITD_SERVER_LOGGING_H_

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <variant>

namespace logitd::server {

enum class LogFormat { kText, kJson };
enum class LogLevel { kDebug, kInfo, kWarn, kError, kOff };

struct LogField {
  std::string_view name;
  std::variant<std::string, int64_t, double> value;
};

// Once, before the first line. Until then lines are text, from kInfo on.
void SetUpLog(LogFormat format, LogLevel level);
// Whether lines of this level are written: to spare the making of their fields.
bool IsLogged(LogLevel level);
void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});
// Why the process cannot start or go on, whatever the level:
//
//   logitd: --runners must be in [1, 64], got 99
//   {"time":"2026-01-31T12:00:00.123Z","level":"error","message":"failed","error":"--runners must be in [1, 64], got
//   99"}
void ReportFailure(std::string_view error);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_LOGGING_H_
