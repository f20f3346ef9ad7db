#include "client/http/prefix_turns.h"

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "gmock/gmock.h"

namespace logitd::http {
namespace {

using namespace std::chrono_literals;

const std::string kContext(200, 'c');

void AwaitWaiting(const PrefixTurns& turns, int count) {
  while (turns.waiting_count() != count) std::this_thread::yield();
}

TEST(PrefixTurnsTest, PromptsThatBeginAlikeWaitForTheFirstOfThem) {
  PrefixTurns turns(60s);
  std::optional<PrefixTurns::Turn> leader(turns.Enter("m", kContext + "a", {}));
  std::atomic<int> entered{0};
  std::atomic<bool> may_leave{false};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      PrefixTurns::Turn turn = turns.Enter("m", kContext + static_cast<char>('b' + i), {});
      ++entered;
      while (!may_leave) std::this_thread::yield();
      turn.SetEvaluated();
    });
  }
  AwaitWaiting(turns, 3);
  EXPECT_EQ(entered, 0);
  leader->SetEvaluated();
  leader.reset();
  // Then they do not wait for each other: the beginning is there.
  while (entered != 3) std::this_thread::yield();
  may_leave = true;
}

TEST(PrefixTurnsTest, AfterAFailureOneOfThemIsTheNextToEvaluateTheBeginning) {
  PrefixTurns turns(60s);
  std::optional<PrefixTurns::Turn> leader(turns.Enter("m", kContext + "a", {}));
  std::atomic<bool> may_leave{false};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      PrefixTurns::Turn turn = turns.Enter("m", kContext + static_cast<char>('b' + i), {});
      while (!may_leave) std::this_thread::yield();
      turn.SetEvaluated();
    });
  }
  AwaitWaiting(turns, 3);
  leader.reset();
  AwaitWaiting(turns, 2);
  may_leave = true;
}

TEST(PrefixTurnsTest, OthersDoNotWait) {
  PrefixTurns turns(60s);
  const PrefixTurns::Turn leader = turns.Enter("m", kContext, {});
  // Another scope, another beginning, a beginning that is too short to be worth it, and a short prompt.
  const PrefixTurns::Turn scope = turns.Enter("n", kContext, {});
  const PrefixTurns::Turn other = turns.Enter("m", "x" + kContext, {});
  const PrefixTurns::Turn begin =
      turns.Enter("m", kContext.substr(0, PrefixTurns::kWorthBytes - 1) + std::string(99, 'd'), {});
  const PrefixTurns::Turn small = turns.Enter("m", "c", {});
  const std::string huge(PrefixTurns::kMaxPromptBytes + 1, 'c');
  const PrefixTurns::Turn large = turns.Enter("m", huge, {});
  EXPECT_EQ(turns.waiting_count(), 0);
}

TEST(PrefixTurnsTest, NobodyWaitsForWhatTheCacheHas) {
  PrefixTurns turns(60s);
  turns.Enter("m", kContext + "a", {}).SetEvaluated();
  const PrefixTurns::Turn second = turns.Enter("m", kContext + "b", {});
  const PrefixTurns::Turn third = turns.Enter("m", kContext + "c", {});
  // What the third evaluates anew is worth a wait again.
  std::optional<PrefixTurns::Turn> longer(turns.Enter("m", kContext + std::string(100, 'd') + "1", {}));
  std::jthread waiter([&] { turns.Enter("m", kContext + std::string(100, 'd') + "2", {}); });
  AwaitWaiting(turns, 1);
  longer.reset();
}

TEST(PrefixTurnsTest, AWaitEndsWithTheClientAndWithTheTime) {
  PrefixTurns patient(60s), hasty(1ms);
  const PrefixTurns::Turn leader = patient.Enter("m", kContext, {});
  std::jthread waiter([&](const std::stop_token& stop) { patient.Enter("m", kContext, stop); });
  AwaitWaiting(patient, 1);
  waiter.request_stop();
  waiter.join();
  EXPECT_EQ(patient.waiting_count(), 0);
  const PrefixTurns::Turn first = hasty.Enter("m", kContext, {});
  const PrefixTurns::Turn second = hasty.Enter("m", kContext, {});
}

TEST(PrefixTurnsTest, ItRemembersABoundedNumberOfPrompts) {
  PrefixTurns turns(1ms);
  for (int i = 0; i < 1000; ++i) turns.Enter("m", std::to_string(i) + std::string(100'000, 'e'), {}).SetEvaluated();
  turns.Enter("m", kContext + "a", {}).SetEvaluated();
  for (size_t i = 0; i < PrefixTurns::kRemembered; ++i) {
    turns.Enter("m", std::to_string(i) + std::string(100, 'f'), {}).SetEvaluated();
  }
  // The beginning is forgotten: it is worth a wait.
  PrefixTurns::Turn leader = turns.Enter("m", kContext + "b", {});
  std::jthread waiter([&] { turns.Enter("m", kContext + "c", {}); });
  waiter.join();
}

}  // namespace
}  // namespace logitd::http
