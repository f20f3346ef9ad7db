// ParseOptions of server/options.h: flags, --help, --version, --config and --check-config.
#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string_view>

#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "core/shown_text.h"
#include "server/logging.h"
#include "server/options.h"
#include "server/start_checks.h"
#include "server/version.h"

namespace logitd::server {
namespace {

constexpr char kConfigVariable[] = "LOGITD_CONFIG";
// The shown part of an unknown argument.
constexpr size_t kMaxShownBytes = 200;

constexpr char kExamples[] = R"(
Examples:
  logitd                          serve your own logits (Decode, ScoreLogits,
                                  ComputeDistribution) on 127.0.0.1:50051
  logitd --model model.gguf       serve a model, too
  logitd --model model.gguf --http 127.0.0.1:8000
                                  and OpenAI's API over HTTP
  logitd --listen 127.0.0.1:0     on any free port; the line "listening on
                                  ADDRESS" says which
  logitd --config logitd.textproto --check-config > effective.textproto

Each flag can be set in the environment (--listen is LOGITD_LISTEN, --cache-dir
is LOGITD_CACHE_DIR, ...) and in the file of --config (listen:
"127.0.0.1:50051", cache_dir: ..., one a line). A flag wins over the
environment, the environment over the file.
Exit status: 0 stopped in order, 1 cannot serve (model, port), 2 usage.)";

// Columns of a flag and of its text in the help: together those of the narrowest terminal.
constexpr size_t kFlagColumns = 30;
constexpr size_t kTextColumns = 50;

// Breaks `text`, which is ASCII, into lines of kTextColumns. CLI11 indents them.
std::string InLines(const std::string& text) {
  std::string out;
  size_t column = 0;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const bool fits = column + 1 + word.size() <= kTextColumns;
    if (column > 0) out += fits ? ' ' : '\n';
    column = (column > 0 && fits ? column + 1 : 0) + word.size();
    out += word;
  }
  return out;
}

// The help of an option: the name of its value, and its text.
struct Help {
  const char* value;
  const char* text;
};
const std::map<std::string, Help>& HelpOfOptions() {
  static const auto& help = *new std::map<std::string, Help>{
      {"listen", {"ADDRESS", "Address for clients, HOST:PORT or unix:PATH; repeatable"}},
      {"runner_listen", {"ADDRESS", "Address for model runners; default: a socket in a private directory"}},
      {"allow_plaintext", {"", "Listen off loopback without TLS"}},
      {"model", {"FILE", "GGUF file to serve, with a logitd-llama that this process supervises"}},
      {"model_name", {"NAME", "Name that clients use; default: the file's stem"}},
      {"runners", {"N", "Runners of the model, 1 to 64"}},
      {"threads", {"N", "Threads of each runner; 0: as many as CPUs are free, divided among the runners"}},
      {"context_length", {"N", "Longest sequence, in tokens; 0: the length that the model was trained with"}},
      {"cache_tokens",
       {"N", "Tokens in all caches of a runner; 0: as many as the memory holds, at most twice the context length"}},
      {"max_sequences", {"N", "Sequences with a cache at once, of each runner, 1 to 64; 0: 64"}},
      {"precision", {"NAME", "f32, f16, native (the file as it is), or auto: f32 for the default model, else native"}},
      {"cache_dir", {"DIR", "Where converted models are kept"}},
      {"kernel_target", {"NAME", "scalar, avx2, avx512, or best: of this CPU"}},
      {"grace_period", {"TIME", "How long running calls may take to end after SIGTERM"}},
      {"max_idle", {"TIME", "How long a Decode or ScoreLogits stream may be silent"}},
      {"max_stall", {"TIME", "How long a client may leave its reply unread"}},
      {"max_calls", {"N", "Calls that run at once, streams not counted, 1 to 65536"}},
      {"max_open_streams", {"N", "Decode and ScoreLogits streams at once, 1 to 65536"}},
      {"no_prefix_cache", {"", "Evaluate every request as though nothing had been evaluated before"}},
      {"reproducible",
       {"", "Score, Rank and Decide evaluate each sequence by itself: equal bits each time, at a cost"}},
      {"calibration", {"NAME=FILE", "A file of `logit calibrate`, which requests call NAME; repeat for more"}},
      {"record_cache_bytes", {"N", "Bytes of records of evaluated rows that are kept; 0: none"}},
      {"head",
       {"NAME=FILE[,KEY=VALUE...]",
        "Read a head, which makes logits of hidden states, from a safetensors or GGUF file; keys: weight, bias, "
        "layout, "
        "norm, norm_eps, logit_scale, soft_cap; repeatable"}},
      {"http",
       {"ADDRESS", "Address of OpenAI's API over HTTP, HOST:PORT, with a logitd-http that this process supervises"}},
      {"http_allowed_host", {"NAME", "Name that the Host header of a request may have; repeatable"}},
      {"http_max_queue", {"N", "Calls over HTTP that wait for their turn; one more gets 503"}},
      {"http_max_wait", {"TIME", "How long a call over HTTP may wait for its turn; after it, it gets 503"}},
      {"log_format", {"FORM", "text or json: one object a line"}},
      {"log_level", {"LEVEL", "debug (a line for every call), info, warn, error or off"}},
  };
  return help;
}

// The flags of the command line.
struct CommandLine {
  std::map<const ConfigField*, std::vector<std::string>> flags;
  std::string config_file;
  bool check_config = false;
};

