// Handles llama.cpp's messages: warnings and errors go to standard error, and the last error is kept to explain a
// failure.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_LOG_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_LOG_H_

#include <string>

namespace logitd::runner {

// Redirects llama.cpp's messages, makes its aborts end the process with one line and exit code 1, and silences
// libprotobuf. Must be called once, before anything else.
void InstallLlamaLog();
// From now on an abort of llama.cpp ends the process by SIGABRT, because the evaluated work is at fault.
void SetServing();

// While an object lives, llama.cpp's messages on this thread are not printed; the last error is still kept. For calls
// whose caller reports the failure.
class QuietLlamaLog {
 public:
  QuietLlamaLog();
  ~QuietLlamaLog();
  QuietLlamaLog(const QuietLlamaLog&) = delete;
  QuietLlamaLog& operator=(const QuietLlamaLog&) = delete;
};

// Returns this thread's last error message as one line, and forgets it. Empty: there was none.
std::string TakeLastLlamaError();

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_LLAMA_LOG_H_
