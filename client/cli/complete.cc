// `logit complete`: a prompt in, completions out.
#include <deque>
#include <iterator>
#include <ostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/utf8.h"
#include "client/cli/commands.h"
#include "client/cli/filled_text.h"
#include "client/cli/json_lines.h"
#include "client/cli/record_table.h"
#include "client/cli/request_flags.h"
#include "client/cli/sampling_flags.h"
#include "client/cli/session.h"
#include "client/cli/terminal.h"
#include "client/cli/token_text.h"
#include "client/cli/tokenization_notes.h"

namespace logitd::cli {
namespace {

Arguments MakeArguments() {
  std::vector<Flag> sampling = StageFlags();
  sampling.push_back(
      {"--seed", "SEED",
       "in [0, 2^64); default: the server draws one and says which; 0 at temperature 0: nothing is drawn"});
  for (Flag& flag : TokenSetFlags()) sampling.push_back(std::move(flag));
  std::vector<Flag> output = {
      {"--tokens", "", "list every token with its log-probs; --rank, --entropy and --top-n imply it",
       /*repeatable=*/false, /*alias=*/"--verbose"},
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
       .summary =
           "Completes a prompt. PROMPT - reads it from standard input, all but one newline (LF or CR LF) at its end.",
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
    if (!texts.empty()) return UsageError("--prompt-tokens", "PROMPT and --prompt-tokens exclude each other");
    return TokensInput(**ids);
  }
  if (texts.empty()) {
    return UsageError("PROMPT", "PROMPT is missing: logit complete \"TEXT\", or --prompt-tokens 1,2");
  }
  if (texts.size() > 1) {
    return UsageError("PROMPT", absl::StrCat(texts.size()), "one argument",
                      absl::StrCat("PROMPT must be one argument, got ", texts.size(), "; put it in quotation marks"));
  }
  if (texts[0] != "-") return TextInput(texts[0]);
  std::string text{std::istreambuf_iterator<char>(environment.in), {}};
  // What editors and `echo` put around a text is not the text: see docs/cli.md.
  if (BeginsWithByteOrderMark(text)) text.erase(0, 3);
  if (!text.empty() && text.back() == '\n') {
    text.pop_back();
    if (!text.empty() && text.back() == '\r') text.pop_back();
  }
  if (!IsUtf8(text)) return UsageError("PROMPT", "the prompt on standard input is not valid UTF-8");
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

// What only the first message of the reply says, in the last one's object.
std::string WithStarted(std::string json, const v1::GenerateStarted& started) {
  std::string more = absl::StrCat(",\"provenance\":", ToJson(started.provenance()));
  if (started.tokenization().ByteSizeLong() > 0) {
    absl::StrAppend(&more, ",\"tokenization\":", ToJson(started.tokenization()));
  }
  return json.insert(json.size() - 1, more);
}

// The completions as far as deltas have told them, for when their final message does not come.
class PartialCompletions {
 public:
  PartialCompletions(uint64_t first_key, int completion_count)
      : first_key_(first_key), completion_count_(completion_count) {}

  void Take(const v1::GenerateStarted& started) { final_.set_seed(started.seed()); }
  void Take(const v1::CompletionDelta& delta) {
    // What no request asked for is not kept, and never sizes a list.
    if (delta.index() < 0 || delta.index() >= completion_count_) return;
    while (final_.completions_size() <= delta.index()) Add();
    v1::Completion& completion = *final_.mutable_completions(delta.index());
    completion.mutable_tokens()->MergeFrom(delta.tokens());
    completion.mutable_text()->append(delta.text());
    if (delta.has_totals()) *completion.mutable_totals() = delta.totals();
    if (delta.has_finish()) *completion.mutable_finish() = delta.finish();
  }

  // What has come, with `error` in each completion that has not ended. No completions: nothing has come.
  v1::GenerateFinal EndWith(const v1::Error& error) && {
    if (final_.completions().empty()) return std::move(final_);
    while (final_.completions_size() < completion_count_) Add();
    for (v1::Completion& completion : *final_.mutable_completions()) {
      if (!completion.has_finish()) *completion.mutable_error() = error;
    }
    return std::move(final_);
  }

 private:
  void Add() {
    v1::Completion& completion = *final_.add_completions();
    completion.set_index(final_.completions_size() - 1);
    completion.set_sequence_key(first_key_ + static_cast<uint64_t>(completion.index()));
  }

  const uint64_t first_key_;
  const int completion_count_;
  v1::GenerateFinal final_;
};

// Prints completions that were not streamed, and what the summary has of those that were.
class Printer {
 public:
  Printer(Session& session, bool is_streamed, bool list_tokens)
      : session_(session), is_streamed_(is_streamed), list_tokens_(list_tokens) {}

  // Whether none of them failed.
  bool Print(const v1::GenerateFinal& final, const v1::GenerateStarted& started) {
    std::ostream& out = session_.out();
    bool is_fine = true;
    for (const v1::Completion& completion : final.completions()) is_fine = is_fine && !completion.has_error();
    if (session_.json) {
      out << WithStarted(ToJson(final), started) << "\n";
      return is_fine;
    }
    for (const v1::Completion& completion : final.completions()) {
      PrintOne(completion, final.completions_size() > 1, final.seed());
    }
    out << Filled(TokenizationNote(started.tokenization(), "the prompt"), session_.style().width);
    if (session_.colour && (is_streamed_ || list_tokens_)) out << "\n" << LogProbLegend(session_.style()) << "\n";
    return is_fine;
  }

 private:
  void PrintOne(const v1::Completion& completion, bool is_one_of_several, uint64_t seed) {
    std::ostream& out = session_.out();
    if (is_one_of_several && (completion.index() > 0 || is_streamed_)) out << "\n";
    if (is_one_of_several) out << Bold(absl::StrCat("completion ", completion.index()), session_.colour) << "\n";
    if (!is_streamed_) {
      // A script gets the text as it is; a terminal must not be controlled by it.
      out << (session_.environment.out_is_terminal ? SanitizeForTerminal(completion.text()) : completion.text())
          << "\n";
    }
    // A streamed completion stands further up: here its heading and its summary belong together.
    if (!(is_one_of_several && is_streamed_)) out << "\n";
    if (list_tokens_) out << TokenTable(completion.tokens(), session_.style()) << "\n";
    out << Filled(CompletionSummary(completion, seed), session_.style().width);
  }

  Session& session_;
  const bool is_streamed_;
  const bool list_tokens_;
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
  const bool list_tokens = arguments.Has("--tokens") || request->has_record();
  const bool shows_stream = environment.out_is_terminal && !session->json && !arguments.Has("--no-stream");
  const int completion_count = request->has_n() ? request->n() : 1;
  StreamView view(*session, request->prompt().text(), completion_count);
  PartialCompletions partial(request->first_sequence_key(), completion_count);
  const auto on_delta = [&](const v1::CompletionDelta& delta) {
    partial.Take(delta);
    if (shows_stream) view.Take(delta);
    return true;
  };
  v1::GenerateStarted started;
  const auto on_started = [&](const v1::GenerateStarted& first) {
    partial.Take(first);
    started = first;
    return true;
  };
  // Deltas come in any case: they are what is left if the call ends before its time.
  request->set_stream(true);
  const std::stop_token interrupted = environment.take_interrupts();
  const absl::StatusOr<v1::GenerateFinal> final =
      session->client->Complete(*request, on_delta, on_started, interrupted);
  if (shows_stream) view.End();
  Printer printer(*session, shows_stream, list_tokens);
  if (final.ok()) return printer.Print(*final, started) ? kExitOk : kExitItemFailed;

  const bool is_interrupt = interrupted.stop_requested();
  const absl::Status status = is_interrupt ? absl::CancelledError("interrupted") : final.status();
  v1::GenerateFinal come = std::move(partial).EndWith(session->ErrorOf(status));
  if (come.completions_size() > 0) {
    printer.Print(come, started);
    session->out() << std::flush;
  }
  exit_code = session->Fail(status);
  return is_interrupt ? kExitInterrupted : exit_code;
}

}  // namespace logitd::cli
