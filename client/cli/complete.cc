// `logit complete`: a prompt in, completions out.
#include <deque>
#include <iterator>
#include <ostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/json_lines.h"
#include "client/cli/record_table.h"
#include "client/cli/request_flags.h"
#include "client/cli/sampling_flags.h"
#include "client/cli/session.h"
#include "client/cli/terminal.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

Arguments MakeArguments() {
  std::vector<Flag> sampling = StageFlags();
  sampling.push_back(
      {"--seed", "SEED",
       "in [0, 2^64); default: the server draws one and says which; 0 at temperature 0: nothing is drawn"});
  for (Flag& flag : TokenSetFlags()) sampling.push_back(std::move(flag));
  std::vector<Flag> output = {
      {"--tokens", "", "list every token with its log-probs; --rank, --entropy and --top-n imply it"},
      {"--verbose", "", "the same"},
      {"--no-stream", "", "print nothing before the completions are done"}};
  for (Flag& flag : RecordFlags(/*draws=*/true)) output.push_back(std::move(flag));
  std::vector<Flag> request = {
      {"--prompt-tokens", "IDS", "the prompt as token ids, instead of PROMPT"},
      {"--model", "NAME", "default: the only one the server has"},
      {"-n", "N", "number of completions; default 1"},
      {"--first-sequence-key", "KEY", "key of the first completion; the i-th has KEY + i; default 0"}};
  for (Flag& flag : TokenizationFlags(/*pairs=*/false)) request.push_back(std::move(flag));
  return Arguments(
      {.name = "complete",
       .positionals = "PROMPT",
       .summary = "Completes a prompt. PROMPT - reads it from standard input.",
       .examples =
           "logit complete \"The capital of France is\" --temperature 0 --max-tokens 16\n"
           "logit complete \"Once upon a time\" --temperature 0.8 --seed 7 -n 4 --max-tokens 32\n"
           "logit complete \"Once upon a time\" --seed 7 --repetition-penalty 1.1 --min-p 0.05 --stage-order hf\n"
           "logit complete \"2 + 2 =\" --tokens --rank --entropy --top-n 3 --max-tokens 4\n"
           "logit complete --prompt-tokens 504,2644,3575 --temperature 0 --json\n"},
      WithPenaltyFlags({{"Request", request}, {"Sampling", sampling}, {"Stop", StopFlags()}, {"Output", output}}));
}

absl::StatusOr<v1::Input> PromptFrom(const Arguments& arguments, Environment& environment) {
  const std::vector<std::string>& texts = arguments.positionals();
  const auto ids = arguments.TokenIds("--prompt-tokens");
  if (!ids.ok()) return ids.status();
  if (ids->has_value()) {
    if (!texts.empty()) return UsageError("PROMPT and --prompt-tokens exclude each other");
    return TokensInput(**ids);
  }
  if (texts.empty()) return UsageError("PROMPT is missing: logit complete \"TEXT\", or --prompt-tokens 1,2");
  if (texts.size() > 1) {
    return UsageError(absl::StrCat("PROMPT must be one argument, got ", texts.size(), "; put it in quotation marks"));
  }
  if (texts[0] != "-") return TextInput(texts[0]);
  std::string text{std::istreambuf_iterator<char>(environment.in), {}};
  if (!IsUtf8(text)) return UsageError("the prompt on standard input is not valid UTF-8");
  return TextInput(std::move(text));
}

absl::StatusOr<v1::GenerateRequest> RequestFrom(const Arguments& arguments, Environment& environment) {
  v1::GenerateRequest request;
  absl::StatusOr<v1::Input> prompt = PromptFrom(arguments, environment);
  if (!prompt.ok()) return prompt.status();
  *request.mutable_prompt() = *std::move(prompt);
  if (arguments.Has("--model")) request.set_model(arguments.Value("--model"));
  for (const absl::Status& status : {
           SetIfGiven(arguments.Int32("-n"), [&](int32_t n) { request.set_n(n); }),
           SetIfGiven(arguments.Uint64("--first-sequence-key"),
                      [&](uint64_t key) { request.set_first_sequence_key(key); }),
           SetIfGiven(SamplingFrom(arguments),
                      [&](v1::SamplingParams p) { *request.mutable_sampling() = std::move(p); }),
           SetIfGiven(StopFrom(arguments), [&](v1::StopCriteria s) { *request.mutable_stop() = std::move(s); }),
           SetIfGiven(RecordFrom(arguments), [&](v1::RecordOptions r) { *request.mutable_record() = std::move(r); }),
           SetIfGiven(TokenizationFrom(arguments),
                      [&](v1::TokenizationOptions t) { *request.mutable_tokenization() = std::move(t); }),
       }) {
    if (!status.ok()) return status;
  }
  return request;
}

