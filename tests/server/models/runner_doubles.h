// Runners for tests of server/models, without gRPC: one link that calls back, and one whole runner that remembers what
// it was fed.
#ifndef LOGITD_TESTS_SERVER_MODELS_RUNNER_DOUBLES_H_
#define LOGITD_TESTS_SERVER_MODELS_RUNNER_DOUBLES_H_

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/errors.h"
#include "server/models/attached_runner.h"
#include "server/models/runner_link.h"

namespace logitd::server {

class CallbackLink : public RunnerLink {
 public:
  explicit CallbackLink(
      std::function<void(Batch)> on_batch = [](Batch) {},
      std::function<void(int64_t, std::vector<int64_t>)> on_cancel = [](int64_t, std::vector<int64_t>) {},
      std::function<void(int64_t, std::vector<std::string>)> on_tokenize = [](int64_t, std::vector<std::string>) {})
      : on_batch_(std::move(on_batch)), on_cancel_(std::move(on_cancel)), on_tokenize_(std::move(on_tokenize)) {}

  void SendBatch(Batch batch) override { on_batch_(std::move(batch)); }
  void SendCancel(int64_t batch_id, std::vector<int64_t> sequence_ids) override {
    on_cancel_(batch_id, std::move(sequence_ids));
  }
  void SendTokenize(int64_t call_id, std::vector<std::string> texts, const TokenizationOptions&) override {
    on_tokenize_(call_id, std::move(texts));
  }
  void SendDetokenize(int64_t, std::vector<std::vector<TokenId>>, bool) override {}
  void SendRenderChat(int64_t, const ChatBytes&) override {}
  void SendCancelCall(int64_t) override {}

 private:
  const std::function<void(Batch)> on_batch_;
  const std::function<void(int64_t, std::vector<int64_t>)> on_cancel_;
  const std::function<void(int64_t, std::vector<std::string>)> on_tokenize_;
};

// The rows that a piece asks for, as logits: `row_of`, of the index of an appended token.
inline std::vector<PieceOutput> LogitsOf(const SequenceWork& piece,
                                         const std::function<std::vector<float>(int32_t)>& row_of) {
  std::vector<PieceOutput> outputs;
  for (size_t i = 0; i < piece.rows.size(); ++i) {
    PieceOutput& output = outputs.emplace_back();
    output.sequence_id = piece.sequence_id;
    output.request_index = static_cast<int32_t>(i);
    output.row_count = piece.rows[i].row_count;
    output.rows.logits = std::make_shared<std::vector<float>>();
    for (int32_t row = 0; row < output.row_count; ++row) {
      const std::vector<float> values = row_of(piece.rows[i].first_row + row);
      output.rows.logits->insert(output.rows.logits->end(), values.begin(), values.end());
    }
  }
  return outputs;
}

// Answers batches on a thread of its own, as a real runner does: it keeps each sequence's tokens, copies on a fork, and
// its rows are {number of tokens, sum over i of (i + 1) * token, token, 0}, so that a token fed twice, left out or fed
// to the wrong sequence shows. It can be lost after any number of batches, and it dies of the token kPoison. A text
// becomes no tokens; it dies of the text kPoisonText, whatever it has then.
class RememberingRunner {
 public:
  static constexpr int32_t kVocabSize = 4;
  static constexpr int kNever = 1 << 30;
  static constexpr TokenId kPoison = 666;
  static constexpr const char* kPoisonText = "poison";

  // `on_lost`: told, on its thread, instead of answering batch number `lost_at_batch` (from 0), or one with poison.
  // `sharing`: what the server may ask of its cache. `extras`: what it says of itself.
  RememberingRunner(const ModelDescription& model, RunnerCapacity capacity, int lost_at_batch = kNever,
                    std::function<void(RememberingRunner&)> on_lost = nullptr, CacheSharing sharing = {},
                    RunnerExtras extras = {})
      : lost_at_batch_(lost_at_batch),
        on_lost_(std::move(on_lost)),
        runner_(std::make_shared<AttachedRunner>("remembering", model, capacity,
                                                 std::make_shared<CallbackLink>(
                                                     [this](Batch batch) {
                                                       std::lock_guard lock(mutex_);
                                                       queue_.push_back(std::move(batch));
                                                       changed_.notify_all();
                                                     },
                                                     [](int64_t, std::vector<int64_t>) {},
                                                     [this](int64_t call_id, std::vector<std::string> texts) {
                                                       std::lock_guard lock(mutex_);
                                                       texts_.emplace_back(call_id, std::move(texts));
                                                       changed_.notify_all();
                                                     }),
                                                 std::move(extras), sharing)),
        thread_([this] { Serve(); }) {}

