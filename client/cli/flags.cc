#include "client/cli/flags.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "client/cli/request_fields.h"
#include "client/logitd/npy_file.h"

namespace logitd::cli {

std::vector<Flag> Joined(std::initializer_list<std::vector<Flag>> lists) {
  std::vector<Flag> flags;
  for (const std::vector<Flag>& list : lists) flags.insert(flags.end(), list.begin(), list.end());
  return flags;
}

FlagGroup SessionFlags() {
  return {"For every subcommand",
          {{"--server", "", "ADDRESS", "HOST:PORT or unix:PATH; default: LOGITD_SERVER, else 127.0.0.1:50051"},
           {"--timeout", "", "SECONDS", "give up on a call after that time; default: never"},
           {"--json", "", "", "print the server's messages as JSON, and errors too, on standard error"},
           {.name = "--color",
            .value = "WHEN",
            .help = "auto, always or never; auto heeds NO_COLOR",
            .choices = {"auto", "always", "never"}},
           {.name = "--help", .help = "print this help", .alias = "-h"}}};
}

Flag CalibrationFlag() {
  return {"--calibration", "calibration", "NAME",
          "also probabilities by a calibration of the server (logitd --calibration NAME=FILE)"};
}

Flag ModelFlag() { return {"--model", "model", "NAME", "the model to ask; default: the only one of the server"}; }

Flag SeedFlag() {
  return {"--seed", "sampling.seed", "SEED",
          "in [0, 2^64); default: the server draws one and reports it; at temperature 0 nothing is drawn, and it is 0"};
}

std::vector<Flag> StageFlags(const char* temperature) {
  return {{"--temperature", "sampling.temperature", "T", temperature},
          {"--top-k", "sampling.top_k", "K", "keep the K most likely tokens; 0: off"},
          {"--top-p", "sampling.top_p", "P",
           "keep the smallest set of tokens with at least probability P, in [0, 1]; 1: off"},
          {"--min-p", "sampling.min_p", "P",
           "keep tokens with at least P times the largest probability, in [0, 1]; 0: off"},
          {"--typical-p", "sampling.typical_p", "P",
           "keep the most typical tokens, until they have at least probability P together, in (0, 1]; 1: off"},
          {"--epsilon-cutoff", "sampling.epsilon_cutoff", "P",
           "keep tokens with at least probability P, in [0, 1); 0: off"},
          {"--eta-cutoff", "sampling.eta_cutoff", "P",
           "keep tokens with at least probability P, or with less where the entropy is high, in [0, 1); 0: off"},
          {"--top-n-sigma", "sampling.top_n_sigma", "N",
           "keep logits within N standard deviations of the largest, in [0, 100]; default: off"},
          {"--xtc-probability", "sampling.xtc.probability", "P",
           "how often to remove every likely token except the least likely of them, in [0, 1]; 0: off"},
          {"--xtc-threshold", "sampling.xtc.threshold", "P",
           "tokens with at least probability P count as likely, in (0, 0.5]; default 0.1"}};
}

std::vector<Flag> TokenSetFlags() {
  return {
      {"--allowed-tokens", "sampling.allowed_tokens.ids.token_ids", "IDS", "only these tokens may be chosen, as 1,2,3"},
      {"--banned-tokens", "sampling.banned_tokens.ids.token_ids", "IDS", "these tokens may not be chosen"}};
}

std::vector<FlagGroup> WithPenaltyFlags(std::vector<FlagGroup> groups) {
  groups.insert(
      groups.end(),
      {{"Biases and penalties",
        {{"--logit-bias", "sampling.logit_biases.token_id=bias", "ID=NATS",
          "add to a token's logit, in [-100, 100]; repeatable"},
         {"--sequence-bias", "sampling.sequence_biases.token_ids=bias", "IDS=NATS",
          "add to the last token's logit where the other tokens come before it; repeatable"},
         {"--bad-words", "sampling.sequence_biases.token_ids", "IDS", "a sequence that may not occur; repeatable"},
         {"--repetition-penalty", "sampling.repetition_penalty", "R",
          "divide positive logits of tokens that occurred by R, multiply others; 1: off"},
         {"--frequency-penalty", "sampling.frequency_penalty", "F",
          "subtract F times a token's count from its logit, in [-2, 2]; 0: off"},
         {"--presence-penalty", "sampling.presence_penalty", "P",
          "subtract P from the logits of tokens that occurred, in [-2, 2]; 0: off"},
         {"--repetition-scope", "sampling.repetition_scope", "SCOPE",
          "where the repetition penalty and n-grams look: prompt-and-output, output or prompt"},
         {"--occurrence-scope", "sampling.occurrence_scope", "SCOPE",
          "where the frequency and presence penalties look"},
         {"--penalty-window", "sampling.penalty_window", "N", "the penalties look at the last N tokens; default: all"},
         {"--no-repeat-ngram-size", "sampling.no_repeat_ngram_size", "N",
          "no sequence of N tokens may occur twice; 0: off"},
         {"--dry-multiplier", "sampling.dry.multiplier", "M",
          "DRY: penalty of a repetition of the allowed length, in nats; 0: off"},
         {"--dry-base", "sampling.dry.base", "B",
          "DRY: each further token multiplies the penalty by B, in [1, 8]; default 1.75"},
         {"--dry-allowed-length", "sampling.dry.allowed_length", "N",
          "DRY: repetitions of fewer than N tokens are free; default 2"},
         {"--dry-window", "sampling.dry.window", "N", "DRY: look at the last N tokens; default: all"},
         {"--dry-breaker", "sampling.dry.breakers.token_ids", "IDS",
          "DRY: a sequence that ends a repetition; repeatable"}}},
       {"Order of the stages",
        {{"--stage-order", "sampling.stage_order", "ORDER",
          "a preset (logitd, hf, vllm, llama-cpp, trt-llm), or stages, as token-sets,temperature,top-k; default "
          "logitd"},
         {"--top-k-ties", "sampling.top_k_ties", "RULE", "lowest-id or keep-all; default: the preset's"},
         {"--top-p-boundary", "sampling.top_p_boundary", "RULE",
          "reached, exceeded, ascending or mass-above; default: the preset's"},
         {"--typical-ties", "sampling.typical_ties", "RULE", "lowest-id or keep-all; default: the preset's"}}}});
  return groups;
}

std::vector<Flag> StopFlags(const char* max_tokens) {
  return {{"--max-tokens", "stop.max_tokens", "N", absl::StrCat("stop after N tokens; default ", max_tokens)},
          {"--min-tokens", "stop.min_tokens", "N", "do not stop before N tokens"},
          {"--stop-token-ids", "stop.stop_token_ids", "IDS", "tokens that end a completion, besides the model's own"},
          {"--ignore-eos", "stop.ignore_eos", "", "do not stop at the model's end-of-sequence tokens"}};
}

std::vector<Flag> RecordFlags() {
  return {{"--rank", "record.rank", "", "each token's rank in its row, 1 = most likely"},
          {"--entropy", "record.entropy", "", "each row's entropy, in nats"},
          {"--top-n", "record.top_n", "N", "the N most likely alternatives of each token"},
          {"--packed-top", "record.packed_top", "",
           "the alternatives as columns of bytes (base64 in --json): N may be the whole vocabulary"},
          {"--kept-set", "record.kept_set", "",
           "the number of tokens that the stages keep, and their probability before truncation"}};
}

Flag DrawFlag() { return {"--draw", "record.draw", "", "the integers of each draw"}; }

std::vector<Flag> TokenizationFlags() {
  return {{"--add-special-tokens", "tokenization.add_special_tokens", "BOOL",
           "whether to put the model's BOS in front; default: the model's own rule"},
          {"--parse-special-tokens", "tokenization.parse_special_tokens", "",
           "read names of control tokens in the text as control tokens"}};
}

std::vector<Flag> PairFlags() {
  return {{"--boundary", "tokenization.boundary", "RULE",
           "how two texts become tokens: joint (default), separate or lm-eval (the harness's rule)"},
          TruncationFlag()};
}

Flag TruncationFlag() {
  return {"--truncation", "tokenization.truncation", "RULE",
          "what becomes of a context that is too long: refuse (default) or context-left (its beginning is cut off)"};
}

std::vector<Flag> EvaluationFlags() {
  return {
      {"--cache-salt", "evaluation.cache_salt", "TEXT", "share what was evaluated only with requests of the same salt"},
      {"--no-cache", "evaluation.no_cache", "", "use nothing that was evaluated before, and leave nothing"}};
}

std::vector<Flag> ReproducibleFlags() {
  return Joined({EvaluationFlags(),
                 {{"--reproducible", "evaluation.reproducible", "",
                   "evaluate each continuation by itself: equal bits each time, at several times the cost"}}});
}

std::vector<Flag> LogitsFlags() {
  return {{"--logits", "", "X,Y,...|FILE",
           "one row, a number for each token id; or a file of rows from numpy.save, float32 or float16, [V], [T, V] or "
           "[B, T, V]; - reads such a file from standard input; -inf excludes a token"},
          {.name = "--dtype",
           .value = "TYPE",
           .help = "bf16: the file holds bfloat16, which numpy saves as '<V2' or uint16; f32: round its float64 values",
           .choices = {"bf16", "f16", "f32"}},
          {"--head", "", "NAME",
           "the rows are hidden states, [d], [T, d] or [B, T, d], of which the server's head of this name makes logits "
           "(logitd --head)"},
          {"--before-output-norm", "", "",
           "the hidden states come before the model's output norm, which the head then applies"},
          {"--head-tokens", "", "IDS", "only these tokens have logits, the rest is excluded; ascending"}};
}

Flag PromptTokensFlag() {
  return {"--prompt-tokens", "", "IDS", "the tokens before the first row, for biases and penalties"};
}

namespace {

constexpr char kNumbers[] = "numbers separated by commas (6,3,0.5)";

// The numbers of a list, or nothing if `text` is the name of a file: a list begins with a number (a file of such a name
// is ./1).
absl::StatusOr<std::vector<float>> ListOf(const std::string& text) {
  std::vector<float> list;
  for (const std::string& part : std::vector<std::string>(absl::StrSplit(text, ','))) {
    double value = 0;
    if (!absl::SimpleAtod(part, &value)) {
      if (list.empty()) return list;
      return UsageError("--logits", part, kNumbers);
    }
    // A finite number that f32 cannot hold would arrive as an infinity that nobody wrote. nan and inf are sent, and the
    // server refuses them.
    const bool is_written_infinite = part.find_first_of("iI") != std::string::npos;
    if (std::fabs(value) > std::numeric_limits<float>::max() && !std::isnan(value) && !is_written_infinite) {
      return UsageError("--logits", part, "f32 numbers, at most 3.4028235e38 in size");
    }
    list.push_back(static_cast<float>(value));
  }
  return list;
}

}  // namespace

namespace {

// Asks the server for the shape of --head, and says of the rows what they are for.
absl::Status SetHead(const Arguments& arguments, Session& session, client::LogitsRows& rows) {
  if (!arguments.Has("--head")) {
    for (const char* flag : {"--before-output-norm", "--head-tokens"}) {
      if (arguments.Has(flag)) return UsageError(flag, absl::StrCat(flag, " goes with --head NAME"));
    }
    return absl::OkStatus();
  }
  const std::string& name = arguments.Value("--head");
  ASSIGN_OR_RETURN(const v1::GetServerInfoResponse info, session.client->ServerInfo());
  const v1::HeadInfo* head = nullptr;
  std::string names;
  for (const v1::HeadInfo& one : info.heads()) {
    if (one.name() == name) head = &one;
    absl::StrAppend(&names, names.empty() ? "" : ", ", one.name());
  }
  if (head == nullptr) {
    return UsageError("--head", name,
                      names.empty() ? "a head of the server, which has none: start it with --head NAME=FILE"
                                    : absl::StrCat("a head of the server: ", names));
  }
  if (rows.width() != head->hidden_size()) {
    return UsageError("--logits", absl::StrCat(rows.width()), absl::StrCat(head->hidden_size(), " values"),
                      absl::StrCat("--logits must have rows of ", head->hidden_size(), " values, got ", rows.width(),
                                   ": axis d of rows [", rows.row_count(), ", ", rows.width(), "] and head ", name,
                                   " (W [V = ", head->vocab_size(), ", d = ", head->hidden_size(), "])"));
  }
  v1::HiddenRows hidden;
  hidden.set_head(name);
  hidden.set_before_output_norm(arguments.Has("--before-output-norm"));
  ASSIGN_OR_RETURN(const auto tokens, arguments.Get<std::vector<int32_t>>("--head-tokens"));
  if (tokens) hidden.mutable_token_ids()->Add(tokens->begin(), tokens->end());
  rows.SetHidden(std::move(hidden), head->vocab_size());
  return absl::OkStatus();
}

absl::StatusOr<client::LogitsRows> OpenRows(const Arguments& arguments, Environment& environment) {
  const std::string text = arguments.Value("--logits");
  const std::string dtype = arguments.Value("--dtype");
  if (!arguments.Has("--logits")) {
    return UsageError("--logits", "--logits is missing: --logits 6,3,0.5 or --logits FILE.npy");
  }
  ASSIGN_OR_RETURN(std::vector<float> list, ListOf(text));
  if ((text.empty() || !list.empty()) && !dtype.empty()) {
    return UsageError("--dtype", "--dtype goes with a file: --logits FILE.npy");
  }
  if (text.empty()) return UsageError("--logits", text, absl::StrCat(kNumbers, ", or the name of a file"));
  if (!list.empty()) return client::LogitsRows::Of(std::move(list));
  ASSIGN_OR_RETURN(client::NpyFile file,
                   client::NpyFile::Open({"--logits", text, client::NpyContent::kLogits, dtype}, environment.in));
  return client::LogitsRows::Of(std::move(file));
}

}  // namespace

absl::StatusOr<client::LogitsRows> OpenLogits(const Arguments& arguments, Session& session) {
  ASSIGN_OR_RETURN(client::LogitsRows rows, OpenRows(arguments, session.environment));
  RETURN_IF_ERROR(SetHead(arguments, session, rows));
  return rows;
}

std::vector<Flag> RowFlags() {
  return Joined({LogitsFlags(),
                 {{"--row", "", "T",
                   "the row of a file with several; default: that of the step, which is --position, else the number of "
                   "--output-tokens"},
                  {"--sequence", "", "B", "the sequence of a file with several; default 0"}}});
}

std::vector<Flag> StepFlags() {
  return {{"--seed", "verify.seed", "SEED", "the sequence's seed, in [0, 2^64)"},
          {"--sequence-key", "verify.sequence_key", "KEY", "the sequence's key, in [0, 2^56)"},
          {"--position", "verify.position", "N",
           "the number of tokens chosen before; default: the number of --output-tokens"},
          {"--prompt-tokens", "prompt_token_ids", "IDS", "the prompt, for biases and penalties"},
          {"--output-tokens", "output_token_ids", "IDS", "the tokens chosen so far, for biases and penalties"},
          {"--excluded-tokens", "excluded_token_ids", "IDS", "eos and stop tokens, where min_tokens was not reached"}};
}

absl::Status SetRowRequest(const Arguments& arguments, Session& session, v1::ComputeDistributionRequest& request) {
  RETURN_IF_ERROR(SetFields(arguments, request));
  ASSIGN_OR_RETURN(client::LogitsRows rows, OpenLogits(arguments, session));
  // A row of hidden states does not say how many tokens there are; --labels is compared with it.
  if (rows.is_hidden()) request.mutable_logits()->set_vocab_size(rows.vocab_size());
  ASSIGN_OR_RETURN(const std::optional<int32_t> given_row, arguments.Get<int32_t>("--row"));
  ASSIGN_OR_RETURN(const std::optional<int32_t> given_sequence, arguments.Get<int32_t>("--sequence"));
  if (rows.is_list()) {
    if (given_row || given_sequence) {
      const char* flag = given_row ? "--row" : "--sequence";
      return UsageError(flag, absl::StrCat(flag, " goes with a file of rows: --logits FILE.npy"));
    }
    v1::Logits& logits = *request.mutable_logits();
    if (rows.is_hidden()) return rows.ReadRow(0, 0, *logits.mutable_block(), *logits.mutable_values());
    request.mutable_logits()->mutable_float_values()->Add(rows.list().begin(), rows.list().end());
    return absl::OkStatus();
  }
  const bool has_position = request.verify().has_position();
  const int32_t step = has_position ? request.verify().position() : request.output_token_ids_size();
  const int32_t row = given_row.value_or(rows.is_single_row() ? 0 : step);
  if (row < 0 || row >= rows.row_count()) {
    return UsageError(given_row      ? "--row"
                      : has_position ? "--position"
                                     : "--output-tokens",
                      absl::StrCat(row), absl::StrCat("in [0, ", rows.row_count(), "), a row of the file"));
  }
  const int32_t sequence = given_sequence.value_or(0);
  if (sequence < 0 || sequence >= rows.sequence_count()) {
    return UsageError("--sequence", absl::StrCat(sequence),
                      absl::StrCat("in [0, ", rows.sequence_count(), "), a sequence of the file"));
  }
  v1::Logits& logits = *request.mutable_logits();
  return rows.ReadRow(sequence, row, *logits.mutable_block(), *logits.mutable_values());
}

absl::Status CheckRecord(const Arguments& arguments, const v1::RecordOptions& record, bool has_stages) {
  if (record.packed_top() && !arguments.Has("--top-n")) {
    return UsageError("--packed-top", "--packed-top needs --top-n N, the number of alternatives");
  }
  if (record.kept_set() && !has_stages) {
    return UsageError("--kept-set",
                      "--kept-set tells what the stages keep, and there is none; add one, such as --top-p 0.9");
  }
  return absl::OkStatus();
}

}  // namespace logitd::cli
