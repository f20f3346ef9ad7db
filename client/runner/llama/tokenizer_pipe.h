// The messages between a runner, its vocabulary process and that process's workers: small structs over sockets.
//
//   runner -> vocabulary process: VocabularyCommand (kFork carries the worker's end of a new socket pair)
//   vocabulary process -> runner: VocabularyReady once, then one VocabularyAnswer per command
//   runner -> worker:             QuestionHeader, the question's bytes
//   worker -> runner:             AnswerHeader, the answer's bytes, or those of a message
//
// Both ends are the same program on the same machine: native byte order, no versions.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_TOKENIZER_PIPE_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_TOKENIZER_PIPE_H_

#include <cstddef>
#include <cstdint>

namespace logitd::runner {

// argv[1] of the vocabulary process: `logitd-llama --tokenize-for-runner FILE`, with the runner's socket as descriptor
// 3.
inline constexpr char kVocabularyProcessFlag[] = "--tokenize-for-runner";
inline constexpr int kVocabularyProcessFd = 3;

struct VocabularyReady {
  // -1: the file has no vocabulary that llama.cpp can read.
  int32_t vocab_size = -1;
  // 1: it renders conversations.
  int32_t has_chat_template = 0;
};

struct VocabularyCommand {
  enum Kind : int32_t {
    // Forks a new worker, at nice value `argument` above the runner's. Answer: its process id, or -errno.
    kFork = 1,
    // Ends worker `argument`, if it still runs, and forgets it. Answer: its wait status.
    kEnd = 2,
  };
  int32_t kind = 0;
  int32_t argument = 0;
};

struct VocabularyAnswer {
  int32_t value = 0;
};

struct QuestionHeader {
  enum Kind : uint32_t {
    // A text. Answer: its token ids.
    kText = 0,
    // As kText; names of control tokens become those tokens.
    kTextWithSpecialTokens = 1,
    // A serialized v1::Chat. Answer: a serialized v1::RenderChatResult.
    kChat = 2,
  };
  uint32_t kind = kText;
  uint32_t bytes = 0;
};

struct AnswerHeader {
  // Below 0: the question failed, and -bytes bytes of a message for people follow.
  int32_t bytes = 0;
};

// Transfer whole buffers; they block. False: the other end is gone. Never raise SIGPIPE.
bool SendAll(int fd, const void* data, size_t size);
bool ReceiveAll(int fd, void* data, size_t size);

// Sends a command, with descriptor `passed_fd` unless that is -1.
bool SendCommand(int fd, const VocabularyCommand& command, int passed_fd);
// `passed_fd`: -1 if no descriptor came.
bool ReceiveCommand(int fd, VocabularyCommand& command, int& passed_fd);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_TOKENIZER_PIPE_H_
