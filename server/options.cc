#include "server/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "server/version.h"

namespace logitd::server {
namespace {

constexpr int kUsageError = 2;
constexpr size_t kMaxModelNameBytes = 128;

bool IsNameCharacter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || (c != '\0' && std::strchr("._:/-", c) != nullptr);
}

constexpr char kExamples[] = R"(
Examples:
  logitd                                     serve Decode and Distribution for your own logits on 127.0.0.1:50051
  logitd --model model.gguf                  serve a model, too
  logitd --listen 127.0.0.1:0                on any free port; the line "listening on ADDRESS" says which
  logitd --listen unix:/run/logitd.sock --grace-period 30s

Each flag can be set in the environment, too: --listen is LOGITD_LISTEN, --cache-dir is LOGITD_CACHE_DIR, ...
Exit status: 0 stopped in order, 1 cannot serve (model, port), 2 usage.)";

// "10s", "500ms", "2m" or plain seconds.
std::optional<std::chrono::milliseconds> ParseDuration(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  const std::string unit = end;
  const double scale = unit == "ms" ? 1 : unit == "s" || unit.empty() ? 1000 : unit == "m" ? 60'000 : -1;
  if (end == text.c_str() || scale < 0 || !(value >= 0 && value * scale <= 3.6e6)) return std::nullopt;
  return std::chrono::milliseconds(static_cast<int64_t>(value * scale));
}

std::string DefaultCacheDir() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0') {
    return std::string(cache) + "/logitd";
  }
  const char* home = std::getenv("HOME");
  // Without a home the runner says what to do: a folder that others can write to is no place for weights.
  return home != nullptr && *home != '\0' ? std::string(home) + "/.cache/logitd" : "";
}

// The name of a model whose file has this stem: what a model's name may not hold becomes "-".
std::string ModelNameOf(const std::string& file) {
  std::string name = std::filesystem::path(file).stem().string().substr(0, kMaxModelNameBytes);
  for (char& c : name) {
    if (!IsNameCharacter(c)) c = '-';
  }
  return name.empty() ? "model" : name;
}

}  // namespace

ParsedOptions ParseOptions(int argc, char** argv) {
  Options options;
  options.server.listen = {"127.0.0.1:50051"};
  options.cache_dir = DefaultCacheDir();
  std::string grace_period = "10s";

  CLI::App app("logitd: decoding and scoring of language models, as a gRPC service.", "logitd");
  app.footer(kExamples);
  app.set_version_flag("--version", std::string("logitd ") + kVersion);
  app.add_option("--listen", options.server.listen, "Address for clients, HOST:PORT or unix:PATH; repeatable")
      ->envname("LOGITD_LISTEN")
      ->type_name("ADDRESS")
      ->capture_default_str();
  app.add_option("--runner-listen", options.server.runner_listen,
                 "Address for model runners; default: a socket in a private directory")
      ->envname("LOGITD_RUNNER_LISTEN")
      ->type_name("ADDRESS");
  app.add_option("--model", options.model_file, "GGUF file to serve, with a logitd-llama that this process supervises")
      ->envname("LOGITD_MODEL")
      ->type_name("FILE");
  app.add_option("--model-name", options.model_name, "Name that clients use; default: the file's stem")
      ->envname("LOGITD_MODEL_NAME")
      ->type_name("NAME");
  app.add_option("--precision", options.precision, "f32, f16, or native: the file as it is")
      ->envname("LOGITD_PRECISION")
      ->check(CLI::IsMember({"f32", "f16", "native"}))
      ->capture_default_str();
  app.add_option("--cache-dir", options.cache_dir, "Where converted models are kept")
      ->envname("LOGITD_CACHE_DIR")
      ->type_name("DIR")
      ->capture_default_str();
  app.add_option("--grace-period", grace_period, "How long running calls may take to end after SIGTERM")
      ->envname("LOGITD_GRACE_PERIOD")
      ->type_name("TIME")
      ->capture_default_str();
  app.add_flag("--allow-plaintext", options.server.allow_plaintext, "Listen off loopback without TLS")
      ->envname("LOGITD_ALLOW_PLAINTEXT");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {
    return {std::nullopt, app.exit(wanted)};
  } catch (const CLI::ParseError& error) {
    std::cerr << "logitd: " << error.what() << "; `logitd --help` lists the flags\n";
    return {std::nullopt, kUsageError};
  }
  const auto duration = ParseDuration(grace_period);
  if (!duration) {
    std::cerr << "logitd: --grace-period must be a time up to 1 hour such as 10s or 500ms, got " << grace_period
              << "\n";
    return {std::nullopt, kUsageError};
  }
  options.grace_period = *duration;
  if (options.model_file.empty() && !options.model_name.empty()) {
    std::cerr << "logitd: --model-name needs --model FILE, the model that it names\n";
    return {std::nullopt, kUsageError};
  }
  if (!options.model_file.empty() && options.model_name.empty()) {
    options.model_name = ModelNameOf(options.model_file);
  }
  const bool is_name = std::all_of(options.model_name.begin(), options.model_name.end(), IsNameCharacter) &&
                       options.model_name.size() <= kMaxModelNameBytes;
  if (!is_name) {
    std::cerr << "logitd: --model-name must be 1 to 128 of [A-Za-z0-9._:/-], got " << options.model_name << "\n";
    return {std::nullopt, kUsageError};
  }
  return {std::move(options), 0};
}

}  // namespace logitd::server
