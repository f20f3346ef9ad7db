// The first steps of a child process, between fork and exec.
#ifndef LOGITD_SERVER_MODELS_CHILD_SETUP_H_
#define LOGITD_SERVER_MODELS_CHILD_SETUP_H_

#include <signal.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <unistd.h>

namespace logitd::server {

// Only calls that are safe after a fork of a process with threads. Signals were blocked for main's sigwait.
//
// The child gets a process group of its own. Signals that a terminal or GNU timeout sends to the server's group then do
// not reach it. SIGHUP may be pending already, and must not end the child: the server itself ignores it. The child gets
// `death_signal` when the thread that forked it ends. `parent`: the process that forked.
inline void SetUpChild(pid_t parent, int death_signal) {
  ::setpgid(0, 0);
  ::signal(SIGHUP, SIG_IGN);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::prctl(PR_SET_PDEATHSIG, death_signal);
  if (::getppid() != parent) ::_exit(1);
}

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_CHILD_SETUP_H_
