#include "server/logging.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

namespace logitd::server {
namespace {

// The fields of the line that this thread is writing; spdlog calls the formatter before Log returns.
thread_local std::span<const LogField> current_fields;

std::string Timestamp(std::chrono::system_clock::time_point time) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
  const std::time_t seconds = static_cast<std::time_t>(ms / 1000);
  std::tm parts = {};
  ::gmtime_r(&seconds, &parts);
  char text[40];
  std::snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900, parts.tm_mon + 1,
                parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, static_cast<int>(ms % 1000));
  return text;
}

const char* LevelName(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::trace:
    case spdlog::level::debug:
      return "debug";
    case spdlog::level::info:
      return "info";
    case spdlog::level::warn:
      return "warn";
    default:
      return "error";
  }
}

nlohmann::ordered_json ToJson(const LogField& field) {
  return std::visit([](const auto& value) { return nlohmann::ordered_json(value); }, field.value);
}

// The size of the character at `at` if it is one that some readers take for a line end, or terminals for a command, and
// that JSON need not escape: DEL, U+0080 to U+009F, U+2028 or U+2029. `text` is UTF-8.
size_t ControlBytes(std::string_view text, size_t at) {
  const std::string_view rest = text.substr(at, 3);
  if (rest[0] == '\x7f') return 1;
  if (rest.size() >= 2 && rest[0] == '\xc2' && static_cast<unsigned char>(rest[1]) <= 0x9f) return 2;
  return rest == "\xe2\x80\xa8" || rest == "\xe2\x80\xa9" ? 3 : 0;
}

// Replaces bytes that are not UTF-8 and escapes control characters, so an entry is always one valid line.
std::string Dump(const nlohmann::ordered_json& json) {
  const std::string dumped =
      json.dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::ordered_json::error_handler_t::replace);
  std::string text;
  text.reserve(dumped.size());
  for (size_t i = 0; i < dumped.size();) {
    const size_t size = ControlBytes(dumped, i);
    if (size == 0) {
      text += dumped[i++];
      continue;
    }
    const int code = size == 1   ? 0x7f
                     : size == 2 ? static_cast<unsigned char>(dumped[i + 1])
                                 : 0x2000 + static_cast<unsigned char>(dumped[i + 2]) - 0x80;
    char escaped[8];
    std::snprintf(escaped, sizeof(escaped), "\\u%04x", code);
    text += escaped;
    i += size;
  }
  return text;
}

bool IsBare(char c) { return c > ' ' && c < '\x7f' && c != '"' && c != '=' && c != '\\'; }

// In text form a value has no quotation marks if it is unambiguous without them.
std::string ShowValue(const LogField& field) {
  const std::string* text = std::get_if<std::string>(&field.value);
  if (text == nullptr) return Dump(ToJson(field));
  return !text->empty() && std::all_of(text->begin(), text->end(), IsBare) ? *text : Dump(ToJson(field));
}

std::string JsonLine(std::chrono::system_clock::time_point time, const char* level, std::string_view message,
                     std::span<const LogField> fields) {
  nlohmann::ordered_json json = {{"time", Timestamp(time)}, {"level", level}, {"message", std::string(message)}};
  for (const LogField& field : fields) json[std::string(field.name)] = ToJson(field);
  return Dump(json) + '\n';
}

class TextFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& line, spdlog::memory_buf_t& out) override {
    std::string text = Timestamp(line.time) + ' ' + LevelName(line.level) + ' ';
    text.append(line.payload.data(), line.payload.size());
    for (const LogField& field : current_fields) text.append(" ").append(field.name).append("=") += ShowValue(field);
    text += '\n';
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<formatter> clone() const override { return std::make_unique<TextFormatter>(); }
};

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& line, spdlog::memory_buf_t& out) override {
    const std::string text =
        JsonLine(line.time, LevelName(line.level), {line.payload.data(), line.payload.size()}, current_fields);
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<formatter> clone() const override { return std::make_unique<JsonFormatter>(); }
};

spdlog::level::level_enum ToSpdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      return spdlog::level::off;
  }
  return spdlog::level::off;
}

std::atomic<LogFormat> log_format{LogFormat::kText};

// Standard output has the line "listening on" only.
spdlog::logger& TheLog() {
  static const std::shared_ptr<spdlog::logger> log = [] {
    auto made = spdlog::stderr_logger_mt("logitd");
    made->set_formatter(std::make_unique<TextFormatter>());
    // Lines that other code writes through spdlog have the same form.
    spdlog::set_default_logger(made);
    return made;
  }();
  return *log;
}

}  // namespace

void SetUpLog(LogFormat format, LogLevel level) {
  log_format = format;
  if (format == LogFormat::kJson) {
    TheLog().set_formatter(std::make_unique<JsonFormatter>());
  } else {
    TheLog().set_formatter(std::make_unique<TextFormatter>());
  }
  TheLog().set_level(ToSpdlog(level));
}

bool IsLogged(LogLevel level) { return TheLog().should_log(ToSpdlog(level)); }

void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields) {
  current_fields = {fields.begin(), fields.size()};
  TheLog().log(ToSpdlog(level), spdlog::string_view_t(message.data(), message.size()));
  current_fields = {};
}

void ReportFailure(std::string_view error) {
  const LogField field = {"error", std::string(error)};
  const std::string line = log_format == LogFormat::kJson
                               ? JsonLine(std::chrono::system_clock::now(), "error", "failed", {&field, 1})
                               : "logitd: " + std::string(error) + "\n";
  // At every level, because a failing process must say why.
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace logitd::server
