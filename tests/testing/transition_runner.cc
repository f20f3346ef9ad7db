// A model runner of known log-probs: the row after token t is row t of a matrix (transition_model.h).
//
//   transition_runner ADDRESS [--seed N | --tables FILE.json] [--name NAME] [--context-length N] [--adds-bos]
//                     [--no-fork] [--no-trim] [--no-tokenizer] [--rows-only] [--max-sequences N]
//                     [--max-cached-tokens N] [--max-batch-tokens N] [--us-per-batch N] [--us-per-token N]
//
// It prints "attached" when the server has accepted it, and serves until its standard input ends. Then it prints one
// line of JSON: the batches, tokens and rows that it evaluated, and the rows that it sent as logits. --rows-only: it
// neither reduces rows to records nor chooses tokens. --us-per-token: sleeps that long for each token of a batch, as
// though the model were slow.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <sstream>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "client/runner/model_runner.h"
#include "tests/testing/transition_model.h"

namespace logitd::testing {
namespace {

constexpr char kUsage[] =
    "usage: transition_runner ADDRESS [--seed N | --tables FILE.json] [--name NAME] [--context-length N] [--adds-bos]\n"
    "       [--no-fork] [--no-trim] [--no-tokenizer] [--rows-only] [--max-sequences N] [--max-cached-tokens N]\n"
    "       [--max-batch-tokens N] [--us-per-batch N] [--us-per-token N]\n";

struct CommandLine {
  std::string address;
  uint64_t seed = 1;
  std::string tables_file;
  bool rows_only = false;
  TransitionModelOptions model;
};

bool Parse(int argc, char** argv, CommandLine& line) {
  TransitionModelOptions& model = line.model;
  const std::map<std::string, std::function<void()>> switches = {
      {"--adds-bos", [&] { model.adds_bos = true; }},  {"--no-fork", [&] { model.fork = false; }},
      {"--no-trim", [&] { model.trim = false; }},      {"--no-tokenizer", [&] { model.tokenizer = false; }},
      {"--rows-only", [&] { line.rows_only = true; }},
  };
  const auto number = [](auto& place) {
    return [&place](const std::string& value) {
      place = static_cast<std::remove_reference_t<decltype(place)>>(std::strtoll(value.c_str(), nullptr, 10));
    };
  };
  const auto text = [](std::string& place) { return [&place](const std::string& value) { place = value; }; };
  const std::map<std::string, std::function<void(const std::string&)>> values = {
      {"--seed", number(line.seed)},
      {"--tables", text(line.tables_file)},
      {"--name", text(model.name)},
      {"--context-length", number(model.context_length)},
      {"--max-sequences", number(model.max_sequences)},
      {"--max-cached-tokens", number(model.max_cached_tokens)},
      {"--max-batch-tokens", number(model.max_batch_tokens)},
      {"--us-per-batch", number(model.us_per_batch)},
      {"--us-per-token", number(model.us_per_token)},
  };
  if (argc < 2) return false;
  line.address = argv[1];
  for (int i = 2; i < argc; ++i) {
    if (const auto flag = switches.find(argv[i]); flag != switches.end()) {
      flag->second();
      continue;
    }
    const auto flag = values.find(argv[i]);
    if (flag == values.end() || i + 1 == argc) return false;
    flag->second(argv[++i]);
  }
  return true;
}

int Run(int argc, char** argv) {
  CommandLine line;
  if (!Parse(argc, argv, line)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  line.model.tables = RandomTables(line.seed);
  if (!line.tables_file.empty()) {
    std::ostringstream json;
    json << std::ifstream(line.tables_file).rdbuf();
    absl::StatusOr<TransitionTables> tables = TablesFromJson(json.str());
    if (!tables.ok()) {
      std::fprintf(stderr, "transition_runner: %s: %s\n", line.tables_file.c_str(), tables.status().ToString().c_str());
      return 2;
    }
    line.model.tables = *std::move(tables);
  }
  TransitionModel model(std::move(line.model));
  std::stop_source stop;
  std::jthread reader([&stop] {
    while (std::cin.get() != std::char_traits<char>::eof()) {
    }
    stop.request_stop();
  });
  const absl::Status status = runner::ServeModel({.server_address = line.address,
                                                  .runner_version = "transition 1",
                                                  .runner_name = "transition",
                                                  .records = !line.rows_only,
                                                  .choice = !line.rows_only,
                                                  .on_accepted =
                                                      [] {
                                                        std::puts("attached");
                                                        std::fflush(stdout);
                                                      }},
                                                 model, stop.get_token());
  std::printf(
      "{\"batches\": %lld, \"tokens\": %lld, \"rows\": %lld, \"logits_rows\": %lld, \"most_sequences\": %lld}\n",
      static_cast<long long>(model.batch_count()), static_cast<long long>(model.token_count()),
      static_cast<long long>(model.row_count()), static_cast<long long>(model.logits_row_count()),
      static_cast<long long>(model.largest_sequence_count()));
  std::fflush(stdout);
  if (!status.ok()) std::fprintf(stderr, "transition_runner: %s\n", status.ToString().c_str());
  // The reader may still wait for input that nobody sends any more.
  std::_Exit(status.ok() ? 0 : 1);
}

}  // namespace
}  // namespace logitd::testing

int main(int argc, char** argv) { return logitd::testing::Run(argc, argv); }
