#include "server/options.h"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "base/model_name.h"
#include "base/status_macros.h"
#include "core/kernel_target.h"
#include "host/cache_dir.h"
#include "server/calibration_files.h"
#include "server/head_loader.h"
#include "server/limits.h"
#include "server/listen_address.h"
#include "server/start_checks.h"

namespace logitd::server {
namespace {

using config::v1::ServerConfig;

constexpr std::chrono::hours kMaxTime{1};
constexpr std::chrono::hours kMaxIdleTime{24};

// "10s", "500ms", "2m", "1h" or plain seconds.
absl::StatusOr<std::chrono::milliseconds> ParseTime(const std::string& origin, const std::string& text,
                                                    std::chrono::milliseconds least, std::chrono::hours most) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  const std::map<std::string, double> units = {{"ms", 1}, {"s", 1e3}, {"", 1e3}, {"m", 60e3}, {"h", 3600e3}};
  const auto unit = units.find(end);
  const double time = unit == units.end() || end == text.c_str() ? -1 : value * unit->second;
  // NaN compares false.
  if (time >= static_cast<double>(least.count()) &&
      time <= static_cast<double>(std::chrono::milliseconds(most).count())) {
    return std::chrono::milliseconds(static_cast<int64_t>(time));
  }
  return absl::InvalidArgumentError(origin + " must be a time such as 10s, 500ms or 2m, in [" +
                                    std::to_string(least.count()) + "ms, " + std::to_string(most.count()) + "h], got " +
                                    text);
}

// The value whose name is `word`.
template <typename Value>
absl::StatusOr<Value> OneOf(const std::string& origin, const std::string& word,
                            std::initializer_list<std::pair<const char*, Value>> values) {
  std::string names;
  for (const auto& [name, value] : values) {
    if (word == name) return value;
    names += std::string(names.empty() ? "" : ", ") + name;
  }
  return absl::InvalidArgumentError(origin + " must be one of " + names + ", got " + word);
}

// Refuses options of runners if there is no model, because they would have no effect. Options with their default value
// pass, because --check-config prints them. So does the cache folder, which the scripts use, too.
absl::Status CheckNoRunnerOptions(const Config& config) {
  const ServerConfig defaults = DefaultConfig();
  for (const ConfigField* field : ConfigFields()) {
    const std::string& name = field->name();
    if (name != "runners" && name != "threads" && name != "precision" && name != "context_length" &&
        name != "cache_tokens" && name != "max_sequences") {
      continue;
    }
    if (WordsOf(*field, config.values) == WordsOf(*field, defaults)) continue;
    return absl::InvalidArgumentError(config.OriginOf(name) +
                                      " is an option of the model's runners, and needs --model FILE");
  }
  return absl::OkStatus();
}

absl::Status CheckModel(const Config& config, Options& options) {
  const ServerConfig& values = config.values;
  options.model_file = values.model();
  options.model_name = values.model_name();
  if (options.model_file.empty()) {
    // Typically `--model "$(command)"` with a command that failed.
    if (const auto origin = config.origins.find("model");
        origin != config.origins.end() && origin->second == "--model") {
      return absl::InvalidArgumentError("--model must be the path of a GGUF file, got an empty text");
    }
    if (!options.model_name.empty()) {
      return absl::InvalidArgumentError(config.OriginOf("model_name") + " needs --model FILE, the model that it names");
    }
    return CheckNoRunnerOptions(config);
  }
  if (options.model_name.empty()) options.model_name = ModelNameOf(options.model_file);
  if (!IsModelName(options.model_name)) {
    return absl::InvalidArgumentError(config.OriginOf("model_name") + " must be " + kModelNameRule + ", got " +
                                      options.model_name);
  }
  RETURN_IF_ERROR(CheckModelFile(config.OriginOf("model"), options.model_file));
  return CheckContextLength(config.OriginOf("context_length"), options.context_length, options.model_file);
}

// Refuses the other options of HTTP without --http, as CheckNoRunnerOptions does those of runners.
absl::Status CheckHttp(const Config& config, Options& options) {
  const ServerConfig& values = config.values;
  options.http = values.http();
  if (options.http.empty()) {
    const ServerConfig defaults = DefaultConfig();
    for (const ConfigField* field : ConfigFields()) {
      const std::string& name = field->name();
      if (!name.starts_with("http_") || WordsOf(*field, values) == WordsOf(*field, defaults)) continue;
      return absl::InvalidArgumentError(config.OriginOf(name) + " needs --http ADDRESS");
    }
    return absl::OkStatus();
  }
  const std::string origin = config.OriginOf("http");
  RETURN_IF_ERROR(CheckClientAddress(origin, options.http, options.server.allow_plaintext));
  if (!SocketPath(options.http).empty()) {
    return absl::InvalidArgumentError(origin + " must be HOST:PORT, got " + options.http);
  }
  options.http_allowed_hosts = {values.http_allowed_host().begin(), values.http_allowed_host().end()};
  for (const std::string& host : options.http_allowed_hosts) {
    if (!host.empty() && !host.starts_with('-')) continue;
    return absl::InvalidArgumentError(config.OriginOf("http_allowed_host") + " must be the name of a host, got '" +
                                      host + "'");
  }
  options.http_max_queue = values.http_max_queue();
  return absl::OkStatus();
}

absl::Status CheckHeads(const Config& config, Options& options) {
  const std::string origin = config.OriginOf("head");
  const auto& texts = config.values.head();
  ASSIGN_OR_RETURN(options.heads, ParseHeadSpecs(origin, {texts.begin(), texts.end()}));
  for (const HeadSpec& spec : options.heads) {
    const absl::Status status = CheckHead(spec, HeadLoading());
    // What a file says is found by the start, too, which cannot serve then.
    if (!status.ok()) return absl::UnavailableError(origin + ": " + std::string(status.message()));
  }
  return absl::OkStatus();
}

absl::Status CheckKernelTarget(const Config& config, Options& options) {
  const std::string origin = config.OriginOf("kernel_target");
  ASSIGN_OR_RETURN(options.kernel_target,
                   OneOf<std::string>(origin, config.values.kernel_target(),
                                      {{"best", ""}, {"scalar", "SCALAR"}, {"avx2", "AVX2"}, {"avx512", "AVX512"}}));
  if (options.kernel_target.empty()) return absl::OkStatus();
  std::string available;
  for (const auto& target : AvailableKernelTargets()) {
    if (options.kernel_target == target) return absl::OkStatus();
    available += std::string(available.empty() ? "" : ", ") + std::string(target);
  }
  return absl::UnavailableError(origin + ": this CPU has no " + options.kernel_target + "; it has " + available);
}

}  // namespace

