// How a runner ended, as far as anybody knows.
//
//   RunnerEnd end = EndOf(wait_status);
//   end.kind == RunnerEnd::Kind::kOwnSignal; end.signal == "SIGSEGV"; end.cause == "signal SIGSEGV (Segmentation
//   fault)"
#ifndef LOGITD_SERVER_MODELS_RUNNER_END_H_
#define LOGITD_SERVER_MODELS_RUNNER_END_H_

#include <string>

namespace logitd::server {

struct RunnerEnd {
  enum class Kind {
    // Its stream has ended, and no more is known: it runs elsewhere, or has not ended.
    kUnknown,
    // In order: it was told to, or wanted to.
    kLeft,
    // By SIGSEGV, SIGBUS, SIGILL, SIGFPE or SIGABRT: what it was doing is under suspicion.
    kOwnSignal,
    // In any other way: it was killed, exited, was silent, did not answer, or broke the protocol.
    kOther,
  };
  Kind kind = Kind::kUnknown;
  // "SIGSEGV" if it was kOwnSignal, else empty.
  std::string signal;
  // For people; never empty but for kUnknown.
  std::string cause;
};

// What waitpid said of it.
RunnerEnd EndOf(int wait_status);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_RUNNER_END_H_
