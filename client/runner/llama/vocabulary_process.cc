#include "client/runner/llama/vocabulary_process.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <limits>
#include <memory>
#include <set>
#include <stdexcept>
#include <vector>

#include "client/runner/llama/chat_renderer.h"
#include "client/runner/llama/llama_log.h"
#include "client/runner/llama/tokenizer_pipe.h"
#include "host/available_memory.h"
#include "llama.h"
#include "wire/error.h"

namespace logitd::runner {
namespace {

// Guard pages below the stack: a text that overruns the stack ends the process instead of overwriting other memory.
constexpr size_t kGuardBytes = size_t{1} << 20;
// The smallest stack, on a machine that does not promise memory that it does not have.
constexpr size_t kLeastStackBytes = size_t{64} << 20;

struct Worker {
  const llama_vocab* vocab = nullptr;
  // Null: the model has no chat template that can be used.
  const ChatRenderer* chats = nullptr;
  int fd = -1;
};

std::string TokensOf(const llama_vocab* vocab, const std::string& text, bool parse_special_tokens) {
  // A token has at least one byte; one more for the space that some tokenizers put in front, and some slack.
  std::vector<llama_token> ids(text.size() + 8);
  for (int attempt = 0; attempt < 2; ++attempt) {
    const int32_t count = llama_tokenize(vocab, text.data(), static_cast<int32_t>(text.size()), ids.data(),
                                         static_cast<int32_t>(ids.size()), /*add_special=*/false, parse_special_tokens);
    if (count >= 0)
      return {reinterpret_cast<const char*>(ids.data()), static_cast<size_t>(count) * sizeof(llama_token)};
    if (count == std::numeric_limits<int32_t>::min()) break;
    ids.resize(static_cast<size_t>(-static_cast<int64_t>(count)));
  }
  throw std::runtime_error("llama_tokenize failed");
}

std::string Render(const ChatRenderer* chats, const std::string& bytes) {
  v1::Chat chat;
  if (chats == nullptr || !chat.ParseFromString(bytes)) throw std::runtime_error("there is no conversation to render");
  const absl::StatusOr<v1::RenderChatResult> result = chats->Render(chat);
  if (result.ok()) return result->SerializeAsString();
  v1::RenderChatResult refused;
  *refused.mutable_error() = wire::ToProto(result.status());
  return refused.SerializeAsString();
}

std::string Answer(const Worker& worker, const QuestionHeader& header, const std::string& question) {
  if (header.kind == QuestionHeader::kChat) return Render(worker.chats, question);
  return TokensOf(worker.vocab, question, header.kind == QuestionHeader::kTextWithSpecialTokens);
}

void* ServeQuestions(void* argument) {
  const Worker& worker = *static_cast<const Worker*>(argument);
  QuestionHeader header;
  std::string question;
  while (ReceiveAll(worker.fd, &header, sizeof(header))) {
    question.resize(header.bytes);
    if (!ReceiveAll(worker.fd, question.data(), question.size())) break;
    AnswerHeader answer_header;
    std::string answer;
    try {
      answer = Answer(worker, header, question);
      answer_header.bytes = static_cast<int32_t>(answer.size());
    } catch (const std::exception& error) {
      answer = error.what();
      answer = answer.empty() ? "llama_tokenize failed" : answer.substr(0, 256);
      answer_header.bytes = -static_cast<int32_t>(answer.size());
    }
    if (!SendAll(worker.fd, &answer_header, sizeof(answer_header)) ||
        !SendAll(worker.fd, answer.data(), answer.size())) {
      break;
    }
  }
  return nullptr;
}

// The largest stack that the available memory allows. A text that needs more must end its worker by overrunning the
// stack, and not by using up the control group's memory, where some kernels and Kubernetes (memory.oom.group) end the
// whole group.
size_t LargestStack() {
  const int64_t most = host::MeasureAvailableMemory().bytes / 4 * 3;
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return std::clamp(static_cast<size_t>(std::max<int64_t>(most, 0)), kLeastStackBytes, kTokenizerStackBytes) / page *
         page;
}

// Returns the lowest address of a stack with its guard below it, or null. `size`: the size of the stack.
char* MapStack(size_t& size) {
  for (size = LargestStack(); size >= kLeastStackBytes; size /= 2) {
    void* map = ::mmap(nullptr, size + kGuardBytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (map == MAP_FAILED) continue;
    ::mprotect(map, kGuardBytes, PROT_NONE);
    // Huge pages would be filled for the few kilobytes that most texts need.
    ::madvise(map, size + kGuardBytes, MADV_NOHUGEPAGE);
    return static_cast<char*>(map) + kGuardBytes;
  }
  return nullptr;
}

// A text that needs too much memory should cost its own process, and not the runner or the server.
void BeFirstOutOfMemory() {
  const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  (void)!::write(fd, "1000", 4);
  ::close(fd);
}

[[noreturn]] void RunWorker(Worker worker, int nice, pid_t parent) {
  ::prctl(PR_SET_NAME, "logitd-tokenize");
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(0);
  BeFirstOutOfMemory();
  // A core file would hold the user's text, and gigabytes of stack.
  const rlimit no_core = {0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  if (nice > 0) {
    errno = 0;
    (void)!::nice(nice);
    // This policy does not preempt threads that wake up: an evaluation, or a probe of another client.
    const sched_param priority = {};
    ::sched_setscheduler(0, SCHED_BATCH, &priority);
  }
  size_t stack_bytes = 0;
  char* stack = MapStack(stack_bytes);
  pthread_attr_t attributes;
  pthread_t thread;
  ::pthread_attr_init(&attributes);
  if (stack != nullptr) ::pthread_attr_setstack(&attributes, stack, stack_bytes);
  if (::pthread_create(&thread, &attributes, ServeQuestions, &worker) != 0) ::_exit(1);
  ::pthread_join(thread, nullptr);
  ::_exit(0);
}

class VocabularyProcess {
 public:
  VocabularyProcess(const llama_vocab* vocab, const ChatRenderer* chats, int fd)
      : vocab_(vocab), chats_(chats), fd_(fd) {}

  // Runs until the runner ends. Workers end with this process.
  void Serve() {
    VocabularyCommand command;
    int passed_fd = -1;
    while (ReceiveCommand(fd_, command, passed_fd)) {
      VocabularyAnswer answer;
      if (command.kind == VocabularyCommand::kFork) {
        answer.value = passed_fd < 0 ? -EINVAL : Fork(passed_fd, command.argument);
      } else if (command.kind == VocabularyCommand::kEnd) {
        answer.value = End(command.argument);
      }
      if (passed_fd >= 0) ::close(passed_fd);
      if (!SendAll(fd_, &answer, sizeof(answer))) return;
    }
  }

 private:
  int32_t Fork(int worker_fd, int nice) {
    const pid_t self = ::getpid();
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::close(fd_);
      RunWorker({vocab_, chats_, worker_fd}, nice, self);
    }
    if (pid < 0) return -errno;
    workers_.insert(pid);
    return pid;
  }

  // Only this process waits for workers, and only here, so that a process id cannot have been reused by then.
  int32_t End(pid_t pid) {
    if (workers_.erase(pid) == 0) return 0;
    int status = 0;
    // A worker that has ended by itself keeps its own status.
    ::kill(pid, SIGKILL);
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
  }

  const llama_vocab* const vocab_;
  const ChatRenderer* const chats_;
  const int fd_;
  std::set<pid_t> workers_;
};

}  // namespace

int RunVocabularyProcess(const std::string& model_file) {
  // Keeps none of the runner's descriptors except the socket and standard error.
  ::close_range(kVocabularyProcessFd + 1, ~0U, 0);
  ::fcntl(kVocabularyProcessFd, F_SETFD, FD_CLOEXEC);
  ::prctl(PR_SET_NAME, "logitd-vocab");
  // The runner answers signals to the whole group. This process ends when the runner's socket closes.
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) ::signal(signal, SIG_IGN);
  InstallLlamaLog();
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  llama_model* model = nullptr;
  {
    // The runner reports faults of the file.
    QuietLlamaLog quiet;
    llama_backend_init();
    model = llama_model_load_from_file(model_file.c_str(), params);
  }
  VocabularyReady ready;
  const llama_vocab* vocab = model == nullptr ? nullptr : llama_model_get_vocab(model);
  std::unique_ptr<ChatRenderer> chats;
  if (vocab != nullptr) {
    ready.vocab_size = llama_vocab_n_tokens(vocab);
    chats = ChatRenderer::Of(model, model_file);
    ready.has_chat_template = chats != nullptr ? 1 : 0;
  }
  if (!SendAll(kVocabularyProcessFd, &ready, sizeof(ready)) || vocab == nullptr) return 1;
  VocabularyProcess(vocab, chats.get(), kVocabularyProcessFd).Serve();
  // Skips llama.cpp's destructors, which only cost time.
  ::_exit(0);
}

}  // namespace logitd::runner
