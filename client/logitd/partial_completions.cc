#include "client/logitd/partial_completions.h"

#include <utility>

namespace logitd::client {

void PartialCompletions::Add() {
  v1::Completion& completion = *final_.add_completions();
  completion.set_index(final_.completions_size() - 1);
  completion.set_sequence_key(first_key_ + static_cast<uint64_t>(completion.index()));
}

void PartialCompletions::Take(const v1::CompletionDelta& delta) {
  // An index that no request asked for must never size a list.
  if (delta.index() < 0 || delta.index() >= completion_count_) return;
  while (final_.completions_size() <= delta.index()) Add();
  v1::Completion& completion = *final_.mutable_completions(delta.index());
  completion.mutable_tokens()->MergeFrom(delta.tokens());
  completion.mutable_text()->append(delta.text());
  if (delta.has_totals()) *completion.mutable_totals() = delta.totals();
  if (delta.has_finish()) *completion.mutable_finish() = delta.finish();
}

v1::GenerateFinal PartialCompletions::EndWith(const v1::Error& error) && {
  if (final_.completions().empty()) return std::move(final_);
  while (final_.completions_size() < completion_count_) Add();
  for (v1::Completion& completion : *final_.mutable_completions()) {
    if (!completion.has_finish()) *completion.mutable_error() = error;
  }
  return std::move(final_);
}

}  // namespace logitd::client