  ~RememberingRunner() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  const std::shared_ptr<AttachedRunner>& runner() const { return runner_; }
  int64_t token_count() const {
    std::lock_guard lock(mutex_);
    return token_count_;
  }
  size_t open_sequence_count() const {
    std::lock_guard lock(mutex_);
    return sequences_.size();
  }
  // The most that it ever had at once.
  size_t most_open_sequences() const {
    std::lock_guard lock(mutex_);
    return most_open_sequences_;
  }
  // The same of tokens; what a copy shares counts once.
  int64_t most_cached_tokens() const {
    std::lock_guard lock(mutex_);
    return most_cached_tokens_;
  }

  // The numbers of tokens of the batches of each isolated sequence.
  std::map<int64_t, std::vector<int64_t>> isolated_batches() const {
    std::lock_guard lock(mutex_);
    return isolated_batches_;
  }
  // What the server did with isolated sequences that the protocol does not allow.
  std::vector<std::string> isolation_faults() const {
    std::lock_guard lock(mutex_);
    return isolation_faults_;
  }

  static std::vector<float> Row(const std::vector<TokenId>& tokens, size_t count) {
    float sum = 0;
    for (size_t i = 0; i < count; ++i) sum += static_cast<float>((i + 1) * static_cast<size_t>(tokens[i]));
    return {static_cast<float>(count), sum, static_cast<float>(tokens[count - 1]), 0};
  }
  // The log-prob of a target after those tokens: another number for each target and each history.
  static double LogProb(const std::vector<TokenId>& tokens, size_t count, TokenId target) {
    const std::vector<float> row = Row(tokens, count);
    return -static_cast<double>(row[1]) - row[0] / 1024 - target / 1048576.0;
  }

 private:
  void Serve() {
    std::unique_lock lock(mutex_);
    bool is_lost = false;
    for (int number = 0;; ++number) {
      changed_.wait(lock, [this] { return stopping_ || !queue_.empty() || !texts_.empty(); });
      if (stopping_) return;
      if (!texts_.empty()) {
        const auto [call_id, texts] = std::move(texts_.front());
        texts_.pop_front();
        --number;
        if (is_lost) continue;
        lock.unlock();
        if (std::count(texts.begin(), texts.end(), kPoisonText) > 0) {
          is_lost = true;
          on_lost_(*this);
        } else {
          (void)runner_->OnTokenized(call_id, std::vector<std::vector<TokenId>>(texts.size()));
        }
        lock.lock();
        continue;
      }
      const Batch batch = std::move(queue_.front());
      queue_.pop_front();
      if (is_lost) continue;
      if (number >= lost_at_batch_ || HasPoison(batch)) {
        is_lost = true;
        lock.unlock();
        on_lost_(*this);
        lock.lock();
        continue;
      }
      std::vector<PieceOutput> outputs = Evaluate(batch);
      lock.unlock();
      // A lost runner's last words may come late: nobody listens.
      (void)runner_->scheduler()->OnOutput(batch.batch_id, std::move(outputs), true);
      lock.lock();
    }
  }

  static bool HasPoison(const Batch& batch) {
    return std::any_of(batch.work.begin(), batch.work.end(), [](const SequenceWork& piece) {
      return std::find(piece.append_token_ids.begin(), piece.append_token_ids.end(), kPoison) !=
             piece.append_token_ids.end();
    });
  }

