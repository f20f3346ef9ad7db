// The sink for the messages of a server stream's handler.
#ifndef LOGITD_SERVER_REPLY_WRITER_H_
#define LOGITD_SERVER_REPLY_WRITER_H_

#include <chrono>

namespace logitd::server {

// For one thread. Write blocks while the client is slower than the handler: at most one message waits.
template <typename Message>
class ReplyWriter {
 public:
  virtual ~ReplyWriter() = default;
  // Waits for at most `patience` until Write would not block. False: the client still does not read.
  virtual bool WaitUntilReady(std::chrono::milliseconds patience) = 0;
  // False: nobody reads any more (cancelled, deadline passed, drained), and the handler should return.
  virtual bool Write(const Message& message) = 0;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_REPLY_WRITER_H_
