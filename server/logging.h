// The log: lines on standard error, as text for people or as JSON for programs.
//
//   Log(LogLevel::kInfo, "runner attached", {{"model", name}, {"runner", runner_id}});
//
//   2026-01-31T12:00:00.123Z info runner attached model=smollm2 runner=1
//   {"time":"2026-01-31T12:00:00.123Z","level":"info","message":"runner attached","model":"smollm2","runner":1}
//
// - The log holds no user data: no prompts, texts, token ids, logits or log-probs. It holds names of models, methods,
//   statuses, counts and times.
// - Control characters are escaped and bytes that are not UTF-8 are replaced, so an entry is always one line.
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

// Call once, before the first line. Until then lines are text, of kInfo and above.
void SetUpLog(LogFormat format, LogLevel level);
// Whether lines of this level are written. Check it before making costly fields.
bool IsLogged(LogLevel level);
void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});
// Writes why the process cannot start or go on, at every level:
//
//   logitd: --runners must be in [1, 64], got 99
//   {"time":"2026-01-31T12:00:00.123Z","level":"error","message":"failed","error":"--runners must be in [1, 64], got
//   99"}
void ReportFailure(std::string_view error);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_LOGGING_H_
