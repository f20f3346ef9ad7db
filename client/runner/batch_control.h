// Knows whether the server still waits for the results of one batch.
#ifndef LOGITD_CLIENT_RUNNER_BATCH_CONTROL_H_
#define LOGITD_CLIENT_RUNNER_BATCH_CONTROL_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "core/errors.h"
#include "logitd/v1/model_runner_service.pb.h"

namespace logitd::runner {

// Thread-safe: one thread evaluates while another one reads the server's cancels. The batch's deadline counts from the
// construction of this object.
class BatchControl {
 public:
  explicit BatchControl(const v1::RunBatch& batch) : cancelled_(static_cast<size_t>(batch.work_size())) {
    for (int i = 0; i < batch.work_size(); ++i) places_.emplace(batch.work(i).sequence_id(), static_cast<size_t>(i));
    if (batch.has_deadline_ms()) {
      deadline_ = std::chrono::steady_clock::now() + std::chrono::milliseconds(batch.deadline_ms());
    }
  }

  void Cancel(const v1::CancelBatch& cancel) {
    for (const int64_t sequence_id : cancel.sequence_ids()) {
      if (const auto found = places_.find(sequence_id); found != places_.end()) cancelled_[found->second] = true;
    }
    if (!cancel.sequence_ids().empty()) return;
    for (std::atomic<bool>& cancelled : cancelled_) cancelled = true;
  }

  // OK while the server waits for the rows of entry `work_index`; else CANCELLED or DEADLINE_EXCEEDED.
  absl::Status Check(int work_index) const {
    if (cancelled_[static_cast<size_t>(work_index)]) return errors::Cancelled();
    if (deadline_ && std::chrono::steady_clock::now() >= *deadline_) return errors::DeadlineExceeded();
    return absl::OkStatus();
  }

 private:
  std::vector<std::atomic<bool>> cancelled_;
  std::unordered_map<int64_t, size_t> places_;
  std::optional<std::chrono::steady_clock::time_point> deadline_;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_BATCH_CONTROL_H_
