#include "server/config.h"

#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "server/options.h"
#include "server/start_checks.h"
#include "tests/testing/gguf_header.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::IsOk;
using logitd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A file with `text`, in a folder of its own.
class ConfigFile {
 public:
  explicit ConfigFile(const std::string& text) {
    std::string folder = ::testing::TempDir() + "/logitd-XXXXXX";
    folder_ = ::mkdtemp(folder.data());
    path_ = folder_ + "/logitd.textproto";
    std::ofstream(path_) << text;
  }
  ~ConfigFile() { std::filesystem::remove_all(folder_); }
  const std::string& path() const { return path_; }

 private:
  std::string folder_;
  std::string path_;
};

// A variable, for as long as this lives.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  ~Variable() { ::unsetenv(name_); }

 private:
  const char* const name_;
};

const ConfigField& FieldNamed(const std::string& name) {
  return *config::v1::ServerConfig::descriptor()->FindFieldByName(name);
}

Config Defaults() { return {DefaultConfig(), {}}; }

TEST(ConfigTest, FlagsWinOverTheEnvironmentAndThatOverTheFile) {
  const ConfigFile file(
      "runners: 2\nthreads: 3\ngrace_period: \"7s\"\nlisten: \"127.0.0.1:1\" listen: \"127.0.0.1:2\"\n");
  const Variable threads("LOGITD_THREADS", "4");
  const Variable grace("LOGITD_GRACE_PERIOD", "8s");
  const Variable empty("LOGITD_PRECISION", "");
  Config config = Defaults();
  ASSERT_THAT(AddFile(file.path(), config), IsOk());
  ASSERT_THAT(AddEnvironment(config), IsOk());
  ASSERT_THAT(AddFlag(FieldNamed("grace_period"), {"9s"}, config), IsOk());
  EXPECT_THAT(config.values.listen(), ElementsAre("127.0.0.1:1", "127.0.0.1:2")) << "a list replaces the default";
  EXPECT_EQ(config.values.runners(), 2);
  EXPECT_EQ(config.values.threads(), 4);
  EXPECT_EQ(config.values.grace_period(), "9s");
  EXPECT_EQ(config.values.precision(), "auto") << "an empty variable is none";
  EXPECT_EQ(config.OriginOf("runners"), file.path() + ":1: runners");
  EXPECT_EQ(config.OriginOf("threads"), "LOGITD_THREADS");
  EXPECT_EQ(config.OriginOf("grace_period"), "--grace-period");
  EXPECT_EQ(config.OriginOf("max_stall"), "--max-stall");
}

TEST(ConfigTest, ListsAreCommaSeparatedInTheEnvironment) {
  const Variable listen("LOGITD_LISTEN", "127.0.0.1:1,unix:/tmp/a");
  Config config = Defaults();
  ASSERT_THAT(AddEnvironment(config), IsOk());
  EXPECT_THAT(config.values.listen(), ElementsAre("127.0.0.1:1", "unix:/tmp/a"));
}

TEST(ConfigTest, ErrorsNameFileLineAndField) {
  const struct {
    const char* text;
    const char* place;
    const char* what;
  } cases[] = {
      {"runners: 1\nrunner: 2\n", ":2:", "runner"}, {"runners: 1\nlisten 3\n", ":2:", "3"},
      {"runners: \"two\"\n", ":1:", "two"},         {"runners: 1\n\nrunners: 2\n", ":3:", "runners"},
      {"\n\nlog_level: debug\n", ":3:", "debug"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.text);
    const ConfigFile file(test.text);
    Config config = Defaults();
    EXPECT_THAT(
        AddFile(file.path(), config),
        StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(file.path() + test.place), HasSubstr(test.what))));
  }
  Config config = Defaults();
  EXPECT_THAT(AddFile("/nothing/here", config),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("/nothing/here")));
  EXPECT_THAT(AddFile("/tmp", config), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no file")));
}

