// `logit decode --logits ROWS`: rows of one's own as the steps of a Decode stream.
#include <ostream>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/filled_text.h"
#include "client/cli/flags.h"
#include "client/cli/json_lines.h"
#include "client/cli/record_table.h"
#include "client/cli/request_fields.h"
#include "client/cli/session.h"
#include "client/cli/terminal.h"
#include "client/logitd/row_decoder.h"

namespace logitd::cli {
namespace {

void Print(const v1::Completion& completion, uint64_t seed, bool is_one_of_several, Session& session) {
  std::ostream& out = session.out();
  if (session.json) {
    std::string json = ToJson(completion);
    // The seed belongs to the stream, but each line must be complete.
    json.insert(json.size() - 1, absl::StrCat(",\"seed\":\"", seed, "\""));
    out << json << "\n" << std::flush;
    return;
  }
  if (is_one_of_several) {
    out << (completion.index() > 0 ? "\n" : "") << Bold(absl::StrCat("sequence ", completion.index()), session.colour)
        << "\n";
  }
  out << TokenTable(completion.tokens(), session.style(), /*has_text=*/false) << "\n"
      << Filled(CompletionSummary(completion, seed), session.style().width);
  if (completion.has_error()) {
    out << "the row that failed: " << completion.tokens_size() << "\n";
  } else if (completion.finish().reason() == v1::FINISH_REASON_CANCELLED) {
    out << "there are no more rows for this sequence\n";
  }
  out << std::flush;
}

absl::StatusOr<int> Run(const Arguments& arguments, Session& session) {
  ASSIGN_OR_RETURN(const auto first_key, arguments.Get<uint64_t>("--sequence-key"));
  ASSIGN_OR_RETURN(const auto prompt, arguments.Get<std::vector<int32_t>>("--prompt-tokens"));
  ASSIGN_OR_RETURN(client::LogitsRows rows, OpenLogits(arguments, session));
  v1::DecodeConfig config;
  RETURN_IF_ERROR(SetFields(arguments, config));
  RETURN_IF_ERROR(CheckRecord(arguments, config.record()));
  config.set_vocab_size(rows.vocab_size());
  // As in `complete`: where nothing is drawn, no seed is needed, and the output is the same every time.
  const v1::SamplingParams& sampling = config.sampling();
  if (sampling.has_temperature() && sampling.temperature() == 0 && !sampling.has_seed()) {
    config.mutable_sampling()->set_seed(0);
  }
  if (!config.stop().has_max_tokens()) config.mutable_stop()->set_max_tokens(rows.row_count());

  ASSIGN_OR_RETURN(const std::unique_ptr<client::DecodeStream> stream, session.client->Decode(config));
  client::RowDecoder decoder(rows, *stream, first_key.value_or(0), prompt.value_or(std::vector<int32_t>()));
  int exit_code = kExitOk;
  while (rows.next_sequence() < rows.sequence_count() && session.out()) {
    ASSIGN_OR_RETURN(const v1::Completion completion, decoder.Next());
    Print(completion, decoder.seed(), rows.sequence_count() > 1, session);
    if (completion.has_error()) exit_code = kExitItemFailed;
  }
  RETURN_IF_ERROR(stream->Finish());
  if (!session.json && session.colour) session.out() << "\n" << LogProbLegend(session.style()) << "\n";
  return exit_code;
}

}  // namespace

Command DecodeCommand() {
  return {.name = "decode",
          .purpose = "choose tokens from your own logits, without a model",
          .summary =
              "Chooses a token from each row of --logits: row t is step t, whichever token was chosen before. The rows "
              "do not depend on the tokens chosen, so this replays recorded or teacher-forced logits, tests sampling "
              "parameters, and picks labels. It is a completion only if the model was fed these very tokens; a program "
              "that feeds its model the chosen tokens uses the Decode stream itself. Needs no model.",
          .examples =
              "python3 -c 'from numpy import *; save(\"rows.npy\", float32([[6,3,1,1]]*3))'\n"
              "logit decode --logits rows.npy --temperature 0\n"
              "logit decode --logits 6,3,0.5,0.5 --seed 7\n"
              "logit decode --logits rows.npy --temperature 0.7 --top-p 0.9 --seed 7 --end-token-ids 3\n"
              "logit decode --logits rows.npy --seed 7 --frequency-penalty 0.5 --prompt-tokens 1,1,2\n"
              "logit decode --logits - --seed 7 --json < rows.npy\n",
          .groups = WithPenaltyFlags(
              {{"Request", Joined({LogitsFlags(), {PromptTokensFlag()}})},
               {"Sampling",
                Joined({StageFlags(),
                        {SeedFlag(),
                         {"--sequence-key", "", "KEY", "key of the first sequence; the i-th has KEY + i; default 0"}},
                        TokenSetFlags()})},
               {"Stop", Joined({{{"--end-token-ids", "end_token_ids", "IDS", "tokens that end a sequence, as 1,2,3"}},
                                StopFlags("the number of rows")})},
               {"Output", Joined({RecordFlags(), {DrawFlag()}})}}),
          .request = v1::DecodeConfig::descriptor(),
          .needs_model = false,
          .run = Run};
}

}  // namespace logitd::cli
