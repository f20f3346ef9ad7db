// Ends the process: at once when everything that matters has been destroyed in order, and at the latest when the grace
// period is over.
//
// gRPC's own shutdown is left out. It waits up to 10 s for threads that polled for a slow client, even if that client
// has read everything. The system closes the remaining files.
#ifndef LOGITD_SERVER_PROCESS_END_H_
#define LOGITD_SERVER_PROCESS_END_H_

#include <chrono>

namespace logitd::server {

// Keeps gRPC from shutting itself down with its last server. Call it before the first server is made.
void KeepGrpcRunning();
// Ends the process with status 0 after `time`, unless EndProcess has ended it by then: a safeguard against hangs. Child
// processes that asked to end with their parent end, too.
void EndProcessAfter(std::chrono::milliseconds time);
// Ends the process with `status`. Under AddressSanitizer it searches for leaks first; a leak changes the status.
[[noreturn]] void EndProcess(int status);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_PROCESS_END_H_
