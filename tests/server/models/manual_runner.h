// A runner that answers each batch when a test tells it to.
#ifndef LOGITD_TESTS_SERVER_MODELS_MANUAL_RUNNER_H_
#define LOGITD_TESTS_SERVER_MODELS_MANUAL_RUNNER_H_

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "server/models/runner_session.h"
#include "tests/server/models/runner_doubles.h"
#include "tests/testing/matchers.h"

namespace logitd::server {

inline constexpr int32_t kVocabSize = 4;

// A runner that answers each batch when it is told to: row = {token, 0, 0, 0} for each token that a row is wanted for.
class ManualRunner {
 public:
  explicit ManualRunner(RunnerCapacity capacity = {8, 1000, 100})
      : scheduler_(std::make_shared<BatchScheduler>(Description(), capacity,
                                                    std::make_shared<CallbackLink>(
                                                        [this](Batch batch) {
                                                          std::lock_guard lock(mutex_);
                                                          sent_.push_back(std::move(batch));
                                                          changed_.notify_all();
                                                        },
                                                        [this](int64_t, std::vector<int64_t> sequence_ids) {
                                                          std::lock_guard lock(mutex_);
                                                          cancelled_.insert(cancelled_.end(), sequence_ids.begin(),
                                                                            sequence_ids.end());
                                                        }))) {}

  // The sequences that the scheduler has cancelled.
  std::vector<int64_t> cancelled() {
    std::lock_guard lock(mutex_);
    return cancelled_;
  }

  // The next batch that the scheduler sends.
  Batch Next() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(30), [this] { return !sent_.empty(); }));
    if (sent_.empty()) return {};
    Batch batch = std::move(sent_.front());
    sent_.pop_front();
    return batch;
  }

  // Until so many entries wait for a batch.
  void WaitUntilWaiting(size_t count) {
    while (scheduler_->waiting_count() < count) std::this_thread::yield();
  }

  absl::Status Answer(const Batch& batch) { return scheduler_->OnOutput(batch.batch_id, Rows(batch), true); }

  static std::vector<PieceOutput> Rows(const Batch& batch) {
    std::vector<PieceOutput> outputs;
    for (const SequenceWork& piece : batch.work) {
      for (PieceOutput& output : LogitsOf(piece, [&piece](int32_t row) {
             return std::vector<float>{static_cast<float>(piece.append_token_ids[static_cast<size_t>(row)]), 0, 0, 0};
           })) {
        outputs.push_back(std::move(output));
      }
    }
    return outputs;
  }

  const std::shared_ptr<BatchScheduler>& scheduler() const { return scheduler_; }

 private:
  static ModelDescription Description() {
    ModelDescription description;
    description.name = "manual";
    description.vocab_size = kVocabSize;
    return description;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> sent_;
  std::vector<int64_t> cancelled_;
  std::shared_ptr<BatchScheduler> scheduler_;
};

inline SequenceWork Append(RunnerSession& session, size_t tokens, bool all = false) {
  SequenceWork work;
  work.sequence_id = session.NewSequence();
  work.append_token_ids.resize(tokens);
  std::iota(work.append_token_ids.begin(), work.append_token_ids.end(), 0);
  if (all) {
    work.AskForAll();
  } else {
    work.AskForLast();
  }
  return work;
}

}  // namespace logitd::server

#endif  // LOGITD_TESTS_SERVER_MODELS_MANUAL_RUNNER_H_