TEST(ConfigTest, WrongWordsNameTheirOrigin) {
  Config config = Defaults();
  EXPECT_THAT(AddFlag(FieldNamed("runners"), {"2x"}, config),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("--runners"), HasSubstr("2x"))));
  EXPECT_THAT(AddFlag(FieldNamed("runners"), {"5000000000"}, config),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--runners must be in [1, 64], got 5000000000")));
  EXPECT_THAT(AddFlag(FieldNamed("runners"), {"1", "2"}, config),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--runners must be given once")));
  const Variable plaintext("LOGITD_ALLOW_PLAINTEXT", "perhaps");
  EXPECT_THAT(AddEnvironment(config),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("LOGITD_ALLOW_PLAINTEXT")));
}

TEST(ConfigTest, MistypedVariablesAreErrorsThatNameTheOption) {
  const struct {
    const char* typed;
    const char* meant;
  } cases[] = {
      {"LOGITD_LISTNE", "LOGITD_LISTEN"},         {"LOGITD_LISEN", "LOGITD_LISTEN"},
      {"LOGITD_RUNNER", "LOGITD_RUNNERS"},        {"LOGITD_CACHEDIR", "LOGITD_CACHE_DIR"},
      {"LOGITD_LOG_LEVELS", "LOGITD_LOG_LEVEL"},  {"LOGITD_grace_period", "LOGITD_GRACE_PERIOD"},
      {"LOGITD_MODLE_NAEM", "LOGITD_MODEL_NAME"}, {"LOGITD_CONFG", "LOGITD_CONFIG"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.typed);
    const Variable variable(test.typed, "x");
    Config config = Defaults();
    EXPECT_THAT(AddEnvironment(config),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(test.typed), HasSubstr(test.meant))));
    const Variable empty(test.typed, "");
    EXPECT_THAT(AddEnvironment(config), IsOk()) << "an empty variable is none";
  }
}

TEST(ConfigTest, VariablesOfOthersAreLeftAlone) {
  // What Kubernetes gives to a container beside a service called logitd, and what the scripts and tests of this project
  // use.
  const std::vector<const char*> names = {"LOGITD_SERVICE_HOST",
                                          "LOGITD_SERVICE_PORT",
                                          "LOGITD_PORT",
                                          "LOGITD_PORT_50051_TCP",
                                          "LOGITD_PORT_50051_TCP_PROTO",
                                          "LOGITD_PORT_50051_TCP_PORT",
                                          "LOGITD_PORT_50051_TCP_ADDR",
                                          "LOGITD_TEST_MODEL",
                                          "LOGITD_LONG",
                                          "LOGITD_BIN",
                                          "LOGITD_ROOT",
                                          "LOGITD_PEERS_PYTHON",
                                          "LOGITD_MACHINE",
                                          "LOGITD_OWN_NAMESPACES",
                                          "LOGITD_KILLS"};
  const Variable command_line("LOGITD_SERVER", "127.0.0.1:1");
  for (const char* name : names) {
    SCOPED_TRACE(name);
    const char* before = ::getenv(name);
    const std::string kept = before == nullptr ? "" : before;
    {
      const Variable variable(name, "1");
      Config config = Defaults();
      ASSERT_THAT(AddEnvironment(config), IsOk());
      EXPECT_THAT(config.ignored_variables, ::testing::Contains(name));
      EXPECT_THAT(config.ignored_variables, ::testing::Not(::testing::Contains("LOGITD_SERVER")));
    }
    if (!kept.empty()) ::setenv(name, kept.c_str(), 1);
  }
}

TEST(ConfigTest, WhatIsPrintedReadsBackTheSame) {
  Config config = Defaults();
  ASSERT_THAT(AddFlag(FieldNamed("listen"), {"unix:/tmp/\"odd\" name", "127.0.0.1:0"}, config), IsOk());
  ASSERT_THAT(AddFlag(FieldNamed("allow_plaintext"), {"true"}, config), IsOk());
  const ConfigFile file(ToText(config.values));
  Config again = Defaults();
  ASSERT_THAT(AddFile(file.path(), again), IsOk());
  EXPECT_EQ(ToText(again.values), ToText(config.values));
  for (const ConfigField* field : ConfigFields()) {
    // These lists are empty by default.
    if (field->name() == "head" || field->name() == "calibration" || field->name() == "http_allowed_host") continue;
    EXPECT_FALSE(WordsOf(*field, config.values).empty()) << field->name() << " has no default";
  }
}

