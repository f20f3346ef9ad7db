// The threads of connections: one for each connection that is open, made when it is needed, at most so many. They stay
// for later connections. A
// connection beyond that is handed to one more thread, which refuses it.
//
// Thread-safe.
#ifndef LOGITD_CLIENT_HTTP_CONNECTION_THREADS_H_
#define LOGITD_CLIENT_HTTP_CONNECTION_THREADS_H_

#include <httplib.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace logitd::http {

class ConnectionThreads final : public httplib::TaskQueue {
 public:
  explicit ConnectionThreads(int max_threads);
  ~ConnectionThreads() override;

  void enqueue(std::function<void()> connection) override;
  // Waits for the end of all connections.
  void shutdown() override;

  // Whether the calling thread is the one that refuses connections.
  static bool IsRefusing();
  // Whether another connection waits to be refused by the calling thread.
  static bool IsAnotherWaiting();

 private:
  using Queue = std::deque<std::function<void()>>;
  void Serve(Queue& queue, std::condition_variable& added);

  const int max_threads_;
  mutable std::mutex mutex_;
  std::condition_variable added_;
  std::condition_variable refused_added_;
  Queue connections_;
  Queue refused_;
  // Threads that wait for a connection.
  int idle_ = 0;
  bool ends_ = false;
  std::vector<std::thread> threads_;
  std::thread refuser_;
};

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_CONNECTION_THREADS_H_
