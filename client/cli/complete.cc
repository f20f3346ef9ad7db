// `logit complete`: a prompt in, completions out.
#include <deque>
#include <iterator>
#include <ostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/utf8.h"
#include "client/cli/commands.h"
#include "client/cli/filled_text.h"
#include "client/cli/flags.h"
#include "client/cli/json_lines.h"
#include "client/cli/record_table.h"
#include "client/cli/request_fields.h"
#include "client/cli/session.h"
#include "client/cli/terminal.h"
#include "client/cli/token_text.h"
#include "client/cli/tokenization_notes.h"
#include "client/logitd/partial_completions.h"

namespace logitd::cli {
namespace {

absl::Status SetPrompt(const Arguments& arguments, Environment& environment, v1::GenerateRequest& request) {
  const std::vector<std::string>& texts = arguments.positionals();
  if (request.has_prompt()) {
    if (texts.empty()) return absl::OkStatus();
    return UsageError("--prompt-tokens", "PROMPT and --prompt-tokens exclude each other");
  }
  if (texts.empty()) {
    return UsageError("PROMPT", "PROMPT is missing: logit complete \"TEXT\", or --prompt-tokens 1,2");
  }
  if (texts.size() > 1) {
    return UsageError("PROMPT", absl::StrCat(texts.size()), "one argument",
                      absl::StrCat("PROMPT must be one argument, got ", texts.size(), "; put it in quotation marks"));
  }
  std::string text = texts[0];
  if (text == "-") {
    text.assign(std::istreambuf_iterator<char>(environment.in), {});
    // The editor or the shell added a byte order mark and one newline (docs/cli.md).
    if (BeginsWithByteOrderMark(text)) text.erase(0, 3);
    if (!text.empty() && text.back() == '\n') {
      text.pop_back();
      if (!text.empty() && text.back() == '\r') text.pop_back();
    }
    if (!IsUtf8(text)) return UsageError("PROMPT", "the prompt on standard input is not valid UTF-8");
  }
  request.mutable_prompt()->set_text(std::move(text));
  return absl::OkStatus();
}

// Shows deltas as they come, one completion after the other: those of a later completion wait until the earlier ones
// have ended.
class StreamView {
 public:
  StreamView(Session& session, std::string prompt, int completion_count)
      : session_(session), prompt_(std::move(prompt)), completion_count_(completion_count) {}

  void Take(const v1::CompletionDelta& delta) {
    // An index that no request asked for must never size a list.
    if (delta.index() < 0 || delta.index() >= completion_count_) return;
    const size_t index = static_cast<size_t>(delta.index());
    if (index < current_) return;
    if (index >= pending_.size()) pending_.resize(index + 1);
    pending_[index].push_back(delta);
    Show();
  }

  // Shows whatever still waits. No deltas follow.
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

  // Returns whether the completion has ended.
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

// The last message, with parts of the first one where it has none: a stream that was cut off has no last message of the
// server's own.
v1::GenerateFinal WithStarted(v1::GenerateFinal final, const v1::GenerateStarted& started) {
  if (!final.has_provenance()) *final.mutable_provenance() = started.provenance();
  if (!final.has_tokenization() && started.has_tokenization()) *final.mutable_tokenization() = started.tokenization();
  return final;
}

// Prints completions: text and summary, or the summary alone if the text was streamed.
class Printer {
 public:
  Printer(Session& session, bool is_streamed, bool list_tokens)
      : session_(session), is_streamed_(is_streamed), list_tokens_(list_tokens) {}

  // Returns whether no completion failed.
  bool Print(const v1::GenerateFinal& final, const v1::GenerateStarted& started) {
    std::ostream& out = session_.out();
    bool is_fine = true;
    for (const v1::Completion& completion : final.completions()) is_fine = is_fine && !completion.has_error();
    if (session_.json) {
      out << ToJson(WithStarted(final, started)) << "\n";
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
      // A script gets the text unchanged; on a terminal it must not act as a control sequence.
      out << (session_.environment.out_is_terminal ? SanitizeForTerminal(completion.text()) : completion.text())
          << "\n";
    }
    // A streamed completion stands further up; here only its heading and its summary follow.
    if (!(is_one_of_several && is_streamed_)) out << "\n";
    if (list_tokens_) out << TokenTable(completion.tokens(), session_.style()) << "\n";
    out << Filled(CompletionSummary(completion, seed), session_.style().width);
  }

