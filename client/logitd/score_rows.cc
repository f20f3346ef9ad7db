#include "client/logitd/score_rows.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace logitd::client {

absl::Status ScoreRows(Client& client, const v1::ScoreLogitsConfig& config, LogitsRows& rows,
                       const std::vector<std::vector<int32_t>>& targets, const std::vector<int32_t>& prompt,
                       const std::function<bool(const v1::ScoreLogitsResponse&)>& on_sequence) {
  const auto next_rows = [&](v1::ScoreLogitsRows& message, std::string& payload) -> absl::StatusOr<bool> {
    const int32_t sequence = rows.next_sequence();
    if (sequence == rows.sequence_count()) return false;
    const int32_t first = rows.next_row();
    ASSIGN_OR_RETURN(const int32_t count, rows.ReadRows(*message.add_blocks(), payload));
    message.set_sequence_index(sequence);
    if (first == 0) message.mutable_prompt_token_ids()->Add(prompt.begin(), prompt.end());
    const auto begin = targets[static_cast<size_t>(sequence)].begin() + first;
    message.mutable_target_token_ids()->Add(begin, begin + count);
    // The answer comes at once, and the server frees the sequence.
    message.set_last(first + count == rows.row_count());
    return true;
  };
  int32_t answered = 0;
  const auto take = [&](const v1::ScoreLogitsResponse& response) {
    // An answer that no sequence waits for is dropped; a missing one is found below.
    if (response.sequence_index() != answered || answered == rows.sequence_count()) return true;
    ++answered;
    return on_sequence(response);
  };
  RETURN_IF_ERROR(client.ScoreLogits(config, next_rows, take));
  if (answered == rows.sequence_count()) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("the server answered ", answered, " of ", rows.sequence_count(), " sequences"));
}

}  // namespace logitd::client
