#include "client/runner/llama/tokenizer_client.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/status_macros.h"
#include "client/runner/llama/tokenizer_pipe.h"
#include "core/errors.h"
#include "core/limits.h"
#include "wire/error.h"

extern char** environ;

namespace logitd::runner {
namespace {

// How often it is checked whether a text is still wanted, and how much it has cost. An answer wakes the thread at once.
constexpr int kLookMs = 20;
// A worker that had a longer text is replaced: it keeps up to 320 bytes of stack per byte of text, and as much heap
// again.
constexpr size_t kKeptWorkerTextBytes = size_t{64} << 10;
// How often a text is given to a worker.
constexpr int kAttempts = 2;

std::chrono::nanoseconds CpuTime(pid_t pid) {
  clockid_t clock;
  timespec time;
  if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &time) != 0) return {};
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

std::string DescribeEnd(int status) {
  if (WIFEXITED(status)) return "exit status " + std::to_string(WEXITSTATUS(status));
  if (!WIFSIGNALED(status)) return "an unknown end";
  const char* name = ::sigabbrev_np(WTERMSIG(status));
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(WTERMSIG(status));
}

}  // namespace

struct TokenizerClient::Worker {
  std::mutex mutex;
  int fd = -1;
  pid_t pid = -1;
};

struct TokenizerClient::Turn {
  End end = End::kGone;
  // Set by kAnswered; not OK if the tokenizer refused the text.
  absl::StatusOr<std::string> answer = std::string();
};

TokenizerClient::TokenizerClient(TokenizerClientOptions options) : options_(std::move(options)) {
  for (size_t i = 0; i < options_.lanes.size(); ++i) workers_.push_back(std::make_unique<Worker>());
}

TokenizerClient::~TokenizerClient() {
  for (const auto& worker : workers_) {
    if (worker->fd >= 0) ::close(worker->fd);
  }
  StopVocabularyProcess();
}

absl::StatusOr<std::unique_ptr<TokenizerClient>> TokenizerClient::Start(TokenizerClientOptions options) {
  std::unique_ptr<TokenizerClient> client(new TokenizerClient(std::move(options)));
  RETURN_IF_ERROR(client->StartVocabularyProcess());
  return client;
}

absl::Status TokenizerClient::StartVocabularyProcess() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
    return errors::Internal(std::string("no socket for the tokenizer: ") + std::strerror(errno));
  }
  posix_spawn_file_actions_t files;
  ::posix_spawn_file_actions_init(&files);
  // dup2 onto the same number also clears close-on-exec.
  ::posix_spawn_file_actions_adddup2(&files, fds[1], kVocabularyProcessFd);
  // Standard input and output belong to the runner.
  ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  std::string name = "logitd-llama", flag = kVocabularyProcessFlag, file = options_.model_file;
  char* const arguments[] = {name.data(), flag.data(), file.data(), nullptr};
  pid_t pid = -1;
  const int failure = ::posix_spawn(&pid, options_.program.c_str(), &files, &attributes, arguments, environ);
  ::posix_spawn_file_actions_destroy(&files);
  ::posix_spawnattr_destroy(&attributes);
  ::close(fds[1]);
  if (failure != 0) {
    ::close(fds[0]);
    return errors::Internal("cannot start the tokenizer, " + options_.program + ": " + std::strerror(failure));
  }
  vocabulary_fd_ = fds[0];
  vocabulary_pid_ = pid;
  VocabularyReady ready;
  const bool answered = ReceiveAll(vocabulary_fd_, &ready, sizeof(ready));
  if (!answered || ready.vocab_size < 0) {
    StopVocabularyProcess();
    return errors::Internal("the tokenizer's process " +
                            std::string(answered ? "finds no vocabulary in " : "ended while it read ") +
                            options_.model_file);
  }
  vocab_size_ = ready.vocab_size;
  has_chat_template_ = ready.has_chat_template != 0;
  return absl::OkStatus();
}

