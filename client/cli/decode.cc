// `logit decode --logits ROWS`: rows of one's own as the steps of a Decode stream.
#include <ostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/filled_text.h"
#include "client/cli/json_lines.h"
#include "client/cli/logits_input.h"
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
  sampling.push_back({"--sequence-key", "KEY", "key of the first sequence; the i-th has KEY + i; default 0"});
  for (Flag& flag : TokenSetFlags()) sampling.push_back(std::move(flag));
  std::vector<Flag> request = LogitsFlags();
  request.push_back(PromptTokensFlag());
  std::vector<Flag> stop = {{"--end-token-ids", "IDS", "tokens that end a sequence, as 1,2,3"}};
  for (Flag& flag : StopFlags("at most so many tokens; default: as many as there are rows")) {
    stop.push_back(std::move(flag));
  }
  return Arguments(
      {.name = "decode",
       .positionals = "",
       .summary = "Chooses a token from each row of --logits: row t is step t, whatever was chosen before. The rows do "
                  "not depend on the tokens chosen, so this replays recorded or teacher-forced logits, tests sampling "
                  "parameters, "
                  "and picks labels; it is a completion only if the model was fed these very tokens. A model that is "
                  "fed what is "
                  "chosen uses the Decode stream itself. Needs no model.",
       .examples = "python3 -c 'from numpy import *; save(\"rows.npy\", float32([[6,3,1,1]]*3))'\n"
                   "logit decode --logits rows.npy --temperature 0\n"
                   "logit decode --logits 6,3,0.5,0.5 --seed 7\n"
                   "logit decode --logits rows.npy --temperature 0.7 --top-p 0.9 --seed 7 --end-token-ids 3\n"
                   "logit decode --logits rows.npy --seed 7 --frequency-penalty 0.5 --prompt-tokens 1,1,2\n"
                   "logit decode --logits - --seed 7 --json < rows.npy\n"},
      WithPenaltyFlags(
          {{"Request", request}, {"Sampling", sampling}, {"Stop", stop}, {"Output", RecordFlags(/*draws=*/true)}}));
}

absl::StatusOr<v1::DecodeConfig> ConfigFrom(const Arguments& arguments, const LogitsInput& file) {
  v1::DecodeConfig config;
  config.set_vocab_size(file.vocab_size());
  for (const absl::Status& status : {
           SetIfGiven(SamplingFrom(arguments),
                      [&](v1::SamplingParams p) { *config.mutable_sampling() = std::move(p); }),
           SetIfGiven(StopFrom(arguments), [&](v1::StopCriteria s) { *config.mutable_stop() = std::move(s); }),
           SetIfGiven(RecordFrom(arguments), [&](v1::RecordOptions r) { *config.mutable_record() = std::move(r); }),
           SetIfGiven(
               arguments.TokenIds("--end-token-ids"),
               [&](const std::vector<int32_t>& ids) { config.mutable_end_token_ids()->Add(ids.begin(), ids.end()); }),
       }) {
    if (!status.ok()) return status;
  }
  // As in `complete`: what is not drawn needs no seed, and its output is the same every time.
  const v1::SamplingParams& sampling = config.sampling();
  if (sampling.has_temperature() && sampling.temperature() == 0 && !sampling.has_seed()) {
    config.mutable_sampling()->set_seed(0);
  }
  if (!config.stop().has_max_tokens()) config.mutable_stop()->set_max_tokens(file.row_count());
  return config;
}

// Decodes one sequence after the other, its rows in pieces.
class FileDecoder {
 public:
  // `prompt`: every sequence's.
  FileDecoder(LogitsInput& file, client::DecodeStream& stream, uint64_t first_key, std::vector<int32_t> prompt)
      : file_(file), stream_(stream), first_key_(first_key), prompt_(std::move(prompt)) {}

  // The next sequence of the file. REQUIRES: there is one.
  absl::StatusOr<v1::Completion> Next();
  // The seed in use.
  uint64_t seed() const { return seed_; }

 private:
  // Takes the results of a batch. Whether the sequence goes on.
  static bool Take(const v1::BatchResult& result, v1::Completion& completion);
  // Closes a sequence whose rows ended before it did, and takes how it ended.
  absl::Status Close(int64_t sequence_id, v1::Completion& completion);

  LogitsInput& file_;
  client::DecodeStream& stream_;
  const uint64_t first_key_;
  const std::vector<int32_t> prompt_;
  int64_t batch_id_ = 0;
  uint64_t seed_ = 0;
};

bool FileDecoder::Take(const v1::BatchResult& result, v1::Completion& completion) {
  for (const v1::StepResult& step : result.steps()) {
    if (step.has_error()) {
      *completion.mutable_error() = step.error();
      return false;
    }
    for (const v1::TokenRecord& token : step.chosen().tokens()) *completion.add_tokens() = token;
    *completion.mutable_totals() = step.chosen().totals();
    if (!step.chosen().has_finish()) continue;
    // The rows after it were sent in vain.
    *completion.mutable_finish() = step.chosen().finish();
    return false;
  }
  return true;
}