TEST(OptionsTest, ValuesAreCheckedWhereTheyWereGiven) {
  const struct {
    const char* field;
    const char* value;
    const char* error;
  } cases[] = {
      {"listen", "0.0.0.0:1", "--allow-plaintext"},
      {"listen", "x", "HOST:PORT"},
      {"runner_listen", "0.0.0.0:1", "forge"},
      {"runners", "0", "[1, 64]"},
      {"runners", "65", "[1, 64]"},
      {"threads", "-1", "[0, 1024]"},
      {"context_length", "-1", "[0, 1073741824]"},
      {"cache_tokens", "5000000000", "[0, 1073741824], got 5000000000"},
      {"max_sequences", "65", "[0, 64]"},
      {"max_calls", "0", "[1, 65536]"},
      {"max_calls", "65537", "[1, 65536]"},
      {"max_open_streams", "0", "[1, 65536]"},
      {"max_open_streams", "-1", "[1, 65536]"},
      {"precision", "f64", "auto, native, f16, f32"},
      {"kernel_target", "mmx", "scalar"},
      {"grace_period", "1e9s", "1h"},
      {"grace_period", "10 parsecs", "10s"},
      {"grace_period", "nan", "10s"},
      {"max_idle", "0", "1ms"},
      {"max_stall", "-1s", "1ms"},
      {"log_format", "xml", "text, json"},
      {"log_level", "loud", "debug"},
      {"model_name", "m", "--model FILE"},
      {"runners", "2", "--model FILE"},
      {"threads", "2", "--model FILE"},
      {"precision", "f32", "--model FILE"},
      {"context_length", "4096", "--model FILE"},
      {"cache_tokens", "4096", "--model FILE"},
      {"max_sequences", "2", "--model FILE"},
      {"http", "0.0.0.0:8000", "--allow-plaintext"},
      {"http", "unix:/tmp/http", "HOST:PORT"},
      {"http", "8000", "HOST:PORT"},
      {"http_allowed_host", "api.example", "needs --http ADDRESS"},
      {"http_max_queue", "7", "needs --http ADDRESS"},
      {"http_max_queue", "-1", "[0, 1000000]"},
      {"http_max_wait", "0.5s", "1000ms"},
      {"http_max_wait", "1m", "needs --http ADDRESS"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(std::string(test.field) + "=" + test.value);
    Config config = Defaults();
    ASSERT_THAT(AddFlag(FieldNamed(test.field), {test.value}, config), IsOk());
    EXPECT_THAT(ToOptions(config).status(),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(FlagOf(FieldNamed(test.field))), HasSubstr(test.error))));
  }
}

