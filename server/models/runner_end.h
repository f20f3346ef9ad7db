// How a runner ended, as far as that is known.
//
//   RunnerEnd end = EndOf(wait_status);
//   end.kind == RunnerEnd::Kind::kOwnSignal; end.signal == "SIGSEGV";
//   end.cause == "signal SIGSEGV (Segmentation fault)"
#ifndef LOGITD_SERVER_MODELS_RUNNER_END_H_
#define LOGITD_SERVER_MODELS_RUNNER_END_H_

#include <string>

namespace logitd::server {

struct RunnerEnd {
  enum class Kind {
    // Its stream has ended, and nothing else is known: it runs elsewhere, or has not ended.
    kUnknown,
    // In order: it was asked to leave, or wanted to.
    kLeft,
    // By SIGSEGV, SIGBUS, SIGILL, SIGFPE or SIGABRT. The work that it had is under suspicion.
    kOwnSignal,
    // In any other way: it was killed, exited, fell silent, did not answer, or broke the protocol.
    kOther,
  };
  Kind kind = Kind::kUnknown;
  // The signal's name, such as "SIGSEGV", for kOwnSignal; else empty.
  std::string signal;
  // For people. Empty only for kUnknown.
  std::string cause;
};

// Interprets the status that waitpid returned.
RunnerEnd EndOf(int wait_status);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_RUNNER_END_H_