absl::Status FileDecoder::Close(int64_t sequence_id, v1::Completion& completion) {
  v1::StepBatch batch;
  batch.set_batch_id(++batch_id_);
  batch.add_close_sequence_ids(sequence_id);
  const absl::StatusOr<v1::BatchResult> result = stream_.Step(std::move(batch), "");
  if (!result.ok()) return result.status();
  if (result->closes_size() != 1) return absl::InternalError("the server has not answered the close of a sequence");
  if (result->closes(0).has_error()) {
    *completion.mutable_error() = result->closes(0).error();
  } else {
    *completion.mutable_finish() = result->closes(0).finish();
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Completion> FileDecoder::Next() {
  const int32_t sequence = file_.next_sequence();
  v1::Completion completion;
  completion.set_index(sequence);
  // 0 is no sequence id.
  const int64_t sequence_id = int64_t{sequence} + 1;
  bool goes_on = true;
  while (goes_on && file_.next_sequence() == sequence) {
    const int32_t first_row = file_.next_row();
    v1::StepBatch batch;
    batch.set_batch_id(++batch_id_);
    if (first_row == 0) {
      v1::OpenSequence& open = *batch.add_opens();
      open.set_sequence_id(sequence_id);
      open.set_sequence_key(first_key_ + static_cast<uint64_t>(sequence));
      if (!prompt_.empty()) {
        open.mutable_fresh()->mutable_prompt_token_ids()->Add(prompt_.begin(), prompt_.end());
      }
    }
    std::string payload;
    const absl::StatusOr<int32_t> rows = file_.ReadRows(*batch.add_blocks(), payload);
    if (!rows.ok()) return rows.status();
    for (int32_t row = 0; row < *rows; ++row) {
      v1::SequenceStep& step = *batch.add_steps();
      step.set_sequence_id(sequence_id);
      step.set_position(first_row + row);
      step.set_row(row);
    }
    const absl::StatusOr<v1::BatchResult> result = stream_.Step(std::move(batch), std::move(payload));
    if (!result.ok()) return result.status();
    if (result->opens_size() > 0) {
      const v1::OpenResult& opened = result->opens(0);
      seed_ = opened.seed();
      completion.set_sequence_key(opened.sequence_key());
      if (opened.has_error()) {
        *completion.mutable_error() = opened.error();
        break;
      }
    }
    goes_on = Take(*result, completion);
  }
  if (absl::Status status = file_.SkipSequence(sequence); !status.ok()) return status;
  if (!completion.has_error() && !completion.has_finish()) {
    // More tokens were allowed than there are rows.
    if (absl::Status status = Close(sequence_id, completion); !status.ok()) return status;
  }
  return completion;
}

void Print(const v1::Completion& completion, uint64_t seed, bool is_one_of_several, Session& session) {
  std::ostream& out = session.out();
  if (session.json) {
    std::string json = ToJson(completion);
    // The seed is the stream's, and a line stands for itself.
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

}  // namespace

int RunDecode(const std::vector<std::string>& args, Environment& environment) {
  Arguments arguments = MakeArguments();
  int exit_code = kExitOk;
  const std::unique_ptr<Session> session = OpenSession(arguments, args, environment, exit_code);
  if (session == nullptr) return exit_code;
  session->needs_model = false;
  const absl::StatusOr<std::optional<uint64_t>> key = arguments.Uint64("--sequence-key");
  if (!key.ok()) return session->Fail(key.status());
  absl::StatusOr<std::optional<std::vector<int32_t>>> prompt = arguments.TokenIds("--prompt-tokens");
  if (!prompt.ok()) return session->Fail(prompt.status());
  absl::StatusOr<LogitsInput> file = LogitsInput::Open(arguments, environment);
  if (!file.ok()) return session->Fail(file.status());
  const absl::StatusOr<v1::DecodeConfig> config = ConfigFrom(arguments, *file);
  if (!config.ok()) return session->Fail(config.status());

  const absl::StatusOr<std::unique_ptr<client::DecodeStream>> stream = session->client->Decode(*config);
  if (!stream.ok()) return session->Fail(stream.status());
  FileDecoder decoder(*file, **stream, key->value_or(0), std::move(*prompt).value_or(std::vector<int32_t>()));
  while (file->next_sequence() < file->sequence_count() && session->out()) {
    const absl::StatusOr<v1::Completion> completion = decoder.Next();
    if (!completion.ok()) return session->Fail(completion.status());
    Print(*completion, decoder.seed(), file->sequence_count() > 1, *session);
    if (completion->has_error()) exit_code = kExitItemFailed;
  }
  if (const absl::Status status = (*stream)->Finish(); !status.ok()) return session->Fail(status);
  if (!session->json && session->colour) session->out() << "\n" << LogProbLegend(session->style()) << "\n";
  return exit_code;
}

}  // namespace logitd::cli
