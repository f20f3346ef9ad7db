#include "server/models/attached_runner.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"

namespace logitd::server {
namespace {

// Limits for calls that the runner has not answered yet, including those that their callers have given up. Each call
// may hold megabytes of text; further calls wait here. Short calls have places of their own, so that they need not wait
// behind long ones. Many runners also answer them first.
constexpr int64_t kShortCallBytes = 16 << 10;
constexpr size_t kMaxShortCalls = 16;
constexpr size_t kMaxLongCalls = 8;
// The bytes that a token counts as, where calls are sorted by size.
constexpr int64_t kBytesPerToken = 4;
// A tokenizer that has answered no call for this long hangs. Megabytes of text take seconds, and logitd-llama may spend
// 15 us of CPU time per byte on a text, at low priority, before it refuses the text.
constexpr std::chrono::minutes kTokenizerTime{2};
constexpr std::chrono::microseconds kTokenizerTimePerByte{60};

}  // namespace

AttachedRunner::AttachedRunner(std::string name, const ModelDescription& model, const RunnerCapacity& capacity,
                               std::shared_ptr<RunnerLink> link, RunnerExtras extras, CacheSharing sharing)
    : name_(std::move(name)),
      vocab_size_(model.vocab_size),
      batch_tolerance_nats_(model.batch_tolerance_nats),
      extras_(std::move(extras)),
      link_(std::move(link)),
      scheduler_(std::make_shared<BatchScheduler>(model, capacity, link_, sharing)) {}

absl::StatusOr<std::vector<std::vector<TokenId>>> AttachedRunner::Tokenize(std::vector<std::string> texts,
                                                                           const TokenizationOptions& options,
                                                                           const RequestContext& context) {
  auto call = std::make_shared<TokenizerCall>();
  call->expected = texts.size();
  for (const std::string& text : texts) call->text_bytes += static_cast<int64_t>(text.size());
  ASSIGN_OR_RETURN(const int64_t call_id, BeginCall(call, context));
  link_->SendTokenize(call_id, std::move(texts), options);
  RETURN_IF_ERROR(WaitForCall(call_id, call, context));
  return std::move(call->tokens);
}

absl::StatusOr<std::vector<std::string>> AttachedRunner::Detokenize(std::vector<std::vector<TokenId>> tokens,
                                                                    bool render_special_tokens,
                                                                    const RequestContext& context) {
  auto call = std::make_shared<TokenizerCall>();
  call->expected = tokens.size();
  for (const auto& ids : tokens) call->text_bytes += kBytesPerToken * static_cast<int64_t>(ids.size());
  ASSIGN_OR_RETURN(const int64_t call_id, BeginCall(call, context));
  link_->SendDetokenize(call_id, std::move(tokens), render_special_tokens);
  RETURN_IF_ERROR(WaitForCall(call_id, call, context));
  return std::move(call->texts);
}

absl::StatusOr<RenderedChat> AttachedRunner::RenderChat(const ChatBytes& chat, const RequestContext& context) {
  auto call = std::make_shared<TokenizerCall>();
  call->expected = 1;
  call->text_bytes = static_cast<int64_t>(chat.size());
  ASSIGN_OR_RETURN(const int64_t call_id, BeginCall(call, context));
  link_->SendRenderChat(call_id, chat);
  RETURN_IF_ERROR(WaitForCall(call_id, call, context));
  return std::move(call->chats.front());
}

absl::StatusOr<int64_t> AttachedRunner::BeginCall(std::shared_ptr<TokenizerCall> call, const RequestContext& context) {
  const bool is_short = call->text_bytes <= kShortCallBytes;
  size_t& open = is_short ? short_calls_ : long_calls_;
  const size_t limit = is_short ? kMaxShortCalls : kMaxLongCalls;
  std::condition_variable_any& room = is_short ? short_room_ : long_room_;
  std::unique_lock lock(mutex_);
  context.WaitFor(room, lock, [&] { return open < limit || !lost_.ok(); });
  if (!lost_.ok()) return lost_;
  if (open >= limit) {
    return context.WhyGivenUp();
  }
  ++open;
  // Only now that the call has a place: quiet work then waits for no more calls than there are places.
  lock.unlock();
  const absl::Status begun = scheduler_->BeginText(context);
  lock.lock();
  if (!lost_.ok()) return lost_;
  if (!begun.ok()) {
    --open;
    room.notify_one();
    return begun;
  }
  if (calls_.empty()) waiting_since_ = std::chrono::steady_clock::now();
  calls_.emplace(++last_call_id_, std::move(call));
  return last_call_id_;
}

absl::Status AttachedRunner::WaitForCall(int64_t call_id, const std::shared_ptr<TokenizerCall>& call,
                                         const RequestContext& context) {
  std::unique_lock lock(mutex_);
  context.WaitFor(call->changed, lock, [&] { return call->done || !lost_.ok(); });
  if (call->done) return call->status;
  // The answer may still come. TakeCall drops it then; until that time the number stays in use.
  if (!lost_.ok()) return lost_;
  lock.unlock();
  link_->SendCancelCall(call_id);
  return context.WhyGivenUp();
}

std::shared_ptr<AttachedRunner::TokenizerCall> AttachedRunner::TakeCall(Calls::iterator found) {
  auto call = std::move(found->second);
  calls_.erase(found);
  const bool is_short = call->text_bytes <= kShortCallBytes;
  --(is_short ? short_calls_ : long_calls_);
  (is_short ? short_room_ : long_room_).notify_one();
  waiting_since_ = std::chrono::steady_clock::now();
  scheduler_->EndText();
  return call;
}

template <typename T>
absl::Status AttachedRunner::OnAnswer(int64_t call_id, absl::StatusOr<std::vector<T>> answer,
                                      std::vector<T> TokenizerCall::*result) {
  std::lock_guard lock(mutex_);
  const auto found = calls_.find(call_id);
  if (found == calls_.end()) return errors::RunnerProtocol("an answer to a text call that was not made");
  // The call itself fails in OnLost, which follows.
  if (answer.ok() && answer->size() != found->second->expected) {
    return errors::RunnerProtocol("an answer to a text call has not one element for each of the call's");
  }
  const std::shared_ptr<TokenizerCall> call = TakeCall(found);
  if (answer.ok()) {
    (*call).*result = *std::move(answer);
  } else {
    call->status = answer.status();
  }
  call->done = true;
  call->changed.notify_one();
  return absl::OkStatus();
}

absl::Status AttachedRunner::OnTokenized(int64_t call_id, absl::StatusOr<std::vector<std::vector<TokenId>>> tokens) {
  const auto is_known = [this](TokenId id) { return id >= 0 && id < vocab_size_; };
  for (size_t i = 0; tokens.ok() && i < tokens->size(); ++i) {
    if (!std::all_of((*tokens)[i].begin(), (*tokens)[i].end(), is_known)) {
      return errors::RunnerProtocol("tokenized has an id out of range");
    }
  }
  return OnAnswer(call_id, std::move(tokens), &TokenizerCall::tokens);
}

absl::Status AttachedRunner::OnDetokenized(int64_t call_id, absl::StatusOr<std::vector<std::string>> texts) {
  return OnAnswer(call_id, std::move(texts), &TokenizerCall::texts);
}

absl::Status AttachedRunner::OnRenderedChat(int64_t call_id, absl::StatusOr<RenderedChat> chat) {
  if (!chat.ok()) return OnAnswer<RenderedChat>(call_id, chat.status(), &TokenizerCall::chats);
  const auto is_known = [this](TokenId id) { return id >= 0 && id < vocab_size_; };
  if (!std::all_of(chat->token_ids.begin(), chat->token_ids.end(), is_known)) {
    return errors::RunnerProtocol("rendered_chat has an id out of range");
  }
  std::vector<RenderedChat> chats;
  chats.push_back(*std::move(chat));
  return OnAnswer<RenderedChat>(call_id, std::move(chats), &TokenizerCall::chats);
}

bool AttachedRunner::IsOverdue(std::chrono::steady_clock::time_point now) {
  if (scheduler_->IsOverdue(now)) return true;
  std::lock_guard lock(mutex_);
  int64_t longest = 0;
  for (const auto& [id, call] : calls_) longest = std::max(longest, call->text_bytes);
  return !calls_.empty() && now - waiting_since_ > kTokenizerTime + kTokenizerTimePerByte * longest;
}

void AttachedRunner::OnLost(const absl::Status& status, const RunnerEnd& end) {
  scheduler_->OnLost(status, end.signal);
  std::lock_guard lock(mutex_);
  if (lost_.ok()) lost_ = status;
  for (const auto& [id, call] : calls_) call->changed.notify_one();
  calls_.clear();
  short_calls_ = long_calls_ = 0;
  short_room_.notify_all();
  long_room_.notify_all();
}

}  // namespace logitd::server
