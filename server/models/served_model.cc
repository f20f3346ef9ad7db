#include "server/models/served_model.h"

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"

namespace logitd::server {

// The load that a runner may have more than another one if it has much of what a request will evaluate.
constexpr double kWorthOfKnowing = 0.5;

namespace {

// For people: "logitd-llama 0.1.0 with 2 threads for x86-64-v3".
std::string Shown(const RunnerPlatform& platform) {
  return platform.version + " with " + std::to_string(platform.threads) + " threads for " + platform.cpu_target;
}

}  // namespace

bool IsRunnerLost(const absl::Status& status) { return DetailOf(status).reason == ErrorReason::kRunnerLost; }

ServedModel::ServedModel(ModelDescription description, RunnerCapabilities capabilities,
                         std::shared_ptr<const Vocabulary> vocabulary, const ModelHead& head,
                         std::chrono::milliseconds return_time)
    : description_(std::move(description)),
      capabilities_(capabilities),
      vocabulary_(std::move(vocabulary)),
      head_(head),
      return_time_(return_time),
      suspects_(std::make_unique<SuspectMemory>()) {}

absl::Status ServedModel::MakeLogits(std::vector<SequenceRows>& rows, const RequestContext& context) const {
  if (head_.named == nullptr) return absl::OkStatus();
  const OutputNorm* norm = description_.hidden->before_output_norm ? head_.named->head->output_norm() : nullptr;
  for (SequenceRows& sequence : rows) {
    // Several requests may share their rows.
    std::map<const std::vector<float>*, std::shared_ptr<std::vector<float>>> made;
    for (RequestRows& request : sequence.requests) {
      if (request.logits == nullptr || !sequence.status.ok()) continue;
      std::shared_ptr<std::vector<float>>& logits = made[request.logits.get()];
      if (logits == nullptr) {
        auto computed = head_.runner_head->LogitsOf(*head_.named->head, norm, *request.logits, context);
        if (!computed.ok() && DetailOf(computed.status()).reason != ErrorReason::kModelOutputInvalid) {
          return computed.status();
        }
        if (!computed.ok()) {
          sequence.status = computed.status();
          break;
        }
        logits = std::make_shared<std::vector<float>>(*std::move(computed));
      }
      request.logits = logits;
    }
  }
  return absl::OkStatus();
}

KeptInCache ServedModel::kept() const {
  std::lock_guard lock(mutex_);
  KeptInCache all;
  for (const auto& runner : runners_) {
    const KeptInCache kept = runner->scheduler()->kept();
    all.sequences += kept.sequences;
    all.tokens += kept.tokens;
  }
  return all;
}

std::string ServedModel::record_scope() const {
  std::lock_guard lock(mutex_);
  return description_.name + '\n' + description_.precision + '\n' + description_.model_fingerprint;
}

RunnerCapacity ServedModel::capacity() const {
  std::lock_guard lock(mutex_);
  if (runners_.empty()) return last_capacity_;
  RunnerCapacity least = runners_.front()->capacity();
  for (const auto& runner : runners_) {
    least.max_sequences = std::min(least.max_sequences, runner->capacity().max_sequences);
    least.max_cached_tokens = std::min(least.max_cached_tokens, runner->capacity().max_cached_tokens);
    least.max_batch_tokens = std::min(least.max_batch_tokens, runner->capacity().max_batch_tokens);
  }
  return least;
}

RunnerCapacity ServedModel::total_capacity() const {
  std::lock_guard lock(mutex_);
  RunnerCapacity total{0, 0, 0};
  int64_t fewest_tokens = std::numeric_limits<int64_t>::max();
  for (const auto& runner : runners_) {
    // The smallest cache bounds the sequences that every runner can take over.
    if (runner->capacity().max_cached_tokens < fewest_tokens) {
      fewest_tokens = runner->capacity().max_cached_tokens;
      total.cache_choice = runner->capacity().cache_choice;
    }
    total.max_sequences += runner->capacity().max_sequences;
    total.max_cached_tokens += runner->capacity().max_cached_tokens;
    total.max_batch_tokens += runner->capacity().max_batch_tokens;
  }
  return total;
}

absl::Status ServedModel::CheckFitsACache(int64_t tokens, const std::string& field) const {
  std::lock_guard lock(mutex_);
  int64_t most = runners_.empty() ? last_capacity_.max_cached_tokens : 0;
  for (const auto& runner : runners_) most = std::max(most, runner->capacity().max_cached_tokens);
  if (tokens <= most) return absl::OkStatus();
  return errors::AboveLimit(field, tokens, {"capacity.max_cached_tokens", most}, 1, "tokens");
}

std::optional<double> ServedModel::batch_tolerance_nats() const {
  std::lock_guard lock(mutex_);
  double largest = last_tolerance_nats_.value_or(0);
  if (runners_.empty()) return last_tolerance_nats_;
  for (const auto& runner : runners_) {
    if (!runner->batch_tolerance_nats()) return std::nullopt;
    largest = std::max(largest, *runner->batch_tolerance_nats());
  }
  return largest;
}

std::optional<RunnerPlatform> ServedModel::platform() const {
  std::lock_guard lock(mutex_);
  if (runners_.empty()) return last_extras_.platform;
  const std::optional<RunnerPlatform>& first = runners_.front()->extras().platform;
  const bool all_same = std::all_of(runners_.begin(), runners_.end(),
                                    [&first](const auto& runner) { return runner->extras().platform == first; });
  return all_same ? first : std::nullopt;
}

absl::StatusOr<RunnerPlatform> ServedModel::IsolatingPlatform() const {
  std::lock_guard lock(mutex_);
  const std::string& name = description_.name;
  std::optional<RunnerPlatform> found;
  if (runners_.empty() && last_extras_.can_isolate) found = last_extras_.platform;
  for (const auto& runner : runners_) {
    const RunnerExtras& extras = runner->extras();
    if (!extras.can_isolate) continue;
    if (found && *found != *extras.platform) {
      return errors::NotReproducible(name, "its runners differ: " + Shown(*found) + ", and " + Shown(*extras.platform));
    }
    found = extras.platform;
  }
  if (!found) return errors::NotReproducible(name, "no runner of it evaluates a sequence by itself");
  return *std::move(found);
}

bool ServedModel::can_choose() const {
  std::lock_guard lock(mutex_);
  return !runners_.empty() &&
         std::all_of(runners_.begin(), runners_.end(), [](const auto& runner) { return runner->can_choose(); });
}

int ServedModel::runner_count() const {
  std::lock_guard lock(mutex_);
  return static_cast<int>(runners_.size());
}

bool ServedModel::is_expected() const {
  std::lock_guard lock(mutex_);
  return is_expected_;
}

absl::StatusOr<std::shared_ptr<AttachedRunner>> ServedModel::Pick(
    int32_t sequences, int64_t tokens, const std::string& field, const RequestContext& context,
    const std::function<bool(const AttachedRunner&)>& knows, const std::optional<RunnerPlatform>& isolated_on) const {
  RequestContext waiting = context;
  waiting.deadline = std::min(context.deadline, std::chrono::system_clock::now() + return_time_);
  std::unique_lock lock(mutex_);
  waiting.WaitFor(changed_, lock, [this] { return !runners_.empty() || !is_expected_; });
  if (runners_.empty()) {
    lock.unlock();
    RETURN_IF_ERROR(context.Check());
    return errors::RunnerLost(description_.name);
  }
  std::shared_ptr<AttachedRunner> best;
  double least_load = 0;
  RunnerCapacity most{0, 0, 0};
  bool serves_any = false;
  for (const auto& runner : runners_) {
    const RunnerExtras& extras = runner->extras();
    if (isolated_on && !(extras.can_isolate && extras.platform == isolated_on)) continue;
    serves_any = true;
    const RunnerCapacity& capacity = runner->capacity();
    most.max_sequences = std::max(most.max_sequences, capacity.max_sequences);
    most.max_cached_tokens = std::max(most.max_cached_tokens, capacity.max_cached_tokens);
    if (sequences > capacity.max_sequences || tokens > capacity.max_cached_tokens) continue;
    const double load = runner->scheduler()->load() - (knows != nullptr && knows(*runner) ? kWorthOfKnowing : 0);
    if (best != nullptr && load >= least_load) continue;
    best = runner;
    least_load = load;
  }
  if (best != nullptr) return best;
  if (!serves_any) {
    return errors::NotReproducible(description_.name, "no runner is left that is " + Shown(*isolated_on));
  }
  if (sequences > most.max_sequences) {
    return errors::AboveLimit(field, sequences, {"capacity.max_sequences", most.max_sequences}, 1, "sequences");
  }
  return errors::AboveLimit(field, tokens, {"capacity.max_cached_tokens", most.max_cached_tokens}, 1, "tokens");
}

template <typename Call>
auto ServedModel::OnAnyRunner(const RequestContext& context, Call call) {
  using Result = decltype(call(std::declval<AttachedRunner&>()));
  if (!capabilities_.tokenizer) return Result(errors::TokenizerUnavailable(description_.name));
  for (int lost = 0;; ++lost) {
    auto runner = Pick(0, 0, "", context);
    if (!runner.ok()) return Result(runner.status());
    Result result = call(**runner);
    if (result.ok() || !IsRunnerLost(result.status()) || lost == kMaxLostRunners) return result;
  }
}

absl::StatusOr<std::vector<std::vector<TokenId>>> ServedModel::Tokenize(const std::vector<std::string>& texts,
                                                                        const TokenizationOptions& options,
                                                                        const RequestContext& context) {
  return OnAnyRunner(context, [&](AttachedRunner& runner) { return runner.Tokenize(texts, options, context); });
}

absl::StatusOr<std::vector<std::string>> ServedModel::Detokenize(const std::vector<std::vector<TokenId>>& tokens,
                                                                 bool render_special_tokens,
                                                                 const RequestContext& context) {
  return OnAnyRunner(context,
                     [&](AttachedRunner& runner) { return runner.Detokenize(tokens, render_special_tokens, context); });
}

absl::StatusOr<RenderedChat> ServedModel::RenderChat(const ChatBytes& chat, const RequestContext& context) {
  if (!capabilities_.chat_template) return errors::ChatTemplateUnavailable(description_.name);
  return OnAnyRunner(context, [&](AttachedRunner& runner) { return runner.RenderChat(chat, context); });
}

absl::StatusOr<std::string> ServedModel::TextPrefix(const RequestContext& context) {
  if (std::optional<std::string> known = facts_.text_prefix()) return *std::move(known);
  constexpr std::string_view kProbe = "a";
  TokenizationOptions plain;
  plain.add_special_tokens = false;
  auto lists = Tokenize({std::string(kProbe)}, plain, context);
  std::string spelled;
  if (lists.ok()) {
    for (const TokenId id : lists->front()) spelled += vocabulary_->TokenBytes(id);
  } else if (lists.status().code() != absl::StatusCode::kInvalidArgument ||
             DetailOf(lists.status()).reason == ErrorReason::kTokenizerFailed) {
    // A worker that was killed twice reveals nothing about the vocabulary. The outcome is not remembered.
    return lists.status();
  }
  // If the tokenizer has no token for the probe, or changes it, its prefix cannot be told.
  const bool is_told = spelled.ends_with(kProbe);
  std::string prefix = is_told ? spelled.substr(0, spelled.size() - kProbe.size()) : "";
  facts_.set_text_prefix(prefix);
  return prefix;
}

absl::StatusOr<std::vector<std::string>> ServedModel::TokenNames(const std::vector<TokenId>& ids,
                                                                 const RequestContext& context) {
  std::vector<std::string> names(ids.size());
  std::vector<size_t> asked;
  std::vector<std::vector<TokenId>> tokens;
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::string_view name = vocabulary_->Name(ids[i]);
    if (!name.empty() && name.size() <= TokenizerFacts::kMaxNameBytes) {
      names[i] = name;
    } else if (std::optional<std::string> known = facts_.Name(ids[i])) {
      names[i] = *std::move(known);
    } else {
      asked.push_back(i);
      tokens.push_back({ids[i]});
    }
  }
  if (asked.empty()) return names;
  ASSIGN_OR_RETURN(std::vector<std::string> texts, Detokenize(tokens, /*render_special_tokens=*/true, context));
  for (size_t i = 0; i < asked.size(); ++i) {
    if (texts[i].size() > TokenizerFacts::kMaxNameBytes) texts[i].clear();
    facts_.SetName(ids[asked[i]], texts[i]);
    names[asked[i]] = std::move(texts[i]);
  }
  return names;
}

void ServedModel::Add(std::shared_ptr<AttachedRunner> runner) {
  std::lock_guard lock(mutex_);
  last_capacity_ = runner->capacity();
  last_extras_ = runner->extras();
  last_tolerance_nats_ = std::max(last_tolerance_nats_, runner->batch_tolerance_nats());
  runners_.push_back(std::move(runner));
  changed_.notify_all();
}

bool ServedModel::Remove(const std::shared_ptr<AttachedRunner>& runner) {
  std::lock_guard lock(mutex_);
  return std::erase(runners_, runner) > 0;
}

void ServedModel::SetExpected(bool is_expected) {
  std::lock_guard lock(mutex_);
  is_expected_ = is_expected;
  changed_.notify_all();
}

}  // namespace logitd::server