ServerConfig DefaultConfig() {
  ServerConfig config;
  config.add_listen("127.0.0.1:50051");
  config.set_runner_listen("");
  config.set_allow_plaintext(false);
  config.set_model("");
  config.set_model_name("");
  config.set_runners(1);
  config.set_threads(0);
  config.set_context_length(0);
  config.set_cache_tokens(0);
  config.set_max_sequences(0);
  config.set_precision("auto");
  config.set_cache_dir(host::DefaultCacheDir());
  config.set_kernel_target("best");
  config.set_grace_period("10s");
  config.set_max_idle("10m");
  config.set_max_stall("30s");
  config.set_max_calls(kMaxCalls);
  config.set_max_open_streams(kMaxOpenStreams);
  config.set_no_prefix_cache(false);
  config.set_reproducible(false);
  config.set_record_cache_bytes(kRecordCacheBytes);
  config.set_http("");
  config.set_http_max_queue(4096);
  config.set_http_max_wait("5m");
  config.set_log_format("text");
  config.set_log_level("info");
  return config;
}

absl::StatusOr<Options> ToOptions(const Config& config) {
  const ServerConfig& values = config.values;
  Options options;
  ServerOptions& server = options.server;
  server.allow_plaintext = values.allow_plaintext();
  for (const std::string& address : values.listen()) {
    RETURN_IF_ERROR(CheckClientAddress(config.OriginOf("listen"), address, server.allow_plaintext));
    server.listen.push_back(address);
  }
  server.runner_listen = values.runner_listen();
  if (!server.runner_listen.empty()) {
    RETURN_IF_ERROR(CheckRunnerAddress(config.OriginOf("runner_listen"), server.runner_listen, server.allow_plaintext));
  }
  using std::chrono::milliseconds;
  ASSIGN_OR_RETURN(options.grace_period,
                   ParseTime(config.OriginOf("grace_period"), values.grace_period(), milliseconds(0), kMaxTime));
  ASSIGN_OR_RETURN(server.max_idle,
                   ParseTime(config.OriginOf("max_idle"), values.max_idle(), milliseconds(1), kMaxIdleTime));
  ASSIGN_OR_RETURN(server.max_stall,
                   ParseTime(config.OriginOf("max_stall"), values.max_stall(), milliseconds(1), kMaxTime));
  for (const ConfigField* field : ConfigFields()) {
    const bool is_narrow = field->cpp_type() == ConfigField::CPPTYPE_INT32;
    if (!is_narrow && field->cpp_type() != ConfigField::CPPTYPE_INT64) continue;
    const google::protobuf::Reflection& reflection = *ServerConfig::GetReflection();
    const int64_t value = is_narrow ? reflection.GetInt32(values, field) : reflection.GetInt64(values, field);
    RETURN_IF_ERROR(CheckRange(*field, config.OriginOf(field->name()), value));
  }
  server.max_calls = values.max_calls();
  server.max_open_streams = values.max_open_streams();
  server.no_prefix_cache = values.no_prefix_cache();
  server.reproducible = values.reproducible();
  server.record_cache_bytes = values.record_cache_bytes();
  ASSIGN_OR_RETURN(server.calibrations, ReadCalibrations(config.OriginOf("calibration"),
                                                         {values.calibration().begin(), values.calibration().end()}));
  options.runners = values.runners();
  options.threads = values.threads();
  options.context_length = values.context_length();
  options.cache_tokens = values.cache_tokens();
  options.max_sequences = values.max_sequences();
  ASSIGN_OR_RETURN(options.precision,
                   OneOf<std::string>(config.OriginOf("precision"), values.precision(),
                                      {{"auto", "auto"}, {"native", "native"}, {"f16", "f16"}, {"f32", "f32"}}));
  options.cache_dir = values.cache_dir();
  ASSIGN_OR_RETURN(options.log_format, OneOf<LogFormat>(config.OriginOf("log_format"), values.log_format(),
                                                        {{"text", LogFormat::kText}, {"json", LogFormat::kJson}}));
  ASSIGN_OR_RETURN(options.log_level, OneOf<LogLevel>(config.OriginOf("log_level"), values.log_level(),
                                                      {{"debug", LogLevel::kDebug},
                                                       {"info", LogLevel::kInfo},
                                                       {"warn", LogLevel::kWarn},
                                                       {"error", LogLevel::kError},
                                                       {"off", LogLevel::kOff}}));
  ASSIGN_OR_RETURN(options.http_max_wait, ParseTime(config.OriginOf("http_max_wait"), values.http_max_wait(),
                                                    milliseconds(1000), kMaxIdleTime));
  RETURN_IF_ERROR(CheckHttp(config, options));
  RETURN_IF_ERROR(CheckModel(config, options));
  RETURN_IF_ERROR(CheckHeads(config, options));
  options.ignored_variables = config.ignored_variables;
  RETURN_IF_ERROR(CheckKernelTarget(config, options));
  return options;
}

}  // namespace logitd::server
