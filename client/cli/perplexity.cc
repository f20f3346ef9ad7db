// `logit perplexity FILE`: the perplexity of a text of any length, in windows.
#include <optional>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/filled_text.h"
#include "client/cli/flags.h"
#include "client/cli/json_lines.h"
#include "client/cli/record_table.h"
#include "client/cli/request_fields.h"
#include "client/cli/rolling_flags.h"
#include "client/cli/session.h"
#include "client/cli/table.h"
#include "client/cli/text_input.h"
#include "client/cli/tokenization_notes.h"
#include "client/logitd/client_error.h"
#include "client/logitd/item_requests.h"

namespace logitd::cli {
namespace {

absl::Status SetInput(const Arguments& arguments, Environment& environment, v1::Input& input) {
  const std::vector<std::string>& files = arguments.positionals();
  if (arguments.Has("--ids")) {
    if (!files.empty()) return UsageError("FILE", "FILE does not go with --ids, which gives the text");
    ASSIGN_OR_RETURN(const auto ids, arguments.Get<std::vector<int32_t>>("--ids"));
    input.mutable_tokens()->mutable_token_ids()->Add(ids->begin(), ids->end());
    return absl::OkStatus();
  }
  if (files.size() > 1) return UsageError("FILE", files[1], "one file", "perplexity takes one FILE");
  if (files.empty() && environment.in_is_terminal) {
    return UsageError("FILE", "FILE is missing: give a file, - for standard input, or --ids");
  }
  const bool is_input = files.empty() || files[0] == "-";
  ASSIGN_OR_RETURN(std::string text, is_input ? TextOfInput("FILE", environment) : TextOfFile("FILE", files[0]));
  input.set_text(std::move(text));
  return absl::OkStatus();
}

absl::Status SetRolling(const Arguments& arguments, Environment& environment, v1::RollingText& rolling) {
  RETURN_IF_ERROR(SetInput(arguments, environment, *rolling.mutable_input()));
  return SetWindows(arguments, rolling);
}

std::string WindowTable(const v1::RollingScore& rolling, const Style& style) {
  Table table({{"first token", Table::kRight, Table::kWhole, /*is_key=*/true}, {"context"}, {"scored"}, {"sum"}});
  for (const v1::RollingWindow& window : rolling.windows()) {
    table.Add({{absl::StrCat(window.first_token())},
               {absl::StrCat(window.context_token_count())},
               {absl::StrCat(window.token_count())},
               {ShowNumber(LOGITD_CLI_OPTIONAL(window, sum_model_log_prob))}});
  }
  return table.Render(style);
}

std::string Summary(const v1::RollingScore& rolling) {
  const v1::SequenceTotals& totals = rolling.score().totals();
  return absl::StrCat("tokens: ", totals.token_count(), " in ", rolling.windows_size(),
                      rolling.windows_size() == 1 ? " window" : " windows", "\ncumulative model log-prob: ",
                      ShowNumber(LOGITD_CLI_OPTIONAL(totals, cumulative_model_log_prob)),
                      "\nperplexity: ", ShowNumber(LOGITD_CLI_OPTIONAL(rolling, perplexity)),
                      "\nbits per byte: ", ShowNumber(LOGITD_CLI_OPTIONAL(rolling, bits_per_byte)), "\n");
}

absl::StatusOr<int> Run(const Arguments& arguments, Session& session) {
  v1::ScoreRequest request;
  RETURN_IF_ERROR(SetFields(arguments, request));
  RETURN_IF_ERROR(SetRolling(arguments, session.environment, *request.add_items()->mutable_rolling()));
  RETURN_IF_ERROR(client::CheckRequestSize(request));
  std::optional<v1::ScoreResponse> response;
  RETURN_IF_ERROR(session.client->Score(request, [&](v1::ScoreResponse answer) {
    response = std::move(answer);
    return true;
  }));
  if (!response) return absl::InternalError("the server answered without a score");
  client::NameFieldsFromItem(*response->mutable_item());
  const v1::ScoredItem& item = response->item();
  if (session.json) {
    session.out() << ToJson(*response) << "\n";
  } else if (item.has_error()) {
    session.Fail(client::FromError(item.error()));
  } else {
    const v1::RollingScore& rolling = item.rolling();
    if (arguments.Has("--windows")) session.out() << WindowTable(rolling, session.style()) << "\n";
    session.out() << Summary(rolling)
                  << Filled(TokenizationNote(item.tokenization(), "the text"), session.style().width);
  }
  return item.has_error() ? kExitItemFailed : kExitOk;
}

}  // namespace

Command PerplexityCommand() {
  return {
      .name = "perplexity",
      .purpose = "perplexity of a text of any length, in windows",
      .positionals = "FILE",
      .summary =
          "Scores every token of a text, which may be longer than the model's context, in windows. Without FILE, or "
          "with -, reads standard input; a newline at its end counts.",
      .examples =
          "logit perplexity book.txt\n"
          "logit perplexity book.txt --window 1024 --stride 512 --windows\n"
          "logit perplexity --ids 504,2644,335 --json\n",
      .groups = {{"Request", Joined({{ModelFlag(), {"--ids", "", "IDS", "the text as token ids, instead of FILE"}},
                                     RollingFlags(),
                                     TokenizationFlags(),
                                     ReproducibleFlags()})},
                 {"Output", {{"--windows", "", "", "list the windows with their sums"}}}},
      .request = v1::ScoreRequest::descriptor(),
      .run = Run};
}

}  // namespace logitd::cli
