#include "server/handlers/generate.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/decoder.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/status_macros.h"
#include "server/converters/completion.h"
#include "server/converters/error.h"
#include "server/converters/model.h"
#include "server/converters/sampling.h"
#include "server/converters/text.h"
#include "server/handlers/numerics_version.h"
#include "server/handlers/prompt_input.h"
#include "server/handlers/provenance.h"
#include "server/models/model_session.h"

namespace logitd::server {
namespace {

// How long a client may be slower than its completion before the completion's room in the runner's cache is given to
// others. It is read again when the client goes on: so this is longer than any client that reads needs.
constexpr std::chrono::milliseconds kPatience{2000};

// What a request asks for, checked.
struct GenerateOptions {
  int32_t n = 1;
  uint64_t first_sequence_key = 0;
  DecoderConfig decoder;
  bool stream = true;
};

absl::StatusOr<GenerateOptions> OptionsOf(const v1::GenerateRequest& request, const ModelDescription& model) {
  GenerateOptions options;
  if (request.has_n()) options.n = request.n();
  if (options.n < 1) {
    return errors::OutOfRange("n", int64_t{options.n}, "in [1, " + std::to_string(kMaxCompletions) + "]");
  }
  if (options.n > kMaxCompletions) {
    return errors::LimitExceeded("n", options.n, "[1, " + std::to_string(kMaxCompletions) + "]", "max_n");
  }
  options.first_sequence_key = request.first_sequence_key();
  if (options.first_sequence_key > static_cast<uint64_t>(kMaxSequenceKey + 1 - options.n)) {
    return errors::OutOfRange("first_sequence_key", std::to_string(options.first_sequence_key), "in [0, 2^56 - n]");
  }
  auto sampling = FromProto(request.sampling(), model.vocab_size);
  if (!sampling.ok()) return WithFieldPrefix(sampling.status(), "sampling.");
  options.decoder.sampling = *std::move(sampling);
  if (request.sampling().has_seed()) {
    options.decoder.seed = request.sampling().seed();
  } else if (UsesRandomBits(options.decoder.sampling)) {
    // Who draws nothing keeps 0, so that the reply is the same every time.
    options.decoder.seed = DrawSeed();
  }
  auto stop = FromProto(request.stop(), model.end_token_ids, model.vocab_size, kDefaultMaxTokens);
  if (!stop.ok()) return WithFieldPrefix(stop.status(), "stop.");
  options.decoder.stop = *std::move(stop);
  auto record =
      FromProto(request.record(), model.vocab_size, /*default_sampling_log_prob=*/true, v1::RECORD_LAYOUT_RECORDS);
  if (!record.ok()) return WithFieldPrefix(record.status(), "record.");
  options.decoder.record = *std::move(record);

  const int64_t tokens = int64_t{options.n} * std::min(options.decoder.stop.max_tokens, model.context_length);
  if (tokens > kMaxGeneratedTokens) {
    return errors::LimitExceeded("n * stop.max_tokens", tokens, "[1, " + std::to_string(kMaxGeneratedTokens) + "]",
                                 "max_generated_tokens");
  }
  const int64_t alternatives =
      tokens * (options.decoder.record.top_n + static_cast<int64_t>(options.decoder.record.named_token_ids.size()));
  if (alternatives > kMaxAlternatives) {
    return errors::LimitExceeded("record.top_n", alternatives,
                                 "[0, " + std::to_string(kMaxAlternatives) + "] alternatives in one reply",
                                 "max_alternatives");
  }
  options.stream = !request.has_stream() || request.stream();
  return options;
}

// One completion as it grows.
class GrowingCompletion {
 public:
  GrowingCompletion(int32_t index, DecoderConfig config, SharedTokens prompt, const Vocabulary& vocabulary)
      : vocabulary_(vocabulary), decoder_(std::move(config), std::move(prompt), /*token_ids=*/{}, SequenceSums()) {
    message_.set_index(index);
    message_.set_sequence_key(decoder_.config().sequence_key);
  }

