#include "server/models/runner_end.h"

#include <signal.h>
#include <sys/wait.h>

#include "gtest/gtest.h"

namespace logitd::server {
namespace {

TEST(RunnerEndTest, OwnSignalsAreFive) {
  for (int signal = 1; signal < NSIG; ++signal) {
    SCOPED_TRACE(signal);
    const bool is_own =
        signal == SIGSEGV || signal == SIGBUS || signal == SIGILL || signal == SIGFPE || signal == SIGABRT;
    const RunnerEnd end = EndOf(W_EXITCODE(0, signal));
    EXPECT_EQ(end.kind, is_own ? RunnerEnd::Kind::kOwnSignal : RunnerEnd::Kind::kOther);
    EXPECT_EQ(end.signal.empty(), !is_own);
    EXPECT_EQ(end.cause.substr(0, 7), "signal ");
  }
}

TEST(RunnerEndTest, NamesWhatHappened) {
  EXPECT_EQ(EndOf(W_EXITCODE(0, SIGFPE)).signal, "SIGFPE");
  EXPECT_EQ(EndOf(W_EXITCODE(0, SIGFPE) | WCOREFLAG).cause, "signal SIGFPE (Floating point exception)");
  EXPECT_EQ(EndOf(W_EXITCODE(0, SIGKILL)).cause, "signal SIGKILL (Killed)");
  EXPECT_EQ(EndOf(W_EXITCODE(7, 0)).cause, "exit status 7");
  EXPECT_EQ(EndOf(W_EXITCODE(7, 0)).kind, RunnerEnd::Kind::kOther);
  EXPECT_EQ(EndOf(W_EXITCODE(0, 0)).kind, RunnerEnd::Kind::kLeft);
}

}  // namespace
}  // namespace logitd::server
