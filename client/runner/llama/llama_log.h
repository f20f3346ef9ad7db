// What llama.cpp says: warnings and errors go to standard error, and the last error is kept to explain a failure.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_LOG_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_LOG_H_

#include <string>

namespace logitd::runner {

// Routes llama.cpp's messages, and makes its aborts end the process with one line and exit code 1; libprotobuf says
// nothing any more. Call once, first.
void InstallLlamaLog();
// From now on an abort of llama.cpp ends the process by SIGABRT: it is the fault of what is evaluated.
void SetServing();

// While it lives, this thread's llama.cpp messages are not printed (the last error is kept all the same). For calls
// whose failure is reported by the caller.
class QuietLlamaLog {
 public:
  QuietLlamaLog();
  ~QuietLlamaLog();
  QuietLlamaLog(const QuietLlamaLog&) = delete;
  QuietLlamaLog& operator=(const QuietLlamaLog&) = delete;
};

// The last error message of this thread, one line, and forgets it. Empty: none.
std::string TakeLastLlamaError();

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_LOG_H_