  // Takes the row for the next token, and says what is new.
  absl::Status Advance(LogitsView row, int32_t fed_count, int64_t most_fed, Distribution& distribution,
                       v1::CompletionDelta& delta) {
    auto advanced = decoder_.Advance(decoder_.position(), row, distribution);
    if (!advanced.ok()) {
      // The request was right: a bad row is the model's fault.
      return errors::ModelOutputInvalid(DetailOf(advanced.status()).message);
    }
    Step& step = *advanced;
    // A token that cannot be fed back has no successor.
    if (!step.finish && fed_count + 1 > most_fed) step.finish = Finish{FinishReason::kContextFull, std::nullopt};
    delta.set_index(message_.index());
    if (step.token) {
      v1::TokenRecord& record = *message_.add_tokens();
      ToProto(*step.token, decoder_.config().record, &vocabulary_, record);
      *delta.add_tokens() = record;
      const bool is_stop = step.finish && step.finish->reason == FinishReason::kStopToken;
      if (!is_stop) bytes_.append(vocabulary_.TokenBytes(step.token->token_id));
    }
    const size_t complete = step.finish ? bytes_.size() : CompletePrefix(bytes_);
    if (complete > sent_bytes_) {
      delta.set_text(ToUtf8(std::string_view(bytes_).substr(sent_bytes_, complete - sent_bytes_)));
      sent_bytes_ = complete;
    }
    ToProto(step.token_count, step.sums, *delta.mutable_totals());
    *message_.mutable_totals() = delta.totals();
    if (step.finish) {
      ToProto(*step.finish, *delta.mutable_finish());
      *message_.mutable_finish() = delta.finish();
      ended_ = true;
    }
    return absl::OkStatus();
  }

  void Fail(const absl::Status& status) {
    *message_.mutable_error() = ToProto(status);
    failure_ = status;
    ended_ = true;
  }

  v1::Completion Take() {
    // Without the tokens' bytes there is no text, and nothing to count.
    if (!vocabulary_.offsets.empty()) {
      message_.set_text(ToUtf8(bytes_));
      if (!IsUtf8(bytes_)) message_.set_raw_bytes(bytes_);
      message_.set_byte_count(static_cast<int32_t>(bytes_.size()));
      if (const auto characters = CountCharacters(bytes_))
        message_.set_character_count(static_cast<int32_t>(*characters));
    }
    if (!decoder_.config().record.records) message_.clear_tokens();
    return std::move(message_);
  }

  bool ended() const { return ended_; }
  const absl::Status& failure() const { return failure_; }
  TokenId last_token() const { return decoder_.sequence().token_ids().back(); }
  int32_t token_count() const { return decoder_.position(); }

  // The model's sequence; 0: not begun.
  int64_t sequence = 0;

 private:
  const Vocabulary& vocabulary_;
  Decoder decoder_;
  v1::Completion message_;
  std::string bytes_;
  size_t sent_bytes_ = 0;
  bool ended_ = false;
  absl::Status failure_;
};

// All completions of one request.
class Generation {
 public:
  Generation(const GenerateOptions& options, std::vector<TokenId> prompt, ServedModel& model,
             const RequestContext& context, StepWorkspaces& workspaces, ReplyWriter<v1::GenerateResponse>& writer)
      : options_(options),
        prompt_(std::make_shared<const std::vector<TokenId>>(std::move(prompt))),
        model_(model),
        context_(context),
        workspaces_(workspaces),
        writer_(writer),
        session_(model) {}

  absl::Status Run(v1::GenerateFinal& final);

 private:
  // Completions that are generated at once. It follows from the runner's capacity alone, never from what else runs.
  int32_t WaveSize() const;
  absl::Status ReadPrompt();
  absl::Status RunWave(std::span<GrowingCompletion> wave);
  // Gives each running completion its row; false: nobody reads any more.
  bool AdvanceAll(std::span<GrowingCompletion> wave, const std::vector<LogitsView>& rows);
  int64_t MaxFedTokens() const;
  // Tokens that a sequence can have: the context length, or the runner's whole cache where that is smaller.
  int64_t MaxLength() const {
    return std::min<int64_t>(model_.description().context_length, session_.capacity().max_cached_tokens);
  }
  // Whether completions go on in copies of the prompt's sequence, instead of one after the other in that itself.
  bool Forks() const { return options_.n > 1 && model_.capabilities().fork && session_.capacity().max_sequences > 1; }

