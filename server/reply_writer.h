// Where a handler of a server stream puts its messages.
#ifndef LOGITD_SERVER_REPLY_WRITER_H_
#define LOGITD_SERVER_REPLY_WRITER_H_

#include <chrono>

namespace logitd::server {

// One thread. Write blocks while the client is slower than the handler: at most one message waits.
template <typename Message>
class ReplyWriter {
 public:
  virtual ~ReplyWriter() = default;
  // Waits until Write would not block, at most for `patience`; false: the client still does not read.
  virtual bool WaitUntilReady(std::chrono::milliseconds patience) = 0;
  // False: nobody reads any more (cancelled, deadline, drained); the handler should return.
  virtual bool Write(const Message& message) = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_REPLY_WRITER_H_
