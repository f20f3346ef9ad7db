#include "client/logitd/item_file.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/logitd/client_error.h"
#include "client/logitd/file_survey.h"
#include "client/logitd/item_requests.h"

namespace logitd::client {
namespace {

constexpr auto kProgressInterval = std::chrono::milliseconds(100);

// Lines that are sent together.
struct Chunk {
  std::vector<InputLine> lines;
  std::vector<std::optional<std::string>> answers;
  // Answers that were handed on, front to back.
  size_t handed_on = 0;
  bool is_taken = false;
};

// The chunks in flight, in the input's order, and the threads that work on them.
class Workers {
 public:
  using Answer = std::function<absl::Status(const std::vector<InputLine>& lines, const AnswerLine& put)>;

  Workers(int count, const Answer& answer) : count_(count), answer_(answer) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this] { Work(); });
    }
  }
  ~Workers() { Stop(); }

  // Whether there is room for one more chunk.
  bool has_room() const {
    std::lock_guard lock(mutex_);
    return status_.ok() && chunks_.size() < 2 * static_cast<size_t>(count_);
  }

  bool is_empty() const {
    std::lock_guard lock(mutex_);
    return chunks_.empty();
  }

  void Add(std::vector<InputLine> lines) {
    auto chunk = std::make_shared<Chunk>();
    chunk->answers.resize(lines.size());
    chunk->lines = std::move(lines);
    std::lock_guard lock(mutex_);
    chunks_.push_back(std::move(chunk));
    changed_.notify_all();
  }

  // The next answers, in order, after a wait of at most kProgressInterval for the first of them.
  std::vector<std::string> Take() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kProgressInterval, [this] { return !status_.ok() || IsFrontAnswered(); });
    std::vector<std::string> answers;
    while (IsFrontAnswered()) {
      Chunk& front = *chunks_.front();
      answers.push_back(*std::move(front.answers[front.handed_on++]));
      if (front.handed_on == front.lines.size()) chunks_.pop_front();
    }
    return answers;
  }

  // Waits for the calls that are under way, and begins no others.
  void Stop() {
    {
      std::lock_guard lock(mutex_);
      is_stopping_ = true;
      changed_.notify_all();
    }
    threads_.clear();
  }

  // The first error.
  absl::Status status() const {
    std::lock_guard lock(mutex_);
    return status_;
  }

 private:
  bool IsFrontAnswered() const {
    return !chunks_.empty() && chunks_.front()->answers[chunks_.front()->handed_on].has_value();
  }

  std::shared_ptr<Chunk> NextChunk() {
    std::unique_lock lock(mutex_);
    while (!is_stopping_ && status_.ok()) {
      for (const std::shared_ptr<Chunk>& chunk : chunks_) {
        if (!std::exchange(chunk->is_taken, true)) return chunk;
      }
      changed_.wait(lock);
    }
    return nullptr;
  }

  void Work() {
    while (const std::shared_ptr<Chunk> chunk = NextChunk()) {
      size_t answered = 0;
      absl::Status status = answer_(chunk->lines, [&](size_t i, std::string answer) {
        std::lock_guard lock(mutex_);
        if (i < chunk->handed_on || chunk->answers[i].has_value()) return;
        chunk->answers[i] = std::move(answer);
        ++answered;
        changed_.notify_all();
      });
      if (status.ok() && answered < chunk->lines.size()) {
        status = absl::InternalError(absl::StrCat(answered, " of ", chunk->lines.size(), " lines were answered"));
      }
      std::lock_guard lock(mutex_);
      status_.Update(status);
      changed_.notify_all();
    }
  }

  const int count_;
  const Answer& answer_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Chunk>> chunks_;
  absl::Status status_;
  bool is_stopping_ = false;
  // The last member, because the threads use the others.
  std::vector<std::jthread> threads_;
};

// Hands the answers to the output and to the hooks.
class Output {
 public:
  Output(const ItemFileHooks& hooks, ItemFileCounts counts) : hooks_(hooks), counts_(counts) {}

  absl::Status Open(const ItemFileOptions& options) {
    if (options.out.empty()) return absl::OkStatus();
    const auto check = [this, &options](int64_t index, std::string_view line) {
      if (index >= counts_.total) {
        return InputError("out", options.out, absl::StrCat("at most ", counts_.total, " lines"),
                          absl::StrCat(options.out, " has more lines than ", options.in));
      }
      ++counts_.done;
      ++counts_.resumed;
      return hooks_.on_line ? hooks_.on_line(index, line, /*is_old=*/true) : absl::OkStatus();
    };
    ASSIGN_OR_RETURN(file_, AnswerFile::Open(options.out, options.origin, options.resume, check));
    return absl::OkStatus();
  }