  const GenerateOptions& options_;
  // One copy, however many completions look at it.
  const SharedTokens prompt_;
  ServedModel& model_;
  const RequestContext& context_;
  StepWorkspaces& workspaces_;
  ReplyWriter<v1::GenerateResponse>& writer_;
  ModelSession session_;
  int64_t prompt_sequence_ = 0;
  // The row after the prompt: the first row of every completion.
  std::vector<float> prompt_row_;
};

// Tokens of one completion that are fed back; its last one never is.
int64_t Generation::MaxFedTokens() const {
  // A prompt that is too long itself is refused with its own length.
  const int64_t room = std::max<int64_t>(0, MaxLength() - static_cast<int64_t>(prompt_->size()));
  return std::min<int64_t>(options_.decoder.stop.max_tokens - 1, room);
}

int32_t Generation::WaveSize() const {
  const RunnerCapacity& capacity = session_.capacity();
  if (!Forks()) return 1;
  // Half of the cache is left to others.
  const int64_t by_tokens =
      (capacity.max_cached_tokens / 2 - static_cast<int64_t>(prompt_->size())) / std::max<int64_t>(1, MaxFedTokens());
  const int64_t by_sequences = capacity.max_sequences / 2 - 1;
  return static_cast<int32_t>(std::clamp<int64_t>(std::min(by_tokens, by_sequences), 1, options_.n));
}

absl::Status Generation::ReadPrompt() {
  prompt_sequence_ = session_.NewSequence();
  SequenceWork work;
  work.sequence_id = prompt_sequence_;
  work.append_token_ids = *prompt_;
  work.want = RowsWanted::kLast;
  ASSIGN_OR_RETURN(std::vector<SequenceRows> rows, session_.Evaluate({std::move(work)}, context_));
  RETURN_IF_ERROR(rows[0].status);
  prompt_row_ = std::move(rows[0].logits);
  return absl::OkStatus();
}

absl::Status Generation::Run(v1::GenerateFinal& final) {
  std::vector<GrowingCompletion> completions;
  completions.reserve(static_cast<size_t>(options_.n));
  for (int32_t i = 0; i < options_.n; ++i) {
    DecoderConfig config = options_.decoder;
    config.sequence_key = options_.first_sequence_key + static_cast<uint64_t>(i);
    completions.emplace_back(i, std::move(config), prompt_, model_.vocabulary());
  }
  const int32_t wave_size = WaveSize();
  const bool forks = Forks();
  RETURN_IF_ERROR(session_.Reserve(forks ? wave_size + 1 : 1,
                                   static_cast<int64_t>(prompt_->size()) + MaxFedTokens() * wave_size, "prompt",
                                   context_));
  for (int32_t begin = 0; begin < options_.n; begin += wave_size) {
    // Without forks each completion goes on in the prompt's own sequence, which is then read again.
    if (begin == 0 || !forks) RETURN_IF_ERROR(ReadPrompt());
    const int32_t end = std::min(begin + wave_size, options_.n);
    RETURN_IF_ERROR(
        RunWave(std::span(completions).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin))));
  }
  const auto failed = [](const GrowingCompletion& completion) { return !completion.failure().ok(); };
  if (std::all_of(completions.begin(), completions.end(), failed)) return completions.front().failure();
  for (GrowingCompletion& completion : completions) {
    final.mutable_usage()->set_generated_token_count(final.usage().generated_token_count() + completion.token_count());
    *final.add_completions() = completion.Take();
  }
  final.mutable_usage()->set_prompt_token_count(static_cast<int32_t>(prompt_->size()));
  final.set_seed(options_.decoder.seed);
  return absl::OkStatus();
}

