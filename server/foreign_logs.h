// Redirects to the log the lines that libraries would print on standard error.
#ifndef LOGITD_SERVER_FOREIGN_LOGS_H_
#define LOGITD_SERVER_FOREIGN_LOGS_H_

namespace logitd::server {

// - libprotobuf's lines become `debug` lines: clients can cause them with text that is not UTF-8.
// - gRPC's lines keep their severity. gRPC writes none unless GRPC_VERBOSITY asks for them.
// - An uncaught exception is reported as a failure of the process (ReportFailure).
// Call once, before anything else.
void RouteForeignLogs();

}  // namespace logitd::server

#endif  // LOGITD_SERVER_FOREIGN_LOGS_H_
