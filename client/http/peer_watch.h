// Notices clients that leave while their request is worked on.
//
//   PeerWatch watch;
//   std::stop_source left;
//   const PeerWatch::Registration registration(watch, socket, left);
//
// A client has left when it closes its connection, or its sending side: whoever half-closes a connection and still
// waits for the reply is not served.
//
// Thread-safe. One thread waits for all sockets.
#ifndef LOGITD_CLIENT_HTTP_PEER_WATCH_H_
#define LOGITD_CLIENT_HTTP_PEER_WATCH_H_

#include <cstdint>
#include <mutex>
#include <stop_token>
#include <thread>
#include <unordered_map>
#include <utility>

namespace logitd::http {

class PeerWatch {
 public:
  // Ends the watch of its socket when it goes. The socket must be open until then.
  class Registration {
   public:
    // Requests a stop of `left` when the peer of `socket` leaves.
    Registration(PeerWatch& watch, int socket, std::stop_source left)
        : watch_(watch), socket_(socket), id_(watch.Begin(socket, std::move(left))) {}
    Registration(const Registration&) = delete;
    Registration& operator=(const Registration&) = delete;
    ~Registration() { watch_.Forget(socket_, id_); }

   private:
    PeerWatch& watch_;
    const int socket_;
    const uint64_t id_;
  };

  PeerWatch();
  ~PeerWatch();
  PeerWatch(const PeerWatch&) = delete;
  PeerWatch& operator=(const PeerWatch&) = delete;

  // Requests a stop of everything that is watched, now and later: the grace period is over.
  void StopAll();

 private:
  void Run();
  uint64_t Begin(int socket, std::stop_source left);
  void Forget(int socket, uint64_t id);

  const int epoll_;
  const int wake_;
  std::mutex mutex_;
  uint64_t next_id_ = 1;
  bool stops_all_ = false;
  std::unordered_map<uint64_t, std::stop_source> watched_;
  std::thread thread_;
};

}  // namespace logitd::http

#endif  // LOGITD_CLIENT_HTTP_PEER_WATCH_H_