bool Generation::AdvanceAll(std::span<GrowingCompletion> wave, const std::vector<LogitsView>& rows) {
  size_t next = 0;
  for (GrowingCompletion& completion : wave) {
    if (completion.ended()) continue;
    v1::GenerateResponse response;
    const auto fed_count = static_cast<int32_t>(prompt_->size()) + completion.token_count();
    absl::Status status;
    {
      // Given back before the client is waited for.
      const absl::StatusOr<StepWorkspaces::Lease> workspace = workspaces_.Lend(context_);
      if (!workspace.ok()) return false;
      status = completion.Advance(rows[next++], fed_count, MaxLength(), (*workspace)->distribution,
                                  *response.mutable_delta());
    }
    if (!status.ok()) {
      completion.Fail(status);
    } else if (options_.stream) {
      // What a client leaves unread must not keep others out of the runner's cache.
      if (!writer_.WaitUntilReady(kPatience)) session_.Suspend();
      if (!writer_.Write(response)) return false;
    }
  }
  return true;
}

absl::Status Generation::RunWave(std::span<GrowingCompletion> wave) {
  const bool forks = Forks();
  std::vector<LogitsView> rows(wave.size(), prompt_row_);
  std::vector<SequenceRows> results;
  while (true) {
    if (!AdvanceAll(wave, rows)) {
      RETURN_IF_ERROR(context_.Check());
      return errors::Cancelled();
    }
    std::vector<SequenceWork> work;
    std::vector<GrowingCompletion*> running;
    for (GrowingCompletion& completion : wave) {
      if (completion.ended()) {
        if (forks && completion.sequence != 0) session_.Release(std::exchange(completion.sequence, 0));
        continue;
      }
      SequenceWork& next = work.emplace_back();
      if (completion.sequence == 0 && forks) next.fork_from_sequence_id = prompt_sequence_;
      if (completion.sequence == 0) completion.sequence = forks ? session_.NewSequence() : prompt_sequence_;
      next.sequence_id = completion.sequence;
      next.append_token_ids = {completion.last_token()};
      next.want = RowsWanted::kLast;
      running.push_back(&completion);
    }
    if (work.empty()) break;
    ASSIGN_OR_RETURN(results, session_.Evaluate(std::move(work), context_));
    rows.clear();
    for (size_t i = 0; i < running.size(); ++i) {
      if (results[i].status.ok()) {
        rows.emplace_back(results[i].logits);
      } else {
        running[i]->Fail(results[i].status);
      }
    }
  }
  if (!forks) session_.Release(prompt_sequence_);
  return absl::OkStatus();
}

}  // namespace

absl::Status Generate(const v1::GenerateRequest& request, const ServerEnv& env, const RequestContext& context,
                      ReplyWriter<v1::GenerateResponse>& writer) {
  RETURN_IF_ERROR(CheckNumericsVersion(request));
  if (!request.has_prompt()) return errors::Required("prompt");
  ASSIGN_OR_RETURN(const std::shared_ptr<ServedModel> model, env.models.Find(request.model()));
  const ModelDescription& description = model->description();
  ASSIGN_OR_RETURN(const GenerateOptions options, OptionsOf(request, description));
  ASSIGN_OR_RETURN(PromptInput prompt,
                   PromptTokens(request.prompt(), FromProto(request.tokenization()), *model, context));

  v1::GenerateResponse started;
  started.mutable_started()->set_seed(options.decoder.seed);
  started.mutable_started()->set_prompt_token_count(static_cast<int32_t>(prompt.token_ids.size()));
  if (HasReport(prompt.report)) *started.mutable_started()->mutable_tokenization() = prompt.report;
  *started.mutable_started()->mutable_provenance() = ProvenanceOf(*model);
  if (!writer.Write(started)) return context.Check();

  v1::GenerateResponse last;
  Generation generation(options, std::move(prompt.token_ids), *model, context, env.workspaces, writer);
  RETURN_IF_ERROR(generation.Run(*last.mutable_final()));
  writer.Write(last);
  return absl::OkStatus();
}

}  // namespace logitd::server
