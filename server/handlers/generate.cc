#include "server/handlers/generate.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "base/utf8.h"
#include "core/decoder.h"
#include "core/errors.h"
#include "core/limits.h"
#include "core/stages.h"
#include "server/converters/completion.h"
#include "server/converters/model.h"
#include "server/converters/runner.h"
#include "server/converters/wire.h"
#include "server/handlers/best_completions.h"
#include "server/handlers/cache_scope.h"
#include "server/handlers/generate_options.h"
#include "server/handlers/growing_completion.h"
#include "server/handlers/prompt_input.h"
#include "server/handlers/prompt_score.h"
#include "server/handlers/provenance.h"
#include "server/models/model_session.h"

namespace logitd::server {
namespace {

// A client may be slower than its completion for this time. Then others get the completion's room in the runner's
// cache, and it is evaluated again when the client goes on. Longer than any reading client needs.
constexpr std::chrono::milliseconds kPatience{2000};

// All completions of one request.
class Generation {
 public:
  Generation(const v1::GenerateRequest& request, const GenerateOptions& options, std::vector<TokenId> prompt,
             ServedModel& model, const ServerEnv& env, const CacheScope& scope, const RequestContext& context,
             ReplyWriter<v1::GenerateResponse>& writer)
      : request_(request),
        options_(options),
        prompt_(std::make_shared<const std::vector<TokenId>>(std::move(prompt))),
        model_(model),
        env_(env),
        scope_(scope),
        context_(context),
        writer_(writer),
        session_(model, scope) {}

  absl::Status Run(v1::GenerateFinal& final);

 private:
  // The number of completions that are generated at once. It depends on the runner's capacity only, not on other
  // requests.
  int32_t WaveSize() const;
  // And begins `completions`, all that go on from it.
  absl::Status ReadPrompt(std::span<GrowingCompletion> completions);
  // Scores the prompt's own tokens. Returns whether they were fed to its sequence, all except the last.
  absl::StatusOr<bool> ScoreOwnTokens();
  // Writes to the client. A slow client must not keep others out of the runner's cache meanwhile. Errors: CANCELLED.
  absl::Status Send(const v1::GenerateResponse& response);
  absl::Status SendScoredPrompt();
  // Generates the completions, wave after wave.
  absl::Status RunWaves(std::span<GrowingCompletion> completions);
  // Ends those that have not ended.
  absl::Status EndAll(std::span<GrowingCompletion> completions, FinishReason reason);
  // Whether `status` says that the request's time limit has passed.
  bool IsTimeLimit(const absl::Status& status) const;
  // With max_tokens = 0: scores the prompt, and needs no row after it.
  absl::Status ReadPromptAlone();
  absl::Status RunEmpty(std::span<GrowingCompletion> completions, v1::GenerateFinal& final);
  // The parts of `final` besides its completions.
  void Conclude(int64_t evaluated, v1::GenerateFinal& final);
  // `first_rows`: one for each.
  absl::Status RunWave(std::span<GrowingCompletion> wave, std::span<const RequestRows> first_rows);
  // Asks for the completion's next token.
  ChoiceWanted ChoiceOf(GrowingCompletion& completion);
  // Goes on with the completion in its sequence, which is made if there is none.
  SequenceWork WorkOf(GrowingCompletion& completion);
  // The completions that go on now, in their order: as many as fit the request's share of the cache. The others lose
  // their sequences and go on when there is room.
  std::vector<GrowingCompletion*> ThoseThatFit(std::span<GrowingCompletion> wave);
  // The work after the next tokens of `running`, sent ahead so that the runner need not wait. Empty: one of them ends
  // with its next token, or others wait to go on.
  std::vector<SequenceWork> AheadOf(std::span<GrowingCompletion* const> running);
  // Gives each running completion its next row or token. Errors: CANCELLED if nobody reads any more.
  absl::Status AdvanceAll(std::span<GrowingCompletion> wave, std::span<const RequestRows> rows);
  int64_t MaxFedTokens() const;
  // The most tokens of the request in the runner's cache at once.
  int64_t MaxCachedTokens() const;
  // The longest possible sequence: the context length, or the runner's whole cache if that is smaller.
  int64_t MaxLength() const {
    return std::min<int64_t>(model_.description().context_length, session_.capacity().max_cached_tokens);
  }
  // Whether completions go on in forks of the prompt's sequence. Else they use that sequence, one after the other.
  bool Forks() const { return options_.n > 1 && model_.capabilities().fork && session_.capacity().max_sequences > 1; }

