#include "server/models/sent_batch.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/errors.h"
#include "server/models/runner_session.h"

namespace logitd::server {
namespace {

int64_t RowCountOf(const InFlight& entry) {
  int64_t count = 0;
  for (const InFlight::Rows& rows : entry.rows) count += rows.expected;
  return count;
}

}  // namespace

void Job::Wake(End how) {
  {
    std::lock_guard lock(wake_mutex);
    end = how;
  }
  woken.notify_one();
}

void AddRows(const SequenceWork& work, size_t offset, SequenceWork& piece, InFlight& entry) {
  const auto first_token = static_cast<int32_t>(offset);
  const auto end_token = static_cast<int32_t>(offset + piece.token_count());
  for (size_t i = 0; i < work.rows.size(); ++i) {
    const RowRequest& whole = work.rows[i];
    const int32_t begin = std::max(whole.first_row, first_token);
    const int32_t end = std::min(whole.first_row + whole.row_count, end_token);
    if (begin >= end) continue;
    RowRequest& part = piece.rows.emplace_back(RowRequest{begin - first_token, end - begin, LogitsWanted()});
    if (const auto* records = std::get_if<RecordsWanted>(&whole.form)) {
      RecordsWanted wanted{{}, records->top_n, records->named_token_ids, records->ranks, records->entropy};
      if (!records->targets.empty()) {
        const auto first = records->targets.begin() + (begin - whole.first_row);
        wanted.targets.assign(first, first + (end - begin));
      }
      part.form = std::move(wanted);
    } else {
      part.form = whole.form;
    }
    entry.rows.push_back({i, end - begin});
    entry.rows_missing += end - begin;
  }
}

void TakeRows(RequestRows rows, RequestRows& result) {
  if (result.logits == nullptr) {
    result.logits = std::move(rows.logits);
  } else if (rows.logits != nullptr) {
    result.logits->insert(result.logits->end(), rows.logits->begin(), rows.logits->end());
  }
  std::move(rows.records.begin(), rows.records.end(), std::back_inserter(result.records));
  if (rows.choice) result.choice = std::move(rows.choice);
}

absl::StatusOr<std::vector<Arrival>> CountOutputs(SentBatch& batch, std::vector<PieceOutput>& outputs, bool final) {
  std::unordered_map<int64_t, InFlight>& entries = batch.entries;
  std::vector<Arrival> arrivals;
  arrivals.reserve(outputs.size());
  for (PieceOutput& output : outputs) {
    const auto found = entries.find(output.sequence_id);
    if (found == entries.end()) return errors::RunnerProtocol("output for a sequence that is not in the batch");
    InFlight& entry = found->second;
    if (entry.failed) return errors::RunnerProtocol("output for a sequence that has failed or was skipped");
    const Job& job = *entry.job;
    size_t request = 0;
    if (!output.status.ok()) {
      entry.failed = true;
      if (entry.is_counted && job.session != nullptr) {
        job.session->dropped().emplace(output.sequence_id, output.status);
      }
    } else if (output.skipped) {
      if (entry.rows_missing != RowCountOf(entry))
        return errors::RunnerProtocol("an entry was skipped after rows of it");
      entry.failed = true;
      entry.skipped = true;
      // The reason why it was skipped, if it is known.
      if (job.session != nullptr) {
        const auto dropped = job.session->dropped().find(output.sequence_id);
        if (dropped != job.session->dropped().end()) output.status = dropped->second;
      }
    } else {
      if (output.request_index < 0 || output.request_index >= std::ssize(entry.rows)) {
        return errors::RunnerProtocol("output for a request that the entry does not have");
      }
      InFlight::Rows& rows = entry.rows[static_cast<size_t>(output.request_index)];
      if (output.first_row != rows.received || int64_t{rows.received} + output.row_count > rows.expected) {
        return errors::RunnerProtocol("rows that were not asked for, or not in order");
      }
      rows.received += output.row_count;
      entry.rows_missing -= output.row_count;
      request = rows.request_index;
    }
    // Work without rows ends with its batch.
    const bool has_all = entry.last_piece && !entry.rows.empty() && entry.rows_missing == 0;
    const bool is_end = entry.failed || has_all;
    if (!job.abandoned && !entry.is_counted) arrivals.push_back({entry.job, entry.index, request, &output, is_end});
    entry.is_counted = entry.is_counted || is_end;
  }
  for (const auto& [sequence_id, entry] : entries) {
    if (final && !entry.failed && entry.rows_missing != 0) {
      return errors::RunnerProtocol("a batch was ended before all of its rows had come");
    }
  }
  return arrivals;
}

}  // namespace logitd::server
