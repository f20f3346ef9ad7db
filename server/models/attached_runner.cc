#include "server/models/attached_runner.h"

#include <utility>

#include "core/errors.h"
#include "core/status_macros.h"

namespace logitd::server {
namespace {

// Calls that the runner has not answered yet, given up ones included. It has one thread for them, and each may hold
// megabytes of text: what is above waits here, where it can be given up.
constexpr size_t kMaxTokenizerCalls = 16;
// Megabytes of text take seconds; a tokenizer that has not answered for so long hangs.
constexpr std::chrono::minutes kTokenizerTime{2};

}  // namespace

AttachedRunner::AttachedRunner(std::string name, const ModelDescription& model, const RunnerCapacity& capacity,
                               std::shared_ptr<RunnerLink> link)
    : name_(std::move(name)),
      vocab_size_(model.vocab_size),
      link_(std::move(link)),
      scheduler_(std::make_shared<BatchScheduler>(model, capacity, link_)) {}

absl::StatusOr<std::vector<std::vector<TokenId>>> AttachedRunner::Tokenize(std::vector<std::string> texts,
                                                                           const TokenizationOptions& options,
                                                                           const RequestContext& context) {
  auto call = std::make_shared<TokenizerCall>();
  call->expected = texts.size();
  ASSIGN_OR_RETURN(const int64_t call_id, BeginCall(call, context));
  link_->SendTokenize(call_id, std::move(texts), options);
  RETURN_IF_ERROR(WaitForCall(call, context));
  return std::move(call->tokens);
}

absl::StatusOr<std::vector<std::string>> AttachedRunner::Detokenize(std::vector<std::vector<TokenId>> tokens,
                                                                    bool render_special_tokens,
                                                                    const RequestContext& context) {
  auto call = std::make_shared<TokenizerCall>();
  call->expected = tokens.size();
  ASSIGN_OR_RETURN(const int64_t call_id, BeginCall(call, context));
  link_->SendDetokenize(call_id, std::move(tokens), render_special_tokens);
  RETURN_IF_ERROR(WaitForCall(call, context));
  return std::move(call->texts);
}

absl::StatusOr<int64_t> AttachedRunner::BeginCall(std::shared_ptr<TokenizerCall> call, const RequestContext& context) {
  std::unique_lock lock(mutex_);
  context.WaitFor(answered_, lock, [this] { return calls_.size() < kMaxTokenizerCalls || !lost_.ok(); });
  if (!lost_.ok()) return lost_;
  if (calls_.size() >= kMaxTokenizerCalls) {
    RETURN_IF_ERROR(context.Check());
    return errors::Cancelled();
  }
  if (calls_.empty()) waiting_since_ = std::chrono::steady_clock::now();
  calls_.emplace(++last_call_id_, std::move(call));
  return last_call_id_;
}

absl::Status AttachedRunner::WaitForCall(const std::shared_ptr<TokenizerCall>& call, const RequestContext& context) {
  std::unique_lock lock(mutex_);
  context.WaitFor(answered_, lock, [&] { return call->done || !lost_.ok(); });
  if (call->done) return call->status;
  // The answer may still come: it is dropped then (TakeCall keeps the number until it does).
  if (!lost_.ok()) return lost_;
  lock.unlock();
  RETURN_IF_ERROR(context.Check());
  return errors::Cancelled();
}

std::shared_ptr<AttachedRunner::TokenizerCall> AttachedRunner::TakeCall(int64_t call_id) {
  const auto found = calls_.find(call_id);
  if (found == calls_.end()) return nullptr;
  auto call = std::move(found->second);
  calls_.erase(found);
  waiting_since_ = std::chrono::steady_clock::now();
  return call;
}

absl::Status AttachedRunner::OnTokenized(int64_t call_id, absl::StatusOr<std::vector<std::vector<TokenId>>> tokens) {
  std::lock_guard lock(mutex_);
  const auto call = TakeCall(call_id);
  if (call == nullptr) return errors::RunnerProtocol("tokenized for a call that was not made");
  if (tokens.ok()) {
    if (tokens->size() != call->expected) return errors::RunnerProtocol("tokenized has not one list per text");
    for (const auto& list : *tokens) {
      for (const TokenId id : list) {
        if (id < 0 || id >= vocab_size_) return errors::RunnerProtocol("tokenized has an id out of range");
      }
    }
    call->tokens = *std::move(tokens);
  } else {
    call->status = tokens.status();
  }
  call->done = true;
  answered_.notify_all();
  return absl::OkStatus();
}

absl::Status AttachedRunner::OnDetokenized(int64_t call_id, absl::StatusOr<std::vector<std::string>> texts) {
  std::lock_guard lock(mutex_);
  const auto call = TakeCall(call_id);
  if (call == nullptr) return errors::RunnerProtocol("detokenized for a call that was not made");
  if (texts.ok()) {
    if (texts->size() != call->expected) return errors::RunnerProtocol("detokenized has not one text per sequence");
    call->texts = *std::move(texts);
  } else {
    call->status = texts.status();
  }
  call->done = true;
  answered_.notify_all();
  return absl::OkStatus();
}

bool AttachedRunner::IsOverdue(std::chrono::steady_clock::time_point now) {
  if (scheduler_->IsOverdue(now)) return true;
  std::lock_guard lock(mutex_);
  return !calls_.empty() && now - waiting_since_ > kTokenizerTime;
}

void AttachedRunner::OnLost(const absl::Status& status, const RunnerEnd& end) {
  bool was_tokenizing = false;
  {
    std::lock_guard lock(mutex_);
    was_tokenizing = !calls_.empty();
  }
  scheduler_->OnLost(status, end.signal, was_tokenizing);
  std::lock_guard lock(mutex_);
  if (lost_.ok()) lost_ = status;
  calls_.clear();
  answered_.notify_all();
}

}  // namespace logitd::server