  const v1::GenerateRequest& request_;
  const GenerateOptions& options_;
  // One copy for all completions.
  const SharedTokens prompt_;
  ServedModel& model_;
  const ServerEnv& env_;
  const CacheScope scope_;
  const RequestContext& context_;
  ReplyWriter<v1::GenerateResponse>& writer_;
  ModelSession session_;
  int64_t prompt_sequence_ = 0;
  // How often the prompt was read.
  int64_t prompt_reads_ = 0;
  // The row after the prompt, or the first tokens chosen from it, one for each completion that starts there.
  std::vector<RequestRows> first_rows_;
  std::optional<v1::ScoredPrompt> scored_prompt_;
  // Tokens of the prompt that did not have to be evaluated.
  int64_t cached_count_ = 0;
  // Completions that wait for others to end.
  bool has_waiting_ = false;
};

// The most fed tokens of one completion; its last token is never fed.
int64_t Generation::MaxFedTokens() const {
  // A prompt that is too long by itself is refused with its own length.
  const int64_t room = std::max<int64_t>(0, MaxLength() - static_cast<int64_t>(prompt_->size()));
  return std::clamp<int64_t>(options_.decoder.stop.max_tokens - 1, 0, room);
}

int64_t Generation::MaxCachedTokens() const {
  // Leave half of the cache to others, but let each completion finish.
  const int64_t cache = session_.capacity().max_cached_tokens;
  return std::min(cache, std::max(cache / 2, std::ssize(*prompt_) + MaxFedTokens()));
}

int32_t Generation::WaveSize() const {
  const RunnerCapacity& capacity = session_.capacity();
  if (!Forks()) return 1;
  const int64_t first_tokens = std::clamp<int64_t>(MaxFedTokens(), 1, kGrowTokens);
  const int64_t by_tokens = (MaxCachedTokens() - std::ssize(*prompt_)) / first_tokens;
  const int64_t by_sequences = capacity.max_sequences / 2 - 1;
  return static_cast<int32_t>(std::clamp<int64_t>(std::min(by_tokens, by_sequences), 1, options_.n));
}

ChoiceWanted Generation::ChoiceOf(GrowingCompletion& completion) {
  if (completion.decoder == 0) completion.decoder = session_.NewSequence();
  return {completion.decoder, &completion};
}

SequenceWork Generation::WorkOf(GrowingCompletion& completion) {
  if (completion.sequence == 0) completion.sequence = Forks() ? session_.NewSequence() : prompt_sequence_;
  SequenceWork work;
  work.sequence_id = completion.sequence;
  if (Forks() && !completion.is_forked) work.fork_from_sequence_id = prompt_sequence_;
  return work;
}

std::vector<GrowingCompletion*> Generation::ThoseThatFit(std::span<GrowingCompletion> wave) {
  const int64_t room = MaxCachedTokens() - std::ssize(*prompt_);
  int64_t tokens = 0;
  std::vector<GrowingCompletion*> fitting;
  // Its tokens, and one for the token that runs ahead.
  const auto take = [&](GrowingCompletion& completion, int64_t needed) {
    const bool fits = fitting.empty() || tokens + needed <= room;
    if (fits) {
      tokens += completion.token_count() + 1;
      fitting.push_back(&completion);
    }
    return fits;
  };
  for (GrowingCompletion& completion : wave) {
    if (completion.ended() || completion.is_waiting || take(completion, completion.token_count() + 1)) continue;
    completion.is_waiting = true;
    completion.is_forked = false;
    if (completion.sequence != 0) session_.Release(std::exchange(completion.sequence, 0));
    // The runner may have run ahead.
    if (completion.decoder != 0) session_.Release(std::exchange(completion.decoder, 0));
  }
  has_waiting_ = false;
  for (GrowingCompletion& completion : wave) {
    // With room to double: otherwise it would soon wait again.
    if (completion.is_waiting && take(completion, 2 * completion.token_count() + 1)) completion.is_waiting = false;
    has_waiting_ = has_waiting_ || completion.is_waiting;
  }
  const auto before = [](const GrowingCompletion* a, const GrowingCompletion* b) { return a < b; };
  std::sort(fitting.begin(), fitting.end(), before);
  return fitting;
}

std::vector<SequenceWork> Generation::AheadOf(std::span<GrowingCompletion* const> running) {
  if (has_waiting_) return {};
  std::vector<SequenceWork> ahead;
  for (GrowingCompletion* completion : running) {
    if (!completion->MayGoOn()) return {};
    SequenceWork& next = ahead.emplace_back(WorkOf(*completion));
    const ChoiceWanted choice = ChoiceOf(*completion);
    next.is_step = true;
    next.append_chosen = choice.decoder_id;
    next.AskForLast(choice);
  }
  return ahead;
}

absl::Status Generation::ReadPrompt(std::span<GrowingCompletion> completions) {
  prompt_sequence_ = session_.NewSequence();
  ++prompt_reads_;
  SequenceWork work;
  work.sequence_id = prompt_sequence_;
  work.append_token_ids = *prompt_;
  work.from_cache = true;
  if (options_.prompt_record && !scored_prompt_) {
    ASSIGN_OR_RETURN(const bool is_fed, ScoreOwnTokens());
    RETURN_IF_ERROR(SendScoredPrompt());
    if (is_fed) {
      work.append_token_ids = {prompt_->back()};
      work.from_cache = false;
    }
  }
  for (GrowingCompletion& completion : completions) work.AskForLast(ChoiceOf(completion));
  // Of those that go on at once.
  std::vector<GrowingCompletion*> next;
  for (GrowingCompletion& completion : completions.first(static_cast<size_t>(WaveSize()))) next.push_back(&completion);
  ASSIGN_OR_RETURN(std::vector<SequenceRows> rows, session_.Evaluate({std::move(work)}, context_, AheadOf(next)));
  RETURN_IF_ERROR(rows[0].status);
  cached_count_ += rows[0].cached_count;
  first_rows_ = std::move(rows[0].requests);
  return absl::OkStatus();
}

absl::Status Generation::Run(v1::GenerateFinal& final) {
  std::vector<GrowingCompletion> completions;
  completions.reserve(static_cast<size_t>(options_.n));
  int64_t start_bytes = 0;
  for (int32_t i = 0; i < options_.n; ++i) {
    DecoderConfig config = options_.decoder;
    config.sequence_key = options_.first_sequence_key + static_cast<uint64_t>(i);
    std::shared_ptr<const std::string> settings;
    if (start_bytes <= kMaxStartBytes) {
      v1::DecoderStart start = StartOf(request_.sampling(), request_.record(), config);
      if (NeedsPrompt(config.sampling)) start.mutable_prompt_token_ids()->Add(prompt_->begin(), prompt_->end());
      settings = std::make_shared<const std::string>(start.SerializeAsString());
      start_bytes += static_cast<int64_t>(settings->size());
    }
    completions.emplace_back(i, std::move(config), options_.stops, prompt_, MaxLength(), std::move(settings),
                             model_.vocabulary());
  }
  if (options_.decoder.stop.max_tokens == 0) return RunEmpty(completions, final);
  // A long prompt that penalties look at, or large token sets, for many completions: the rows are less.
  if (start_bytes > kMaxStartBytes) session_.UseRows();
  const absl::Status status = RunWaves(completions);
  if (IsTimeLimit(status)) {
    // Others may have the room before the client has read the rest.
    session_.Suspend();
    RETURN_IF_ERROR(EndAll(completions, FinishReason::kTimeLimit));
  } else {
    RETURN_IF_ERROR(status);
  }
  const auto failed = [](const GrowingCompletion& completion) { return !completion.failure().ok(); };
  if (std::all_of(completions.begin(), completions.end(), failed)) return completions.front().failure();
  // The prompt, for each completion where it cannot be shared; and the tokens that were fed back, which a last token
  // never is.
  int64_t evaluated = std::ssize(*prompt_) * prompt_reads_;
  for (GrowingCompletion& completion : completions) {
    evaluated += std::max(0, completion.token_count() - 1);
    final.mutable_usage()->set_generated_token_count(final.usage().generated_token_count() + completion.token_count());
    *final.add_completions() = completion.Take();
  }
  if (options_.best_by) KeepBest(*options_.best_by, options_.returned_count, *final.mutable_completions());
  Conclude(evaluated, final);
  return absl::OkStatus();
}

absl::Status Generation::RunWaves(std::span<GrowingCompletion> completions) {
  const int32_t wave_size = WaveSize();
  const bool forks = Forks();
  RoomNeeded room{forks ? wave_size + 1 : 1, std::ssize(*prompt_), 0};
  // A prompt that is too long itself is refused with its own length.
  room.most_tokens = std::max(room.tokens, std::min(room.tokens + MaxFedTokens() * wave_size, MaxCachedTokens()));
  room.tokens = std::min(room.tokens + kGrowTokens * wave_size, room.most_tokens);
  room.begins_with = *prompt_;
  RETURN_IF_ERROR(session_.Reserve(room, "prompt", context_));
  for (int32_t begin = 0; begin < options_.n; begin += wave_size) {
    const int32_t end = std::min(begin + wave_size, options_.n);
    const auto wave = completions.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
    if (!forks) {
      // Each completion goes on in the prompt's own sequence, which is then read again.
      RETURN_IF_ERROR(ReadPrompt(wave));
    } else if (begin == 0) {
      RETURN_IF_ERROR(ReadPrompt(completions));
    }
    RETURN_IF_ERROR(RunWave(wave, std::span(first_rows_).subspan(forks ? static_cast<size_t>(begin) : 0, wave.size())));
  }
  if (forks) session_.Keep(prompt_sequence_);
  return absl::OkStatus();
}

bool Generation::IsTimeLimit(const absl::Status& status) const {
  return absl::IsDeadlineExceeded(status) && context_.IsTimeUp() &&
         std::chrono::system_clock::now() < context_.deadline;
}

absl::Status Generation::EndAll(std::span<GrowingCompletion> completions, FinishReason reason) {
  for (GrowingCompletion& completion : completions) {
    if (completion.ended()) continue;
    v1::GenerateResponse response;
    completion.End(reason, *response.mutable_delta());
    RETURN_IF_ERROR(Send(response));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Generation::ScoreOwnTokens() {
  ASSIGN_OR_RETURN(PromptScore score, ScorePrompt(*prompt_, *options_.prompt_record, scope_, prompt_sequence_, session_,
                                                  model_, env_, context_));
  scored_prompt_ = std::move(score.message);
  cached_count_ += score.cached_count;
  return score.is_fed;
}

absl::Status Generation::Send(const v1::GenerateResponse& response) {
  if (!options_.stream) return absl::OkStatus();
  if (!writer_.WaitUntilReady(kPatience)) session_.Suspend();
  if (writer_.Write(response)) return absl::OkStatus();
  RETURN_IF_ERROR(context_.Check());
  return errors::Cancelled();
}

absl::Status Generation::SendScoredPrompt() {
  v1::GenerateResponse response;
  *response.mutable_prompt() = *scored_prompt_;
  return Send(response);
}

absl::Status Generation::RunEmpty(std::span<GrowingCompletion> completions, v1::GenerateFinal& final) {
  int64_t evaluated = 0;
  FinishReason reason = FinishReason::kMaxTokens;
  if (options_.prompt_record) {
    const absl::Status status = ReadPromptAlone();
    if (!status.ok() && !IsTimeLimit(status)) return status;
    // Nothing is left to evaluate.
    session_.Suspend();
    if (status.ok()) {
      evaluated = std::ssize(*prompt_) - 1;
      RETURN_IF_ERROR(SendScoredPrompt());
    } else {
      reason = FinishReason::kTimeLimit;
    }
  }
  RETURN_IF_ERROR(EndAll(completions, reason));
  for (GrowingCompletion& completion : completions) *final.add_completions() = completion.Take();
  if (options_.best_by) KeepBest(*options_.best_by, options_.returned_count, *final.mutable_completions());
  Conclude(evaluated, final);
  return absl::OkStatus();
}

absl::Status Generation::ReadPromptAlone() {
  RETURN_IF_ERROR(session_.Reserve({1, std::ssize(*prompt_), 0}, "prompt", context_));
  prompt_sequence_ = session_.NewSequence();
  ASSIGN_OR_RETURN(const bool is_fed, ScoreOwnTokens());
  if (!is_fed) cached_count_ = std::ssize(*prompt_) - 1;
  session_.Keep(prompt_sequence_);
  return absl::OkStatus();
}

void Generation::Conclude(int64_t evaluated, v1::GenerateFinal& final) {
  v1::Usage& usage = *final.mutable_usage();
  usage.set_evaluated_token_count(static_cast<int32_t>(evaluated - cached_count_));
  usage.set_cached_token_count(static_cast<int32_t>(cached_count_));
  usage.set_prompt_token_count(static_cast<int32_t>(prompt_->size()));
  if (scored_prompt_) {
    usage.set_scored_token_count(scored_prompt_->totals().token_count());
    *final.mutable_prompt() = *std::move(scored_prompt_);
  }
  final.set_seed(options_.decoder.seed);
}

absl::Status Generation::AdvanceAll(std::span<GrowingCompletion> wave, std::span<const RequestRows> rows) {
  size_t next = 0;
  for (GrowingCompletion& completion : wave) {
    if (completion.ended() || completion.is_waiting) continue;
    v1::GenerateResponse response;
    const RequestRows& given = rows[next++];
    absl::Status status;
    if (given.choice) {
      status = completion.Accept(*given.choice, model_.description().vocab_size, *response.mutable_delta());
    } else {
      // Give back the room before waiting for the client.
      ASSIGN_OR_RETURN(const StepWorkspaces::Lease workspace, env_.workspaces.Lend(context_));
      status = completion.Advance(*given.logits, workspace->distribution, *response.mutable_delta());
    }
    if (!status.ok()) {
      completion.Fail(status);
    } else if (response.delta().has_totals()) {
      RETURN_IF_ERROR(Send(response));
    }
  }
  return absl::OkStatus();
}

absl::Status Generation::RunWave(std::span<GrowingCompletion> wave, std::span<const RequestRows> first_rows) {
  const bool forks = Forks();
  std::vector<RequestRows> rows;
  while (true) {
    RETURN_IF_ERROR(AdvanceAll(wave, rows.empty() ? first_rows : rows));
    for (GrowingCompletion& completion : wave) {
      if (!completion.ended()) continue;
      if (forks && completion.sequence != 0) session_.Release(std::exchange(completion.sequence, 0));
      if (completion.decoder != 0) session_.Release(std::exchange(completion.decoder, 0));
    }
    const std::vector<GrowingCompletion*> running = ThoseThatFit(wave);
    if (running.empty()) break;
    // A runner that has run ahead never lets anybody wait.
    RETURN_IF_ERROR(context_.Check());
    std::vector<SequenceWork> work;
    for (GrowingCompletion* completion : running) {
      SequenceWork& next = work.emplace_back(WorkOf(*completion));
      // A completion that had to wait feeds all of its tokens again.
      const bool is_step = completion->is_forked || completion->token_count() == 1;
      completion->is_forked = true;
      next.is_step = is_step;
      if (is_step) {
        next.append_token_ids = {completion->last_token()};
      } else {
        next.append_token_ids = completion->token_ids();
      }
      next.AskForLast(ChoiceOf(*completion));
    }
    ASSIGN_OR_RETURN(std::vector<SequenceRows> results, session_.Evaluate(std::move(work), context_, AheadOf(running)));
    rows.clear();
    for (size_t i = 0; i < running.size(); ++i) {
      if (results[i].status.ok()) {
        rows.push_back(std::move(results[i].requests.front()));
      } else {
        running[i]->Fail(results[i].status);
      }
    }
  }
  // A later prompt may begin with it, such as the next turn of a conversation.
  if (!forks) session_.Keep(prompt_sequence_);
  return absl::OkStatus();
}

}  // namespace

absl::Status Generate(const v1::GenerateRequest& request, const ServerEnv& env, const RequestContext& context,
                      ReplyWriter<v1::GenerateResponse>& writer) {
  const auto begin = std::chrono::steady_clock::now();
  if (!request.has_prompt()) return errors::Required("prompt");
  ASSIGN_OR_RETURN(const std::shared_ptr<ServedModel> model, env.models.Find(request.model()));
  ASSIGN_OR_RETURN(const GenerateOptions options, OptionsOf(request, *model));
  ASSIGN_OR_RETURN(const CacheScope scope, SharedScopeOf(request.evaluation(), env));
  ASSIGN_OR_RETURN(PromptInput prompt,
                   PromptTokens(request.prompt(), FromProto(request.tokenization()), *model, context));

  RETURN_IF_ERROR(CheckPromptAlternatives(options, model->description(), std::ssize(prompt.token_ids)));

  v1::GenerateResponse started;
  started.mutable_started()->set_seed(options.decoder.seed);
  started.mutable_started()->set_prompt_token_count(static_cast<int32_t>(prompt.token_ids.size()));
  if (HasReport(prompt.report)) *started.mutable_started()->mutable_tokenization() = prompt.report;
  *started.mutable_started()->mutable_provenance() = ProvenanceOf(*model);
  if (!writer.Write(started)) return context.Check();

  v1::GenerateResponse last;
  RequestContext limited = context;
  if (options.time_limit) limited.time_limit = begin + *options.time_limit;
  // Give back the cache room before writing the last message.
  RETURN_IF_ERROR(Generation(request, options, std::move(prompt.token_ids), *model, env, scope, limited, writer)
                      .Run(*last.mutable_final()));
  *last.mutable_final()->mutable_provenance() = started.started().provenance();
  if (HasReport(prompt.report)) *last.mutable_final()->mutable_tokenization() = prompt.report;
  writer.Write(last);
  return absl::OkStatus();
}

}  // namespace logitd::server