  Session& session_;
  const bool is_streamed_;
  const bool list_tokens_;
};

absl::StatusOr<int> Run(const Arguments& arguments, Session& session) {
  Environment& environment = session.environment;
  v1::GenerateRequest request;
  RETURN_IF_ERROR(SetFields(arguments, request));
  RETURN_IF_ERROR(SetPrompt(arguments, environment, request));
  RETURN_IF_ERROR(CheckRecord(arguments, request.record()));

  // A flag of the record asks to see the tokens, which only the list shows.
  const bool list_tokens = arguments.Has("--tokens") || request.has_record();
  // Of best_of there is no stream.
  const bool shows_stream =
      environment.out_is_terminal && !session.json && !arguments.Has("--no-stream") && !request.has_best_of();
  const int completion_count = request.has_n() ? request.n() : 1;
  StreamView view(session, request.prompt().text(), completion_count);
  client::PartialCompletions partial(request.first_sequence_key(), completion_count);
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
  // Deltas are always asked for: they are all that is left if the call ends early.
  request.set_stream(true);
  const std::stop_token interrupted = environment.take_interrupts();
  const absl::StatusOr<v1::GenerateFinal> final = session.client->Complete(request, on_delta, on_started, interrupted);
  if (shows_stream) view.End();
  Printer printer(session, shows_stream, list_tokens);
  if (final.ok()) return printer.Print(*final, started) ? kExitOk : kExitItemFailed;

  const bool is_interrupt = interrupted.stop_requested();
  const absl::Status status = is_interrupt ? absl::CancelledError("interrupted") : final.status();
  const v1::GenerateFinal come = std::move(partial).EndWith(session.ErrorOf(status));
  if (come.completions_size() > 0) {
    printer.Print(come, started);
    session.out() << std::flush;
  }
  const int exit_code = session.Fail(status);
  return is_interrupt ? kExitInterrupted : exit_code;
}

}  // namespace

Command CompleteCommand() {
  return {
      .name = "complete",
      .purpose = "complete a prompt, with each token's log-prob",
      .positionals = "PROMPT",
      .summary =
          "Completes a prompt. PROMPT - reads it from standard input, except one newline (LF or CR LF) at "
          "its end.",
      .examples =
          "logit complete \"The capital of France is\" --temperature 0 --max-tokens 16\n"
          "logit complete \"Once upon a time\" --temperature 0.8 --seed 7 -n 4 --max-tokens 32\n"
          "logit complete \"Once upon a time\" --seed 7 --repetition-penalty 1.1 --min-p 0.05 --stage-order hf\n"
          "logit complete \"2 + 2 =\" --tokens --rank --entropy --top-n 3 --max-tokens 4\n"
          "logit complete --prompt-tokens 504,2644,3575 --temperature 0 --json\n",
      .groups = WithPenaltyFlags(
          {{"Request",
            Joined(
                {{{"--prompt-tokens", "prompt.tokens.token_ids", "IDS", "the prompt as token ids, instead of PROMPT"},
                  ModelFlag(),
                  {"-n", "n", "N", "the number of completions; default 1"},
                  {"--best-of", "best_of", "N",
                   "generate N completions and show the best of them, as many as -n says, best first"},
                  {"--best-by", "best_by", "VALUE",
                   "the value that --best-of compares: the model log-prob as sum, per-token (default), "
                   "per-byte, per-character or gnmt"},
                  {"--gnmt-alpha", "gnmt_alpha", "A", "for --best-by gnmt: sum / ((5 + tokens) / 6)^A; in [0, 10]"},
                  {"--first-sequence-key", "first_sequence_key", "KEY",
                   "key of the first completion; the i-th has KEY + i; default 0"}},
                 TokenizationFlags(),
                 EvaluationFlags()})},
           {"Sampling", Joined({StageFlags(), {SeedFlag()}, TokenSetFlags()})},
           {"Stop",
            Joined({StopFlags("256"),
                    {{.name = "--stop",
                      .field = "stop.stop_strings",
                      .value = "TEXT",
                      .help = "end a completion before this text; repeatable",
                      .repeatable = true},
                     {"--time-limit", "stop.time_limit_ms", "MS",
                      "end all completions after that many milliseconds, and keep the tokens that have come"}}})},
           {"Output", Joined({{{.name = "--tokens",
                                .help = "list every token with its log-probs; --rank, --entropy and --top-n imply it",
                                .alias = "--verbose"},
                               {.name = "--no-stream", .help = "print nothing before the completions are done"}},
                              RecordFlags(),
                              {DrawFlag()}})}}),
      .request = v1::GenerateRequest::descriptor(),
      .run = Run};
}

}  // namespace logitd::cli
