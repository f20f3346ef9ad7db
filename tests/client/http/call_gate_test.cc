#include "client/http/call_gate.h"

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "client/http/request_error.h"
#include "client/logitd/client_error.h"
#include "gmock/gmock.h"

namespace logitd::http {
namespace {

using namespace std::chrono_literals;

CallGate::Clock::time_point Soon() { return CallGate::Clock::now() + 20ms; }
CallGate::Clock::time_point Late() { return CallGate::Clock::now() + 60s; }

absl::Status Passing() {
  v1::Error error;
  error.set_code(static_cast<int>(absl::StatusCode::kResourceExhausted));
  error.set_reason(v1::ERROR_REASON_OVERLOADED);
  error.set_message("full");
  error.set_retry_after_ms(1);
  return client::FromError(error);
}

void AwaitWaiting(const CallGate& gate, int count) {
  while (gate.waiting_count() != count) std::this_thread::yield();
}

TEST(CallGateTest, AtMostSoManyCallsRun) {
  CallGate gate({.places = 3, .max_waiting = 100, .max_wait = 60s});
  std::atomic<int> running{0}, most{0}, done{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 32; ++i) {
    threads.emplace_back([&] {
      const absl::Status status = gate.Run({}, [&] {
        const int now = ++running;
        int seen = most;
        while (now > seen && !most.compare_exchange_weak(seen, now)) {
        }
        std::this_thread::yield();
        --running;
        ++done;
        return absl::OkStatus();
      });
      EXPECT_TRUE(status.ok()) << status;
    });
  }
  threads.clear();
  EXPECT_EQ(done, 32);
  EXPECT_LE(most, 3);
}

TEST(CallGateTest, FirstComeFirstServed) {
  CallGate gate({.places = 1, .max_waiting = 100, .max_wait = 60s});
  std::optional<CallGate::Place> held(*gate.Enter(Late(), {}));
  std::mutex mutex;
  std::vector<int> order;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const auto place = gate.Enter(Late(), {});
      ASSERT_TRUE(place.ok());
      std::lock_guard lock(mutex);
      order.push_back(i);
    });
    AwaitWaiting(gate, i + 1);
  }
  held.reset();
  threads.clear();
  EXPECT_THAT(order, ::testing::ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
}

TEST(CallGateTest, AFullQueueAndALongWaitAre503) {
  CallGate gate({.places = 1, .max_waiting = 1, .max_wait = 60s});
  const auto held = gate.Enter(Late(), {});
  ASSERT_TRUE(held.ok());
  const auto late = gate.Enter(Soon(), {});
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(ApiErrorOf(late.status()).status, 503);
  EXPECT_TRUE(ApiErrorOf(late.status()).retry_after.has_value());
  std::stop_source stop;
  std::jthread waiter(
      [&] { EXPECT_EQ(gate.Enter(Late(), stop.get_token()).status().code(), absl::StatusCode::kCancelled); });
  AwaitWaiting(gate, 1);
  const auto full = gate.Enter(Late(), {});
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(ApiErrorOf(full.status()).code, "overloaded");
  // The client leaves: its place in the queue is free at once.
  stop.request_stop();
  waiter.join();
  EXPECT_EQ(gate.waiting_count(), 0);
}

TEST(CallGateTest, WhatPassesIsTriedAgainWithinTheTime) {
  CallGate gate({.places = 1, .max_waiting = 1, .max_wait = 60s});
  int tries = 0;
  EXPECT_TRUE(gate.Run({}, [&] { return ++tries < 3 ? Passing() : absl::OkStatus(); }).ok());
  EXPECT_EQ(tries, 3);
  tries = 0;
  EXPECT_EQ(gate.Run({}, [&] { return ++tries, absl::InvalidArgumentError("no"); }).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(tries, 1);
  CallGate impatient({.places = 1, .max_waiting = 1, .max_wait = 10ms});
  const absl::Status given_up = impatient.Run({}, [&] { return Passing(); });
  EXPECT_EQ(ApiErrorOf(given_up).status, 503);
}

TEST(CallGateTest, ARefusedCallGoesBeforeThoseThatCameAfterIt) {
  CallGate gate({.places = 1, .max_waiting = 2, .max_wait = 60s});
  std::mutex mutex;
  std::vector<char> order;
  const auto note = [&](char name) {
    std::lock_guard lock(mutex);
    order.push_back(name);
    return absl::OkStatus();
  };
  std::atomic<int> tries_of_a = 0;
  std::atomic<bool> b_runs = false;
  std::vector<std::jthread> threads;
  threads.emplace_back([&] {
    const absl::Status status = gate.Run({}, [&] {
      if (++tries_of_a > 1) return note('a');
      AwaitWaiting(gate, 1);
      return Passing();
    });
    EXPECT_TRUE(status.ok()) << status;
  });
  while (tries_of_a == 0) std::this_thread::yield();
  // It has the place when `a` is refused, and ends when both others wait.
  threads.emplace_back([&] {
    const absl::Status status = gate.Run({}, [&] {
      b_runs = true;
      AwaitWaiting(gate, 2);
      return note('b');
    });
    EXPECT_TRUE(status.ok()) << status;
  });
  while (!b_runs) std::this_thread::yield();
  threads.emplace_back([&] {
    const absl::Status status = gate.Run({}, [&] { return note('c'); });
    EXPECT_TRUE(status.ok()) << status;
  });
  threads.clear();
  EXPECT_THAT(order, ::testing::ElementsAre('b', 'a', 'c'));
}

// A server that has room for two of our calls: about as many run, however many wait, and each is served.
TEST(CallGateTest, AFullServerIsAskedByFewCalls) {
  CallGate gate({.places = 64, .max_waiting = 1000, .max_wait = 60s});
  std::atomic<int> running = 0, refused = 0, served = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 100; ++i) {
    threads.emplace_back([&] {
      const absl::Status status = gate.Run({}, [&] {
        if (++running > 2) {
          --running;
          ++refused;
          return Passing();
        }
        std::this_thread::sleep_for(2ms);
        --running;
        ++served;
        return absl::OkStatus();
      });
      EXPECT_TRUE(status.ok()) << status;
    });
  }
  threads.clear();
  EXPECT_EQ(served, 100);
  // The first row finds the server full; later ones try about one call too many in each row.
  EXPECT_LE(refused, 64 + 2 * 100);
}

TEST(CallGateTest, AClientThatLeavesEndsTheTries) {
  CallGate gate({.places = 1, .max_waiting = 1, .max_wait = 60s});
  std::stop_source stop;
  const absl::Status status = gate.Run(stop.get_token(), [&] {
    stop.request_stop();
    return Passing();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace logitd::http
