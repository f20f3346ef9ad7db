// What libraries would print on standard error by themselves goes to the log instead.
#ifndef LOGITD_SERVER_FOREIGN_LOGS_H_
#define LOGITD_SERVER_FOREIGN_LOGS_H_

namespace logitd::server {

// libprotobuf's lines (clients can cause them, with text that is not UTF-8) are `debug` lines; gRPC's, of which there
// are none unless GRPC_VERBOSITY asks for them, keep their severity; an exception that nobody catches is a failure of
// the process (ReportFailure). Once, first of all.
void RouteForeignLogs();

}  // namespace logitd::server

#endif  // LOGITD_SERVER_FOREIGN_LOGS_H_
