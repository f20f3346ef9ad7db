// How the process ends: at once when all that matters has been destroyed in order, and at the latest when the grace
// period is over.
//
// gRPC's own shutdown is no part of it. It waits up to 10 s for threads that have polled for a client which read
// slowly, long after that client has read everything; the system closes what is left.
#ifndef LOGITD_SERVER_PROCESS_END_H_
#define LOGITD_SERVER_PROCESS_END_H_

#include <chrono>

namespace logitd::server {

// Keeps gRPC from shutting itself down with its last server. Before the first one is made.
void KeepGrpcRunning();
// Ends the process with status 0 after `time`, in case something hangs; unless EndProcess has been called by then.
// Child processes that want to end with this one do.
void EndProcessAfter(std::chrono::milliseconds time);
// Ends the process with `status`. Under AddressSanitizer leaks are looked for first, and end it with a status of
// theirs.
[[noreturn]] void EndProcess(int status);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_PROCESS_END_H_
