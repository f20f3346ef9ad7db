// ParseOptions of server/options.h: flags, --help, --version, --config and --check-config.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>
#include <map>
#include <string_view>

#include "core/status_macros.h"
#include "server/logging.h"
#include "server/options.h"
#include "server/start_checks.h"
#include "server/version.h"

namespace logitd::server {
namespace {

constexpr int kCannotServe = 1;
constexpr int kUsageError = 2;
constexpr char kConfigVariable[] = "LOGITD_CONFIG";

constexpr char kExamples[] = R"(
Examples:
  logitd                                     serve Decode and Distribution for your own logits on 127.0.0.1:50051
  logitd --model model.gguf                  serve a model, too
  logitd --listen 127.0.0.1:0                on any free port; the line "listening on ADDRESS" says which
  logitd --config logitd.textproto --check-config > effective.textproto

Each flag can be set in the environment (--listen is LOGITD_LISTEN, --cache-dir is LOGITD_CACHE_DIR, ...) and in the
file of --config (listen: "127.0.0.1:50051", cache_dir: ..., one a line). A flag wins over the environment, the
environment over the file.
Exit status: 0 stopped in order, 1 cannot serve (model, port), 2 usage.)";

// What --help says of an option: what stands for its value, and what it is.
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
      {"threads", {"N", "Threads of each runner; 0: the CPUs but one, divided among the runners"}},
      {"context_length", {"N", "Longest sequence, in tokens; 0: what the model was trained with"}},
      {"cache_tokens",
       {"N", "Tokens in all caches of a runner; 0: as many as the memory holds, at most twice the context length"}},
      {"max_sequences", {"N", "Sequences with a cache at once, of each runner, 1 to 64; 0: 64"}},
      {"precision", {"NAME", "f32, f16, native (the file as it is), or auto: f32 for the default model, else native"}},
      {"cache_dir", {"DIR", "Where converted models are kept"}},
      {"kernel_target", {"NAME", "scalar, avx2, avx512, or best: of this CPU"}},
      {"grace_period", {"TIME", "How long running calls may take to end after SIGTERM"}},
      {"max_idle", {"TIME", "How long a Decode or ScoreLogits stream may be silent"}},
      {"max_stall", {"TIME", "How long a client may leave its reply unread"}},
      {"log_format", {"FORM", "text or json: one object a line"}},
      {"log_level", {"LEVEL", "debug (a line for every call), info, warn, error or off"}},
  };
  return help;
}

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ",") + word;
  return text;
}

// What was given on the command line.
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

// Whether a flag or the environment asks for JSON logs: known before anything is checked, so that what is wrong is said
// in the form that was asked for.
bool AsksForJson(int argc, char** argv) {
  constexpr std::string_view kFlag = "--log-format";
  const char* variable = std::getenv("LOGITD_LOG_FORMAT");
  std::string_view format = variable == nullptr ? "" : variable;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == kFlag && i + 1 < argc) format = argv[i + 1];
    if (word.starts_with(kFlag) && word.substr(kFlag.size()).starts_with('=')) format = word.substr(kFlag.size() + 1);
  }
  return format == "json";
}

ParsedOptions Fail(const absl::Status& status, int exit_status) {
  ReportFailure(std::string(status.message()));
  return {std::nullopt, exit_status};
}

}  // namespace

ParsedOptions ParseOptions(int argc, char** argv) {
  if (AsksForJson(argc, argv)) SetUpLog(LogFormat::kJson, LogLevel::kInfo);
  const config::v1::ServerConfig defaults = DefaultConfig();
  CommandLine command_line;
  CLI::App app("logitd: decoding and scoring of language models, as a gRPC service.", "logitd");
  app.footer(kExamples);
  app.set_version_flag("--version", std::string("logitd ") + kVersion);
  for (const ConfigField* field : ConfigFields()) {
    const Help& help = HelpOfOptions().at(field->name());
    std::vector<std::string>& words = command_line.flags[field];
    if (field->cpp_type() == ConfigField::CPPTYPE_BOOL) {
      // "--flag" and "--flag=false".
      app.add_flag(FlagOf(*field), words.emplace_back(), help.text);
      continue;
    }
    CLI::Option& option = *app.add_option(FlagOf(*field), words, help.text);
    option.type_name(help.value)->default_str(Joined(WordsOf(*field, defaults)));
    if (field->is_repeated()) {
      option.allow_extra_args(false);
    } else {
      option.expected(1);
    }
  }
  app.add_option("--config", command_line.config_file, "File of options, in protobuf's text format")->type_name("FILE");
  app.add_flag("--check-config", command_line.check_config,
               "Check all options, print them as a file for --config, and end");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {
    return {std::nullopt, app.exit(wanted)};
  } catch (const CLI::ParseError& error) {
    ReportFailure(std::string(error.what()) + "; `logitd --help` lists the flags");
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
  return {std::nullopt, 0};
}

}  // namespace logitd::server