void TokenizerClient::StopVocabularyProcess() {
  if (vocabulary_fd_ >= 0) ::close(vocabulary_fd_);
  if (vocabulary_pid_ > 0) {
    ::kill(vocabulary_pid_, SIGKILL);
    while (::waitpid(vocabulary_pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  vocabulary_fd_ = -1;
  vocabulary_pid_ = -1;
}

std::optional<int32_t> TokenizerClient::Ask(int32_t kind, int32_t argument, int passed_fd) {
  VocabularyAnswer answer;
  if (vocabulary_fd_ < 0 || !SendCommand(vocabulary_fd_, {kind, argument}, passed_fd) ||
      !ReceiveAll(vocabulary_fd_, &answer, sizeof(answer))) {
    return std::nullopt;
  }
  return answer.value;
}

absl::Status TokenizerClient::StartWorker(Worker& worker, int nice) {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
    return errors::Internal(std::string("no socket for the tokenizer: ") + std::strerror(errno));
  }
  std::optional<int32_t> pid;
  absl::Status status;
  {
    std::lock_guard lock(vocabulary_mutex_);
    pid = Ask(VocabularyCommand::kFork, nice, fds[1]);
    if (!pid) {
      // It was killed, and its workers ended with it.
      std::fprintf(stderr, "logitd-llama: the tokenizer's process has ended; starting it again\n");
      StopVocabularyProcess();
      status = StartVocabularyProcess();
      if (status.ok()) pid = Ask(VocabularyCommand::kFork, nice, fds[1]);
    }
  }
  ::close(fds[1]);
  if (status.ok() && (!pid || *pid <= 0)) {
    status = errors::Internal(std::string("no process for the tokenizer") +
                              (pid ? std::string(": ") + std::strerror(-*pid) : std::string()));
  }
  if (!status.ok()) {
    ::close(fds[0]);
    return status;
  }
  ::fcntl(fds[0], F_SETFL, O_NONBLOCK);
  worker.fd = fds[0];
  worker.pid = *pid;
  return absl::OkStatus();
}

std::string TokenizerClient::EndWorker(Worker& worker) {
  if (worker.fd < 0) return "";
  ::close(worker.fd);
  worker.fd = -1;
  std::lock_guard lock(vocabulary_mutex_);
  const std::optional<int32_t> status = Ask(VocabularyCommand::kEnd, worker.pid, -1);
  worker.pid = -1;
  return status ? DescribeEnd(*status) : "the end of its parent";
}

TokenizerClient::Turn TokenizerClient::TakeTurn(Worker& worker, uint32_t kind, const std::string& question, size_t most,
                                                const TextTask& task) {
  const TokenizerLane& lane = options_.lanes[static_cast<size_t>(task.lane)];
  const std::chrono::nanoseconds cpu_limit =
      CpuTime(worker.pid) + lane.cpu_time + lane.cpu_time_per_byte * static_cast<int64_t>(question.size());
  const QuestionHeader question_header{kind, static_cast<uint32_t>(question.size())};
  std::string head(sizeof(question_header), '\0');
  std::memcpy(head.data(), &question_header, sizeof(question_header));
  size_t sent = 0;
  AnswerHeader answer_header;
  std::string body;
  size_t received = 0;
  bool has_header = false;
  // The two halves of a question, so that the text is not copied.
  const auto send_some = [&] {
    const bool in_header = sent < head.size();
    const char* data = in_header ? head.data() + sent : question.data() + (sent - head.size());
    const size_t size = in_header ? head.size() - sent : question.size() - (sent - head.size());
    return ::send(worker.fd, data, size, MSG_NOSIGNAL);
  };
  const auto receive_some = [&] {
    char* data = has_header ? body.data() + received : reinterpret_cast<char*>(&answer_header) + received;
    return ::recv(worker.fd, data, (has_header ? body.size() : sizeof(answer_header)) - received, 0);
  };
  while (true) {
    const bool sending = sent < head.size() + question.size();
    const ssize_t moved = sending ? send_some() : receive_some();
    if (moved < 0 && errno == EINTR) continue;
    if (moved == 0 || (moved < 0 && errno != EAGAIN)) return {End::kGone};
    if (moved < 0) {
      pollfd ready{worker.fd, static_cast<short>(sending ? POLLOUT : POLLIN), 0};
      if (::poll(&ready, 1, kLookMs) > 0) continue;
      if (absl::Status wanted = task.check_wanted(); !wanted.ok()) return {End::kNotWanted, std::move(wanted)};
      if (CpuTime(worker.pid) > cpu_limit) return {End::kTooLong};
      continue;
    }
    (sending ? sent : received) += static_cast<size_t>(moved);
    if (sending) continue;
    if (!has_header && received == sizeof(answer_header)) {
      const int64_t bytes = answer_header.bytes;
      if (bytes > static_cast<int64_t>(most)) return {End::kGone};
      has_header = true;
      received = 0;
      body.resize(static_cast<size_t>(bytes >= 0 ? bytes : -bytes));
    }
    if (has_header && received == body.size()) break;
  }
  if (answer_header.bytes < 0) return {End::kAnswered, errors::MalformedMessage(task.field, body)};
  return {End::kAnswered, std::move(body)};
}

absl::StatusOr<std::string> TokenizerClient::Answer(uint32_t kind, const std::string& question, size_t most,
                                                    const TextTask& task, const absl::Status& failed) {
  const auto lane = static_cast<size_t>(task.lane);
  Worker& worker = *workers_[lane];
  std::lock_guard lock(worker.mutex);
  // If a worker ended between two texts, no text is to blame.
  if (pollfd idle{worker.fd, POLLIN, 0}; worker.fd >= 0 && ::poll(&idle, 1, 0) != 0) EndWorker(worker);
  for (int attempt = 1; attempt <= kAttempts; ++attempt) {
    RETURN_IF_ERROR(task.check_wanted());
    if (worker.fd < 0) RETURN_IF_ERROR(StartWorker(worker, options_.lanes[lane].nice));
    Turn turn = TakeTurn(worker, kind, question, most, task);
    // A template may make a long text of a short conversation.
    const size_t longest =
        std::max(question.size(), kind == QuestionHeader::kChat && turn.answer.ok() ? turn.answer->size() : 0);
    if (turn.end == End::kAnswered && longest <= kKeptWorkerTextBytes) return std::move(turn.answer);
    const std::string how = EndWorker(worker);
    switch (turn.end) {
      case End::kAnswered:
      case End::kNotWanted:
        return std::move(turn.answer);
      case End::kTooLong:
        if (lane + 1 < options_.lanes.size()) return absl::AbortedError("takes longer than this lane allows");
        std::fprintf(stderr, "logitd-llama: a text of %zu bytes takes the tokenizer too long; it is refused\n",
                     question.size());
        return failed;
      case End::kGone:
        std::fprintf(stderr, "logitd-llama: a text of %zu bytes ended the tokenizer (%s)%s\n", question.size(),
                     how.c_str(), attempt < kAttempts ? "; it is tried once more" : " again; it is refused");
    }
  }
  return failed;
}

absl::StatusOr<std::vector<TokenId>> TokenizerClient::Tokenize(const std::string& text, bool parse_special_tokens,
                                                               const TextTask& task) {
  // A tokenizer that normalises may turn one character into many, but never into 64 tokens per byte.
  const size_t most = 64 * (text.size() + 64) * sizeof(TokenId);
  ASSIGN_OR_RETURN(const std::string bytes,
                   Answer(parse_special_tokens ? QuestionHeader::kTextWithSpecialTokens : QuestionHeader::kText, text,
                          most, task, errors::TokenizerFailed(task.field, static_cast<int64_t>(text.size()))));
  std::vector<TokenId> tokens(bytes.size() / sizeof(TokenId));
  if (!tokens.empty()) std::memcpy(tokens.data(), bytes.data(), tokens.size() * sizeof(TokenId));
  return tokens;
}

absl::StatusOr<v1::RenderChatResult> TokenizerClient::RenderChat(const v1::Chat& chat, const TextTask& task) {
  // The text, and at most one token of at most five bytes for each of its bytes.
  constexpr size_t kMost = 6 * static_cast<size_t>(kMaxTextBytes) + 4096;
  ASSIGN_OR_RETURN(
      const std::string bytes,
      Answer(QuestionHeader::kChat, chat.SerializeAsString(), kMost, task,
             errors::ChatTemplateFailed("chat", "it takes too long, or ends the process that renders it")));
  v1::RenderChatResult result;
  if (!result.ParseFromString(bytes)) return errors::Internal("the rendered conversation cannot be read");
  if (result.has_error()) return wire::FromProto(result.error());
  return result;
}

}  // namespace logitd::runner