TEST(OptionsTest, TimesAndNamesAreRead) {
  const ConfigFile model(logitd::testing::GgufModel().Bytes());
  Config config = Defaults();
  config.values.set_grace_period("1.5m");
  config.values.set_max_idle("2h");
  config.values.set_max_calls(7);
  config.values.set_max_open_streams(65'536);
  config.values.set_max_stall("250ms");
  config.values.set_model(model.path());
  config.values.set_kernel_target("scalar");
  const auto options = ToOptions(config);
  ASSERT_THAT(options, IsOk());
  EXPECT_EQ(options->grace_period, std::chrono::seconds(90));
  EXPECT_EQ(options->server.max_idle, std::chrono::hours(2));
  EXPECT_EQ(options->server.max_calls, 7);
  EXPECT_EQ(options->server.max_open_streams, 65'536);
  EXPECT_EQ(options->server.max_stall, std::chrono::milliseconds(250));
  EXPECT_EQ(options->model_name, "logitd");
  EXPECT_EQ(options->kernel_target, "SCALAR");
}

TEST(OptionsTest, HttpIsRead) {
  Config config = Defaults();
  const Variable http("LOGITD_HTTP", "127.0.0.1:8000");
  const Variable hosts("LOGITD_HTTP_ALLOWED_HOST", "api.example,b.example");
  const Variable wait("LOGITD_HTTP_MAX_WAIT", "90s");
  ASSERT_THAT(AddEnvironment(config), IsOk());
  auto options = ToOptions(config);
  ASSERT_THAT(options, IsOk());
  EXPECT_EQ(options->http, "127.0.0.1:8000");
  EXPECT_THAT(options->http_allowed_hosts, ElementsAre("api.example", "b.example"));
  EXPECT_EQ(options->http_max_queue, 4096);
  EXPECT_EQ(options->http_max_wait, std::chrono::seconds(90));
  ASSERT_THAT(AddFlag(FieldNamed("http"), {"[::]:8000"}, config), IsOk());
  ASSERT_THAT(AddFlag(FieldNamed("allow_plaintext"), {"true"}, config), IsOk());
  options = ToOptions(config);
  ASSERT_THAT(options, IsOk());
  EXPECT_EQ(options->http, "[::]:8000") << "a flag wins over the environment";
  ASSERT_THAT(AddFlag(FieldNamed("http_allowed_host"), {"--max-calls=1"}, config), IsOk());
  EXPECT_THAT(ToOptions(config).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'--max-calls=1'")));
}

TEST(OptionsTest, ModelFileThatIsNotThereCannotBeServed) {
  Config config = Defaults();
  config.values.set_model("/nothing/here.gguf");
  EXPECT_THAT(ToOptions(config).status(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("/nothing/here.gguf")));
}

TEST(OptionsTest, ModelFileThatIsNoneCannotBeServed) {
  const auto refusal = [](const std::string& path) {
    Config config = Defaults();
    config.values.set_model(path);
    return ToOptions(config).status();
  };
  const ConfigFile html("<!doctype html>");
  EXPECT_THAT(refusal(html.path()),
              StatusIs(absl::StatusCode::kUnavailable, AllOf(HasSubstr(html.path()), HasSubstr("web page (HTML)"))));
  const ConfigFile empty("");
  EXPECT_THAT(refusal(empty.path()), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("is empty")));
  const ConfigFile cut("GGU");
  EXPECT_THAT(refusal(cut.path()), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("not a GGUF file")));
  EXPECT_THAT(refusal("/tmp"), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("is a folder")));
  EXPECT_THAT(refusal("/dev/null"), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("not a regular file")));
  EXPECT_THAT(refusal(html.path() + "/model.gguf"),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("does not exist")));
}

TEST(StartChecksTest, ConvertedWeightsNeedAFolderThatCanBeWritten) {
  const ConfigFile model(logitd::testing::GgufModel().Bytes());
  const auto check = [&model](const std::string& cache_dir, const std::string& precision) {
    return CheckCacheDir("--cache-dir", cache_dir, model.path(), precision);
  };
  const std::string below_a_file = model.path() + "/cache";
  for (const char* precision : {"f32", "f16"}) {
    SCOPED_TRACE(precision);
    EXPECT_THAT(check(below_a_file, precision),
                StatusIs(absl::StatusCode::kUnavailable,
                         AllOf(HasSubstr("--cache-dir"), HasSubstr(below_a_file), HasSubstr("is not a folder"))));
    EXPECT_THAT(check("", precision), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("--cache-dir DIR")));
    EXPECT_THAT(check(::testing::TempDir() + "/made/when/needed", precision), IsOk());
    EXPECT_FALSE(std::filesystem::exists(::testing::TempDir() + "/made")) << "a check makes nothing";
  }
  EXPECT_THAT(check(below_a_file, "native"), IsOk());
  EXPECT_THAT(check(below_a_file, "auto"), IsOk()) << "only the default model is converted";
  std::filesystem::resize_file(model.path(), 98'362'432);
  EXPECT_THAT(check(below_a_file, "auto"), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("--precision native")));
}

}  // namespace
}  // namespace logitd::server