// Shows deltas as they come, one completion after the other: those of a later completion wait until the earlier ones
// have ended.
class StreamView {
 public:
  StreamView(Session& session, std::string prompt, int completion_count)
      : session_(session), prompt_(std::move(prompt)), completion_count_(completion_count) {}

  void Take(const v1::CompletionDelta& delta) {
    // What no request asked for is not shown, and never sizes a list.
    if (delta.index() < 0 || delta.index() >= completion_count_) return;
    const size_t index = static_cast<size_t>(delta.index());
    if (index < current_) return;
    if (index >= pending_.size()) pending_.resize(index + 1);
    pending_[index].push_back(delta);
    Show();
  }

  // No more deltas: whatever waits is shown.
  void End() {
    for (; current_ < pending_.size(); ++current_) ShowPending();
    if (started_) session_.out() << "\n";
    started_ = false;
  }

 private:
  void Show() {
    while (current_ < pending_.size()) {
      if (!ShowPending()) return;
      ++current_;
    }
  }

  // Whether the completion has ended.
  bool ShowPending() {
    bool has_ended = false;
    for (const v1::CompletionDelta& delta : pending_[current_]) {
      if (shown_ != current_) Begin();
      const v1::TokenRecord* last = delta.tokens_size() > 0 ? &delta.tokens(delta.tokens_size() - 1) : nullptr;
      const std::string text = SanitizeForTerminal(delta.text());
      session_.out() << (last != nullptr && last->has_model_log_prob() && !text.empty()
                             ? InLogProbColour(text, last->model_log_prob(), session_.colour)
                             : text)
                     << std::flush;
      has_ended = has_ended || delta.has_finish();
    }
    pending_[current_].clear();
    return has_ended;
  }

  void Begin() {
    if (started_) session_.out() << "\n\n";
    started_ = true;
    shown_ = current_;
    if (completion_count_ > 1) session_.out() << Bold(absl::StrCat("completion ", current_), session_.colour) << "\n";
    session_.out() << Dim(SanitizeForTerminal(prompt_), session_.colour);
  }

  Session& session_;
  const std::string prompt_;
  const int completion_count_;
  std::vector<std::deque<v1::CompletionDelta>> pending_;
  size_t current_ = 0;
  size_t shown_ = static_cast<size_t>(-1);
  bool started_ = false;
};

}  // namespace

int RunComplete(const std::vector<std::string>& args, Environment& environment) {
  Arguments arguments = MakeArguments();
  int exit_code = kExitOk;
  const std::unique_ptr<Session> session = OpenSession(arguments, args, environment, exit_code);
  if (session == nullptr) return exit_code;
  absl::StatusOr<v1::GenerateRequest> request = RequestFrom(arguments, environment);
  if (!request.ok()) return session->Fail(request.status());

  // What is asked for token by token is shown nowhere else.
  const bool list_tokens = arguments.Has("--tokens") || arguments.Has("--verbose") || request->has_record();
  const bool stream = environment.out_is_terminal && !session->json && !arguments.Has("--no-stream");
  request->set_stream(stream);
  StreamView view(*session, request->prompt().text(), request->has_n() ? request->n() : 1);
  client::DeltaCallback on_delta;
  if (stream) {
    on_delta = [&view](const v1::CompletionDelta& delta) {
      view.Take(delta);
      return true;
    };
  }
  const absl::StatusOr<v1::GenerateFinal> final = session->client->Complete(*request, on_delta);
  if (stream) view.End();
  if (!final.ok()) return session->Fail(final.status());

  std::ostream& out = session->out();
  if (session->json) out << ToJson(*final) << "\n";
  for (const v1::Completion& completion : final->completions()) {
    if (completion.has_error()) exit_code = kExitItemFailed;
    if (session->json) continue;
    const bool several = final->completions_size() > 1;
    if (several && (completion.index() > 0 || stream)) out << "\n";
    if (several) out << Bold(absl::StrCat("completion ", completion.index()), session->colour) << "\n";
    if (!stream) {
      // A script gets the text as it is; a terminal must not be controlled by it.
      out << (environment.out_is_terminal ? SanitizeForTerminal(completion.text()) : completion.text()) << "\n";
    }
    // A streamed completion stands further up: here its heading and its summary belong together.
    if (!(several && stream)) out << "\n";
    if (list_tokens) out << TokenTable(completion.tokens(), session->colour) << "\n";
    out << CompletionSummary(completion, final->seed());
  }
  if (!session->json && session->colour && (stream || list_tokens)) out << "\n" << LogProbLegend(true) << "\n";
  return exit_code;
}

}  // namespace logitd::cli