  std::vector<PieceOutput> Evaluate(const Batch& batch) {
    for (const int64_t sequence_id : batch.release_sequence_ids) {
      sequences_.erase(sequence_id);
      own_tokens_.erase(sequence_id);
    }
    for (const SequenceWork& piece : batch.work) {
      if (!piece.fork_from_sequence_id) continue;
      std::vector<TokenId>& tokens = sequences_[piece.sequence_id];
      tokens = sequences_.at(*piece.fork_from_sequence_id);
      if (piece.keep_prefix_length) tokens.resize(static_cast<size_t>(*piece.keep_prefix_length));
    }
    std::vector<PieceOutput> outputs;
    for (const SequenceWork& piece : batch.work) {
      NoteIsolation(batch, piece);
      std::vector<TokenId>& tokens = sequences_[piece.sequence_id];
      const size_t before = tokens.size();
      tokens.insert(tokens.end(), piece.append_token_ids.begin(), piece.append_token_ids.end());
      token_count_ += std::ssize(piece.append_token_ids);
      own_tokens_[piece.sequence_id] += std::ssize(piece.append_token_ids);
      if (!piece.rows.empty() && std::holds_alternative<RecordsWanted>(piece.rows.front().form)) {
        AddRecords(piece, tokens, before, outputs);
        continue;
      }
      for (PieceOutput& output :
           LogitsOf(piece, [&](int32_t row) { return Row(tokens, before + static_cast<size_t>(row) + 1); })) {
        outputs.push_back(std::move(output));
      }
    }
    int64_t cached = 0;
    for (const auto& [sequence_id, count] : own_tokens_) cached += count;
    most_cached_tokens_ = std::max(most_cached_tokens_, cached);
    most_open_sequences_ = std::max(most_open_sequences_, sequences_.size());
    return outputs;
  }

  void NoteIsolation(const Batch& batch, const SequenceWork& piece) {
    if (!piece.is_isolated) {
      if (isolated_batches_.contains(piece.sequence_id)) isolation_faults_.push_back("isolated only in part");
      return;
    }
    if (batch.work.size() != 1) isolation_faults_.push_back("not alone");
    if (piece.fork_from_sequence_id || piece.keep_prefix_length) isolation_faults_.push_back("copied or cut");
    std::vector<int64_t>& batches = isolated_batches_[piece.sequence_id];
    if (batches.empty()) {
      if (sequences_.contains(piece.sequence_id)) isolation_faults_.push_back("isolated only in part");
      isolated_sequence_id_ = piece.sequence_id;
    }
    if (piece.sequence_id != isolated_sequence_id_) isolation_faults_.push_back("two at a time");
    if (!batches.empty() && batches.back() != kIsolatedTokens)
      isolation_faults_.push_back("a short batch before others");
    if (std::ssize(piece.append_token_ids) > kIsolatedTokens) isolation_faults_.push_back("a long batch");
    batches.push_back(std::ssize(piece.append_token_ids));
  }

  static void AddRecords(const SequenceWork& piece, const std::vector<TokenId>& tokens, size_t before,
                         std::vector<PieceOutput>& outputs) {
    for (size_t i = 0; i < piece.rows.size(); ++i) {
      const RowRequest& request = piece.rows[i];
      const auto& wanted = std::get<RecordsWanted>(request.form);
      PieceOutput& output = outputs.emplace_back();
      output.sequence_id = piece.sequence_id;
      output.request_index = static_cast<int32_t>(i);
      output.row_count = request.row_count;
      for (int32_t row = 0; row < request.row_count; ++row) {
        const size_t count = before + static_cast<size_t>(request.first_row + row) + 1;
        RowRecord& record = output.rows.records.emplace_back();
        record.log_sum_exp = static_cast<double>(count);
        record.argmax = tokens[count - 1];
        record.target_log_prob = LogProb(tokens, count, wanted.targets[static_cast<size_t>(row)]);
        if (wanted.ranks) record.target_rank = wanted.targets[static_cast<size_t>(row)] + 1;
        for (int32_t k = 0; k < wanted.top_n; ++k) record.top.push_back({k, LogProb(tokens, count, k), {}, {}});
        for (const TokenId id : wanted.named_token_ids) {
          record.named.push_back({id, LogProb(tokens, count, id), {}, {}});
          if (wanted.ranks) record.named.back().rank = id + 1;
        }
      }
    }
  }

  const int lost_at_batch_;
  const std::function<void(RememberingRunner&)> on_lost_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Batch> queue_;
  std::deque<std::pair<int64_t, std::vector<std::string>>> texts_;
  bool stopping_ = false;
  std::map<int64_t, std::vector<TokenId>> sequences_;
  std::map<int64_t, int64_t> own_tokens_;
  int64_t token_count_ = 0;
  int64_t most_cached_tokens_ = 0;
  std::map<int64_t, std::vector<int64_t>> isolated_batches_;
  std::vector<std::string> isolation_faults_;
  int64_t isolated_sequence_id_ = 0;
  size_t most_open_sequences_ = 0;
  const std::shared_ptr<AttachedRunner> runner_;
  std::thread thread_;
};

}  // namespace logitd::server

#endif  // LOGITD_TESTS_SERVER_MODELS_RUNNER_DOUBLES_H_