absl::StatusOr<Config> Gather(const CommandLine& command_line) {
  Config config{DefaultConfig(), {}, {}};
  std::string file = command_line.config_file;
  if (const char* variable = std::getenv(kConfigVariable); file.empty() && variable != nullptr) file = variable;
  if (!file.empty()) RETURN_IF_ERROR(AddFile(file, config));
  RETURN_IF_ERROR(AddEnvironment(config));
  for (const auto& [field, words] : command_line.flags) {
    const bool is_absent_switch = field->cpp_type() == ConfigField::CPPTYPE_BOOL && words.front().empty();
    if (!words.empty() && !is_absent_switch) RETURN_IF_ERROR(AddFlag(*field, words, config));
  }
  return config;
}

// The last value of `flag` on the command line, else the value of `variable`, else "".
std::string WordOf(std::string_view flag, const char* variable, int argc, char** argv) {
  const char* value = std::getenv(variable);
  std::string word = value == nullptr ? "" : value;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == flag && i + 1 < argc) word = argv[i + 1];
    if (argument.starts_with(flag) && argument.substr(flag.size()).starts_with('='))
      word = argument.substr(flag.size() + 1);
  }
  return word;
}

// Whether a line of the file begins with `log_format: "json"`. The file may be malformed.
bool FileAsksForJson(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    std::erase_if(line, [](char c) { return c == ' ' || c == '\t'; });
    if (line.starts_with("log_format:\"json\"") || line.starts_with("log_format:'json'")) return true;
  }
  return false;
}

// Whether the options ask for JSON logs. Known before any check, so that errors of the options have the right form.
bool AsksForJson(int argc, char** argv) {
  const std::string format = WordOf("--log-format", "LOGITD_LOG_FORMAT", argc, argv);
  return format.empty() ? FileAsksForJson(WordOf("--config", kConfigVariable, argc, argv)) : format == "json";
}

ParsedOptions Fail(const absl::Status& status, int exit_status) {
  ReportFailure(std::string(status.message()));
  return {std::nullopt, exit_status};
}

// The result after printing: an error if standard output cannot be written.
ParsedOptions Printed() {
  std::cout.flush();
  if (std::cout) return {std::nullopt, 0};
  return Fail(absl::UnavailableError(std::string("cannot write standard output: ") + std::strerror(errno)),
              kCannotServe);
}

}  // namespace

ParsedOptions ParseOptions(int argc, char** argv) {
  if (AsksForJson(argc, argv)) SetUpLog(LogFormat::kJson, LogLevel::kInfo);
  const config::v1::ServerConfig defaults = DefaultConfig();
  CommandLine command_line;
  CLI::App app("logitd: decoding and scoring of language models, as a gRPC service.", "logitd");
  app.footer(kExamples);
  app.get_formatter()->column_width(kFlagColumns);
  app.set_version_flag("--version", std::string("logitd ") + kVersion);
  for (const ConfigField* field : ConfigFields()) {
    const Help& help = HelpOfOptions().at(field->name());
    std::vector<std::string>& words = command_line.flags[field];
    if (field->cpp_type() == ConfigField::CPPTYPE_BOOL) {
      // "--flag" and "--flag=false".
      app.add_flag(FlagOf(*field), words.emplace_back(), InLines(help.text));
      continue;
    }
    CLI::Option& option = *app.add_option(FlagOf(*field), words, InLines(help.text));
    option.type_name(help.value)->default_str(absl::StrJoin(WordsOf(*field, defaults), ","));
    if (!field->is_repeated()) option.expected(1);
    // Each occurrence takes one word. The field decides whether a flag may occur twice.
    option.multi_option_policy(CLI::MultiOptionPolicy::TakeAll)->allow_extra_args(false);
  }
  app.add_option("--config", command_line.config_file, "File of options, in protobuf's text format")->type_name("FILE");
  app.add_flag("--check-config", command_line.check_config,
               InLines("Check all options, print them as a file for --config, and end"));
  // The code below reports unknown arguments, because CLI11 lists them in reverse order.
  app.allow_extras();
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {
    app.exit(wanted);
    return Printed();
  } catch (const CLI::ParseError& error) {
    ReportFailure(std::string(error.what()) + "; `logitd --help` lists the flags");
    return {std::nullopt, kUsageError};
  }
  if (const std::vector<std::string> extras = app.remaining(); !extras.empty()) {
    const bool is_flag = extras.front().size() > 1 && extras.front().front() == '-';
    ReportFailure((is_flag ? "unknown flag " : "unexpected argument ") + OnOneLine(extras.front(), kMaxShownBytes) +
                  "; `logitd --help` lists the flags");
    return {std::nullopt, kUsageError};
  }
  auto config = Gather(command_line);
  if (!config.ok()) return Fail(config.status(), kUsageError);
  SetUpLog(config->values.log_format() == "json" ? LogFormat::kJson : LogFormat::kText, LogLevel::kInfo);
  auto options = ToOptions(*config);
  if (!options.ok()) {
    const bool usage = command_line.check_config || options.status().code() == absl::StatusCode::kInvalidArgument;
    return Fail(options.status(), usage ? kUsageError : kCannotServe);
  }
  if (!command_line.check_config) return {*std::move(options), 0};
  if (!options->model_file.empty()) {
    const absl::Status cache =
        CheckCacheDir(config->OriginOf("cache_dir"), options->cache_dir, options->model_file, options->precision);
    if (!cache.ok()) return Fail(cache, kUsageError);
  }
  for (const std::string& name : options->ignored_variables) {
    std::cerr << "logitd: " << name << " is not an option of logitd: ignored\n";
  }
  config->values.set_model_name(options->model_name);
  std::cout << ToText(config->values);
  return Printed();
}

}  // namespace logitd::server
