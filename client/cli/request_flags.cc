#include "client/cli/request_flags.h"

#include <utility>

namespace logitd::cli {
namespace {

// Keeps the first error of several settings.
class FirstError {
 public:
  void operator()(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
};

}  // namespace

std::vector<Flag> StopFlags(const char* max_tokens) {
  return {{"--max-tokens", "N", max_tokens},
          {"--min-tokens", "N", "no end before so many tokens"},
          {"--stop-token-ids", "IDS", "tokens that end a completion, besides the model's own"},
          {"--ignore-eos", "", "the model's end-of-sequence tokens do not end a completion"}};
}

std::vector<Flag> RecordFlags(bool draws) {
  std::vector<Flag> flags = {
      {"--rank", "", "each token's rank in its row, 1 = most likely"},
      {"--entropy", "", "each row's entropy, nats"},
      {"--top-n", "N", "the N most likely alternatives of each token"},
      {"--packed-top", "", "the alternatives as columns of bytes (base64 in --json): N may be the whole vocabulary"},
      {"--kept-set", "", "how many tokens the stages keep, and their probability before truncation"}};
  if (draws) flags.push_back({"--draw", "", "the integers of each draw"});
  return flags;
}

std::vector<Flag> TokenizationFlags(bool pairs) {
  std::vector<Flag> flags = {
      {"--add-special-tokens", "BOOL", "put the model's BOS in front; default: as the model says"},
      {"--parse-special-tokens", "", "names of control tokens in the text are control tokens"}};
  if (pairs) {
    flags.push_back(
        {"--boundary", "RULE", "how text meets text: joint (default), separate or lm-eval (the harness's rule)"});
  }
  return flags;
}

absl::StatusOr<std::optional<v1::StopCriteria>> StopFrom(const Arguments& arguments) {
  v1::StopCriteria out;
  FirstError error;
  error(SetIfGiven(arguments.Int32("--max-tokens"), [&](int32_t value) { out.set_max_tokens(value); }));
  error(SetIfGiven(arguments.Int32("--min-tokens"), [&](int32_t value) { out.set_min_tokens(value); }));
  error(SetIfGiven(arguments.TokenIds("--stop-token-ids"), [&](const std::vector<int32_t>& ids) {
    out.mutable_stop_token_ids()->Add(ids.begin(), ids.end());
  }));
  if (arguments.Has("--ignore-eos")) out.set_ignore_eos(true);
  if (!error.status().ok()) return error.status();
  if (out.ByteSizeLong() == 0) return std::optional<v1::StopCriteria>();
  return std::optional<v1::StopCriteria>(std::move(out));
}

absl::StatusOr<std::optional<v1::RecordOptions>> RecordFrom(const Arguments& arguments) {
  v1::RecordOptions out;
  if (arguments.Has("--rank")) out.set_rank(true);
  if (arguments.Has("--entropy")) out.set_entropy(true);
  if (arguments.Has("--packed-top")) out.set_packed_top(true);
  if (arguments.Has("--kept-set")) out.set_kept_set(true);
  if (arguments.Has("--draw")) out.set_draw(true);
  absl::Status status = SetIfGiven(arguments.Int32("--top-n"), [&](int32_t value) { out.set_top_n(value); });
  if (!status.ok()) return status;
  if (out.packed_top() && !arguments.Has("--top-n")) {
    return UsageError("--packed-top", "--packed-top needs --top-n N, the number of alternatives");
  }
  if (out.ByteSizeLong() == 0) return std::optional<v1::RecordOptions>();
  return std::optional<v1::RecordOptions>(std::move(out));
}

absl::StatusOr<std::optional<v1::TokenizationOptions>> TokenizationFrom(const Arguments& arguments) {
  v1::TokenizationOptions out;
  FirstError error;
  error(SetIfGiven(arguments.Bool("--add-special-tokens"), [&](bool value) { out.set_add_special_tokens(value); }));
  if (arguments.Has("--boundary")) {
    const std::string& rule = arguments.Value("--boundary");
    if (rule == "joint") {
      out.set_boundary(v1::BOUNDARY_JOINT);
    } else if (rule == "separate") {
      out.set_boundary(v1::BOUNDARY_SEPARATE);
    } else if (rule == "lm-eval") {
      out.set_boundary(v1::BOUNDARY_LM_EVAL);
    } else {
      return UsageError("--boundary", rule, "joint, separate or lm-eval");
    }
  }
  if (arguments.Has("--parse-special-tokens")) out.set_parse_special_tokens(true);
  if (!error.status().ok()) return error.status();
  if (out.ByteSizeLong() == 0) return std::optional<v1::TokenizationOptions>();
  return std::optional<v1::TokenizationOptions>(std::move(out));
}

absl::Status CheckKeptSet(const v1::RecordOptions& record, bool has_sampling) {
  if (!record.kept_set() || has_sampling) return absl::OkStatus();
  return UsageError("--kept-set",
                    "--kept-set tells what the stages keep, and there is none; add one, such as --top-p 0.9");
}

v1::Input TextInput(std::string text) {
  v1::Input input;
  input.set_text(std::move(text));
  return input;
}

v1::Input TokensInput(const std::vector<int32_t>& token_ids) {
  v1::Input input;
  input.mutable_tokens()->mutable_token_ids()->Add(token_ids.begin(), token_ids.end());
  return input;
}

}  // namespace logitd::cli
