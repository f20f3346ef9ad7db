#include "client/http/prefix_turns.h"

#include <algorithm>
#include <cstring>

namespace logitd::http {

void PrefixTurns::Turn::SetEvaluated() {
  if (prompt_ == nullptr) return;
  std::lock_guard lock(turns_->mutex_);
  prompt_->is_evaluated = true;
}

size_t PrefixTurns::CommonBytes(const Prompt& a, const Prompt& b) {
  if (a.scope != b.scope) return 0;
  const size_t size = std::min(a.bytes.size(), b.bytes.size());
  size_t common = 0;
  // Whole blocks first: memcmp is many times as fast.
  constexpr size_t kBlock = 256;
  while (common + kBlock <= size && std::memcmp(&a.bytes[common], &b.bytes[common], kBlock) == 0) common += kBlock;
  while (common < size && a.bytes[common] == b.bytes[common]) ++common;
  return common;
}

bool PrefixTurns::Leads(const Prompt& other, const Prompt& prompt) {
  if (other.scope != prompt.scope) return false;
  const size_t from = std::max(other.known, prompt.known);
  if (std::min(other.bytes.size(), prompt.bytes.size()) < from + kWorthBytes) return false;
  // The new part first, which most prompts do not share: hardly any prompt is then compared as a whole.
  return std::memcmp(&other.bytes[from], &prompt.bytes[from], kWorthBytes) == 0 &&
         std::memcmp(other.bytes.data(), prompt.bytes.data(), from) == 0;
}

std::shared_ptr<PrefixTurns::Prompt> PrefixTurns::LeaderOf(Prompt& prompt) const {
  for (const auto& other : remembered_) prompt.known = std::max(prompt.known, CommonBytes(*other, prompt));
  if (prompt.bytes.size() < prompt.known + kWorthBytes) return nullptr;
  for (const auto& other : in_work_) {
    if (Leads(*other, prompt)) return other;
  }
  return nullptr;
}

PrefixTurns::Turn PrefixTurns::Enter(std::string scope, std::string prompt, const std::stop_token& stop) {
  if (prompt.size() < kWorthBytes || prompt.size() > kMaxPromptBytes) return {this, nullptr};
  auto own = std::make_shared<Prompt>();
  own->scope = std::move(scope);
  own->bytes = std::move(prompt);
  const auto deadline = std::chrono::steady_clock::now() + max_wait_;
  std::unique_lock lock(mutex_);
  while (const std::shared_ptr<Prompt> leader = LeaderOf(*own)) {
    ++waiting_;
    const bool has_left = leader->left.wait_until(lock, stop, deadline, [&leader] { return leader->has_left; });
    --waiting_;
    if (!has_left) break;
  }
  in_work_.push_back(own);
  return {this, std::move(own)};
}

void PrefixTurns::Leave(Prompt& prompt) {
  std::lock_guard lock(mutex_);
  const auto place = std::ranges::find(in_work_, &prompt, [](const auto& held) { return held.get(); });
  if (prompt.is_evaluated) {
    remembered_.push_back(*place);
    remembered_bytes_ += prompt.bytes.size();
  }
  in_work_.erase(place);
  while (remembered_.size() > kRemembered || remembered_bytes_ > kRememberedBytes) {
    remembered_bytes_ -= remembered_.front()->bytes.size();
    remembered_.pop_front();
  }
  prompt.has_left = true;
  prompt.left.notify_all();
}

int PrefixTurns::waiting_count() const {
  std::lock_guard lock(mutex_);
  return waiting_;
}

}  // namespace logitd::http
