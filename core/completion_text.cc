#include "core/completion_text.h"

#include <utility>

#include "base/utf8.h"

namespace logitd {

std::optional<CompletionText::Stop> CompletionText::Append(std::string_view bytes, const SequenceSums& sums,
                                                           bool looks) {
  const size_t begin = bytes_.size();
  held_.push_back({begin, begin + bytes.size(), sums});
  bytes_.append(bytes);
  if (stops_ == nullptr) {
    Settle(bytes_.size());
    return std::nullopt;
  }
  for (size_t i = begin; i < bytes_.size(); ++i) {
    state_ = stops_->Next(state_, bytes_[i]);
    if (!looks) continue;
    if (const auto match = stops_->MatchAt(state_)) {
      const size_t cut_bytes = CutAt(i + 1 - static_cast<size_t>(match->length));
      return Stop{match->index, static_cast<int32_t>(cut_bytes)};
    }
  }
  Settle(bytes_.size() - static_cast<size_t>(stops_->HeldBytes(state_)));
  return std::nullopt;
}

void CompletionText::End() {
  if (!has_ended_) CutAt(bytes_.size());
}

size_t CompletionText::CutAt(size_t cut) {
  bytes_.resize(cut);
  Settle(cut);
  held_.clear();
  has_ended_ = true;
  return last_end_ > cut ? last_end_ - cut : 0;
}

void CompletionText::Settle(size_t settled) {
  settled_ = settled;
  while (!held_.empty()) {
    const Held& next = held_.front();
    // A token without bytes stays if nothing of a stop string comes before it.
    const bool is_certain = next.begin < settled || (next.begin == next.end && next.begin == settled);
    if (!is_certain) break;
    ++token_count_;
    sums_ = next.sums;
    last_end_ = next.end;
    held_.pop_front();
  }
}

std::string CompletionText::TakeText() {
  const std::string_view settled = std::string_view(bytes_).substr(0, settled_);
  const size_t whole = has_ended_ ? settled.size() : CompletePrefix(settled);
  if (whole <= taken_) return "";
  std::string text = ToUtf8(settled.substr(taken_, whole - taken_));
  taken_ = whole;
  return text;
}

}  // namespace logitd
