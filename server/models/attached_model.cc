#include "server/models/attached_model.h"

#include <utility>

#include "core/errors.h"
#include "core/status_macros.h"

namespace logitd::server {
namespace {

// Calls that the runner has not answered yet, given up ones included. It has one thread for them, and each may hold
// megabytes of text: what is above waits here, where it can be given up.
constexpr size_t kMaxTokenizerCalls = 16;

}  // namespace

AttachedModel::AttachedModel(ModelDescription description, RunnerCapabilities capabilities, RunnerCapacity capacity,
                             Vocabulary vocabulary, std::shared_ptr<RunnerLink> link)
    : description_(std::move(description)),
      capabilities_(capabilities),
      vocabulary_(std::move(vocabulary)),
      link_(std::move(link)),
      scheduler_(std::make_shared<BatchScheduler>(
          description_, capacity, [link = link_](Batch batch) { link->SendBatch(std::move(batch)); })) {}

absl::StatusOr<std::vector<std::vector<TokenId>>> AttachedModel::Tokenize(std::vector<std::string> texts,
                                                                          const TokenizationOptions& options,
                                                                          const RequestContext& context) {
  auto call = std::make_shared<TokenizerCall>();
  call->expected = texts.size();
  ASSIGN_OR_RETURN(const int64_t call_id, BeginCall(call, context));
  link_->SendTokenize(call_id, std::move(texts), options);
  RETURN_IF_ERROR(WaitForCall(call_id, call, context));
  return std::move(call->tokens);
}

absl::StatusOr<std::vector<std::string>> AttachedModel::Detokenize(std::vector<std::vector<TokenId>> tokens,
                                                                   bool render_special_tokens,
                                                                   const RequestContext& context) {
  auto call = std::make_shared<TokenizerCall>();
  call->expected = tokens.size();
  ASSIGN_OR_RETURN(const int64_t call_id, BeginCall(call, context));
  link_->SendDetokenize(call_id, std::move(tokens), render_special_tokens);
  RETURN_IF_ERROR(WaitForCall(call_id, call, context));
  return std::move(call->texts);
}

absl::StatusOr<int64_t> AttachedModel::BeginCall(std::shared_ptr<TokenizerCall> call, const RequestContext& context) {
  if (!capabilities_.tokenizer) return errors::TokenizerUnavailable(description_.name);
  std::unique_lock lock(mutex_);
  WaitFor(lock, context, [this] { return calls_.size() < kMaxTokenizerCalls || !lost_.ok(); });
  if (!lost_.ok()) return lost_;
  if (calls_.size() >= kMaxTokenizerCalls) {
    RETURN_IF_ERROR(context.Check());
    return errors::Cancelled();
  }
  calls_.emplace(++last_call_id_, std::move(call));
  return last_call_id_;
}

absl::Status AttachedModel::WaitForCall(int64_t call_id, const std::shared_ptr<TokenizerCall>& call,
                                        const RequestContext& context) {
  std::unique_lock lock(mutex_);
  WaitFor(lock, context, [&] { return call->done || !lost_.ok(); });
  if (call->done) return call->status;
  // The answer may still come: it is dropped then (TakeCall keeps the number until it does).
  if (!lost_.ok()) return lost_;
  lock.unlock();
  RETURN_IF_ERROR(context.Check());
  return errors::Cancelled();
}

std::shared_ptr<AttachedModel::TokenizerCall> AttachedModel::TakeCall(int64_t call_id) {
  const auto found = calls_.find(call_id);
  if (found == calls_.end()) return nullptr;
  auto call = std::move(found->second);
  calls_.erase(found);
  return call;
}

absl::Status AttachedModel::OnTokenized(int64_t call_id, absl::StatusOr<std::vector<std::vector<TokenId>>> tokens) {
  std::lock_guard lock(mutex_);
  const auto call = TakeCall(call_id);
  if (call == nullptr) return errors::RunnerProtocol("tokenized for a call that was not made");
  if (tokens.ok()) {
    if (tokens->size() != call->expected) return errors::RunnerProtocol("tokenized has not one list per text");
    for (const auto& list : *tokens) {
      for (const TokenId id : list) {
        if (id < 0 || id >= description_.vocab_size) return errors::RunnerProtocol("tokenized has an id out of range");
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

absl::Status AttachedModel::OnDetokenized(int64_t call_id, absl::StatusOr<std::vector<std::string>> texts) {
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

void AttachedModel::OnLost(const absl::Status& status) {
  scheduler_->OnLost(status);
  std::lock_guard lock(mutex_);
  if (lost_.ok()) lost_ = status;
  calls_.clear();
  answered_.notify_all();
}

}  // namespace logitd::server
