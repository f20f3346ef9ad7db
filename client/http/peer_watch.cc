#include "client/http/peer_watch.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <utility>
#include <vector>

namespace logitd::http {
namespace {

// The id of the event that ends the thread.
constexpr uint64_t kEnd = 0;
constexpr int kEventsAtOnce = 64;

epoll_event EventOf(uint64_t id, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  return event;
}

}  // namespace

PeerWatch::PeerWatch() : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_CLOEXEC)) {
  epoll_event event = EventOf(kEnd, EPOLLIN);
  ::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event);
  thread_ = std::thread([this] { Run(); });
}

PeerWatch::~PeerWatch() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_, &one, sizeof(one));
  thread_.join();
  ::close(wake_);
  ::close(epoll_);
}

uint64_t PeerWatch::Begin(int socket, std::stop_source left) {
  uint64_t id = 0;
  {
    std::lock_guard lock(mutex_);
    id = next_id_++;
    if (stops_all_) left.request_stop();
    watched_.emplace(id, std::move(left));
  }
  // Each socket is reported once.
  epoll_event event = EventOf(id, EPOLLRDHUP | EPOLLONESHOT);
  ::epoll_ctl(epoll_, EPOLL_CTL_ADD, socket, &event);
  return id;
}

void PeerWatch::Forget(int socket, uint64_t id) {
  ::epoll_ctl(epoll_, EPOLL_CTL_DEL, socket, nullptr);
  std::lock_guard lock(mutex_);
  watched_.erase(id);
}

void PeerWatch::StopAll() {
  std::vector<std::stop_source> all;
  {
    std::lock_guard lock(mutex_);
    stops_all_ = true;
    for (const auto& [id, source] : watched_) all.push_back(source);
  }
  // Stop callbacks may take a while: not under the lock.
  for (std::stop_source& source : all) source.request_stop();
}

void PeerWatch::Run() {
  std::array<epoll_event, kEventsAtOnce> events;
  while (true) {
    const int count = ::epoll_wait(epoll_, events.data(), kEventsAtOnce, -1);
    for (int i = 0; i < count; ++i) {
      const uint64_t id = events[i].data.u64;
      if (id == kEnd) return;
      std::stop_source left(std::nostopstate);
      {
        std::lock_guard lock(mutex_);
        // An event may outlive its registration.
        if (const auto found = watched_.find(id); found != watched_.end()) left = found->second;
      }
      left.request_stop();
    }
  }
}

}  // namespace logitd::http
