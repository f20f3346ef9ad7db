// `logit compare`: two continuations of one context, one continuation under two models, or two files of rows.
#include <cmath>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/compare_continuations.h"
#include "client/cli/compare_modes.h"
#include "client/cli/compare_page.h"
#include "client/cli/compare_report.h"
#include "client/cli/flags.h"
#include "client/cli/json_lines.h"
#include "client/cli/model_side.h"
#include "client/cli/pair_flags.h"
#include "client/cli/request_fields.h"
#include "client/cli/session.h"
#include "client/comparison/row_divergence.h"
#include "client/logitd/answer_file.h"
#include "client/logitd/model_path.h"

namespace logitd::cli {
namespace {

constexpr int32_t kDefaultTopN = 5;
constexpr int32_t kMostListed = 1 << 20;

// The flags that need a model.
std::vector<Flag> TextFlags() {
  return Joined({ComparePairFlags(), {ModelFlag()}, TokenizationFlags(), PairFlags(), ReproducibleFlags()});
}

std::vector<Flag> RowFileFlags() {
  return {{"--logits", "", "FILE", "rows from numpy.save, [V] or [T, V]; - reads them from standard input"},
          {"--against-logits", "", "FILE", "the other rows, of the same shape"},
          {.name = "--dtype",
           .value = "TYPE",
           .help = "bf16: the file holds bfloat16, which numpy saves as '<V2' or uint16",
           .choices = {"bf16"}},
          {.name = "--against-dtype",
           .value = "TYPE",
           .help = "that of the other file; default: --dtype",
           .choices = {"bf16"}},
          {"--targets", "", "IDS", "a token id for each row, whose log-probs are compared too; -100: none"},
          {"--targets-file", "", "FILE", "the same from a file: numpy.save'd as int32 or int64, [T]"}};
}

std::vector<Flag> OutputFlags() {
  return {
      {"--html", "", "FILE", "write one page with plots too, which needs nothing besides itself"},
      {"--positions", "", "N", "list at most N positions, those that differ most; default 64"},
      {"--confidence", "", "P", "a model is confident of a token that it gives at least P, in (0.5, 1); default 0.9"},
      {"--low-entropy", "", "NATS", "a row of at most that entropy counts as confident too, >= 0; default 0.5"}};
}

std::vector<Flag> DistributionFlags() {
  return {{"--temperature", "", "T", "of both distributions, in [1e-4, 1e6]; default 1"},
          {"--top-n", "", "N",
           "two models: bounds from the N most likely tokens of each, in [1, 1024], instead of whole rows; two "
           "continuations: N alternatives in --json; default 5"}};
}

absl::StatusOr<CompareOptions> OptionsFrom(const Arguments& arguments) {
  CompareOptions options;
  ASSIGN_OR_RETURN(const auto temperature, arguments.Get<double>("--temperature"));
  if (temperature &&
      !(*temperature >= comparison::LeastTemperature() && *temperature <= comparison::LargestTemperature())) {
    return UsageError("--temperature", arguments.Value("--temperature"), "in [1e-4, 1e6]");
  }
  options.temperature = temperature.value_or(1);
  ASSIGN_OR_RETURN(options.top_n, arguments.Get<int32_t>("--top-n"));
  if (options.top_n && (*options.top_n < 1 || *options.top_n > kMostTopN)) {
    return UsageError("--top-n", arguments.Value("--top-n"), absl::StrCat("in [1, ", kMostTopN, "]"));
  }
  ASSIGN_OR_RETURN(const auto positions, arguments.Get<int32_t>("--positions"));
  if (positions && (*positions < 1 || *positions > kMostListed)) {
    return UsageError("--positions", arguments.Value("--positions"), absl::StrCat("in [1, ", kMostListed, "]"));
  }
  options.listed_count = positions.value_or(options.listed_count);
  ASSIGN_OR_RETURN(const auto confidence, arguments.Get<double>("--confidence"));
  if (confidence && !(*confidence > 0.5 && *confidence < 1)) {
    return UsageError("--confidence", arguments.Value("--confidence"), "in (0.5, 1)");
  }
  options.rule.confidence = confidence.value_or(options.rule.confidence);
  ASSIGN_OR_RETURN(const auto low_entropy, arguments.Get<double>("--low-entropy"));
  if (low_entropy && !(*low_entropy >= 0 && std::isfinite(*low_entropy))) {
    return UsageError("--low-entropy", arguments.Value("--low-entropy"), ">= 0 and finite");
  }
  options.rule.low_entropy = low_entropy.value_or(options.rule.low_entropy);
  return options;
}

// A flag that says nothing where it is given is refused.
absl::Status Refuse(const Arguments& arguments, const std::vector<Flag>& flags, const char* why) {
  if (const Flag* flag = arguments.FirstOf(flags)) {
    return UsageError(flag->name, absl::StrCat(flag->name, " ", why));
  }
  return absl::OkStatus();
}

absl::StatusOr<CompareReport> Compare(const Arguments& arguments, const CompareOptions& options, Session& session) {
  if (arguments.FirstOf(RowFileFlags()) != nullptr) {
    for (const char* flag : {"--logits", "--against-logits"}) {
      if (!arguments.Has(flag)) {
        return UsageError(flag, absl::StrCat(flag,
                                             " is missing: two files are compared, --logits FILE and "
                                             "--against-logits FILE"));
      }
    }
    if (!arguments.positionals().empty()) {
      return UsageError("CONTEXT", "CONTEXT and CONTINUATION do not go with --logits: no model is asked");
    }
    RETURN_IF_ERROR(Refuse(arguments, Joined({TextFlags(), AgainstFlags(), {{"--top-n", "", "", ""}}}),
                           "does not go with --logits: whole rows are there, and no model is asked"));
    return CompareFiles(arguments, options, session);
  }
  if (arguments.FirstOf(AgainstFlags()) != nullptr) {
    RETURN_IF_ERROR(Refuse(arguments, PairFlags(),
                           "goes with two continuations: two models are compared on the tokens of context and "
                           "continuation as one text"));
    if (options.top_n && arguments.Has("--temperature")) {
      return UsageError("--temperature", "--temperature needs whole rows, and --top-n gives bounds without them");
    }
    return CompareModels(arguments, options, session);
  }
  RETURN_IF_ERROR(Refuse(arguments, {{"--temperature", "", "", ""}, {"--positions", "", "", ""}},
                         "goes with two models or two files of rows"));
  return CompareTexts(arguments, options, session);
}

absl::StatusOr<int> Run(const Arguments& arguments, Session& session) {
  ASSIGN_OR_RETURN(const CompareOptions options, OptionsFrom(arguments));
  if (arguments.Has("--html") && arguments.Value("--html").empty()) {
    return UsageError("--html", "", "the name of a file");
  }
  ASSIGN_OR_RETURN(const CompareReport report, Compare(arguments, options, session));
  if (arguments.Has("--html")) {
    RETURN_IF_ERROR(client::WriteFile(arguments.Value("--html"), ReportPage(report)));
  }
  session.out() << (session.json ? report.json + "\n" : ReportText(report, session.style()));
  return kExitOk;
}

}  // namespace

absl::StatusOr<CompareReport> CompareTexts(const Arguments& arguments, const CompareOptions& options,
                                           Session& session) {
  ASSIGN_OR_RETURN(const Pair pair, PairFrom(arguments, ComparePairFlags(), "CONTINUATION"));
  if (pair.continuations.size() != 2) {
    return UsageError("CONTINUATION", absl::StrCat(pair.continuations.size()),
                      "two continuations, or one with --against-model or --against-server");
  }
  v1::ScoreRequest request;
  RETURN_IF_ERROR(SetFields(arguments, request));
  request.mutable_record()->set_rank(true);
  request.mutable_record()->set_entropy(true);
  request.mutable_record()->set_top_n(options.top_n.value_or(kDefaultTopN));
  v1::ScoreItem& item = *request.add_items();
  *item.mutable_context() = pair.context;
  item.mutable_continuations()->Add(pair.continuations.begin(), pair.continuations.end());
  ASSIGN_OR_RETURN(const v1::ScoreResponse response, client::ScoreOne(*session.client, request));
  return CompareContinuations(response, pair.labels, options.rule);
}

Command CompareCommand() {
  return {
      .name = "compare",
      .purpose = "two continuations, two models or two files of rows: where they part, and why one wins",
      .positionals = "CONTEXT CONTINUATION...",
      .summary =
          "Compares two continuations of a context under one model; or one continuation under two models, with "
          "--against-model or --against-server; or two files of rows, with --logits and --against-logits, without a "
          "model. It says in words where they part, which positions decide, and where a model is confident of another "
          "token. KL, JS and top-1 agreement are computed for equal vocabularies; else only bits are compared.",
      .examples =
          "logit compare \"The meeting will be held\" \" at the zoo\" \" on Monday morning\"\n"
          "logit compare \"The capital of Australia is\" \" Sydney\" \" Canberra\" --html page.html\n"
          "logit compare \"The sky is\" \" blue today\" --model a --against-model b\n"
          "logit compare \"The sky is\" \" blue\" --against-server host:50051 --json\n"
          "logit compare --logits f32.npy --against-logits int8.npy --targets 5,7\n",
      .groups = {{"Request", TextFlags()},
                 {"Another model", AgainstFlags()},
                 {"Files of rows, instead of models", RowFileFlags()},
                 {"Distributions", DistributionFlags()},
                 {"Output", OutputFlags()}},
      .request = v1::ScoreRequest::descriptor(),
      .run = Run};
}

}  // namespace logitd::cli