  absl::Status Write(const std::vector<std::string>& answers) {
    std::string lines;
    for (const std::string& answer : answers) absl::StrAppend(&lines, answer, "\n");
    if (file_ != nullptr && !answers.empty()) RETURN_IF_ERROR(file_->Append(lines));
    for (const std::string& answer : answers) {
      const int64_t index = counts_.done++;
      if (hooks_.on_line) RETURN_IF_ERROR(hooks_.on_line(index, answer, /*is_old=*/false));
    }
    Show();
    return absl::OkStatus();
  }

  absl::Status Sync() { return file_ == nullptr ? absl::OkStatus() : file_->Sync(); }

  void Show() const {
    if (hooks_.on_progress) hooks_.on_progress(counts_);
  }

  const ItemFileCounts& counts() const { return counts_; }

 private:
  const ItemFileHooks& hooks_;
  ItemFileCounts counts_;
  std::unique_ptr<AnswerFile> file_;
};

absl::Status Changed(const ItemFileOptions& options) {
  return InputError("in", options.in, "a file that does not change",
                    absl::StrCat(options.in, " changed while it was read"));
}

// Refuses an output that would replace the input.
absl::Status CheckApart(const ItemFileOptions& options) {
  for (const std::string& written : {options.out, CheckpointOf(options.out)}) {
    std::error_code is_missing;
    if (!options.out.empty() && std::filesystem::equivalent(options.in, written, is_missing)) {
      return InputError("out", options.out, "another file than the input",
                        absl::StrCat(written, " is the input itself: name another output"));
    }
  }
  return absl::OkStatus();
}

// The input's lines behind those that are answered.
class Input {
 public:
  Input(const ItemFileOptions& options, int64_t total)
      : options_(options),
        total_(total),
        file_(options.in, std::ios::binary),
        reader_(file_, LineReader::kKeepBlanks) {}

  // Errors: InputError.
  absl::Status Skip(int64_t count) {
    while (read_ < count) {
      const auto most = static_cast<int>(std::min<int64_t>(count - read_, kItemsPerRequest));
      const std::vector<InputLine> lines = reader_.NextChunk(most, kBytesPerRequest);
      if (lines.empty()) return Changed(options_);
      read_ += static_cast<int64_t>(lines.size());
    }
    return absl::OkStatus();
  }

  bool is_at_end() const { return read_ == total_; }

  // Errors: InputError.
  absl::StatusOr<std::vector<InputLine>> Next() {
    std::vector<InputLine> lines = reader_.NextChunk(kItemsPerRequest, kBytesPerRequest);
    read_ += static_cast<int64_t>(lines.size());
    if (lines.empty() || read_ > total_) return Changed(options_);
    return lines;
  }

 private:
  const ItemFileOptions& options_;
  const int64_t total_;
  std::ifstream file_;
  LineReader reader_;
  int64_t read_ = 0;
};

absl::Status AnswerLines(const ItemFileOptions& options, const ItemFileHooks& hooks, Input& input, Output& output) {
  Workers workers(options.requests_in_flight, hooks.answer);
  const auto run = [&]() -> absl::Status {
    while (workers.status().ok() && !(input.is_at_end() && workers.is_empty())) {
      while (!input.is_at_end() && workers.has_room()) {
        ASSIGN_OR_RETURN(std::vector<InputLine> lines, input.Next());
        workers.Add(std::move(lines));
      }
      RETURN_IF_ERROR(output.Write(workers.Take()));
    }
    return workers.status();
  };
  absl::Status status = run();
  workers.Stop();
  if (status.ok() || IsWriteError(status)) return status;
  // Whatever was answered in the meantime need not be asked again.
  status.Update(output.Write(workers.Take()));
  return status;
}

}  // namespace

absl::StatusOr<ItemFileCounts> AnswerItemFile(ItemFileOptions options, const ItemFileHooks& hooks) {
  RETURN_IF_ERROR(CheckApart(options));
  ASSIGN_OR_RETURN(const FileSurvey survey, SurveyFile(options.in));
  options.origin.emplace(options.origin.begin(), "input",
                         absl::StrCat(survey.lines, " lines, ", survey.bytes, " bytes, SHA-256 ", survey.hash));
  Output output(hooks, {.total = survey.lines});
  RETURN_IF_ERROR(output.Open(options));
  output.Show();
  Input input(options, survey.lines);
  RETURN_IF_ERROR(input.Skip(output.counts().resumed));
  absl::Status status = AnswerLines(options, hooks, input, output);
  if (!IsWriteError(status)) status.Update(output.Sync());
  if (!status.ok()) return status;
  return output.counts();
}

}  // namespace logitd::client
