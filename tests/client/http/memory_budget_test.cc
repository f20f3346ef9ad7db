#include "client/http/memory_budget.h"

#include <malloc.h>

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "client/http/request_error.h"
#include "client/http/strict_json.h"
#include "gmock/gmock.h"

namespace logitd::http {
namespace {

using namespace std::chrono_literals;
using Lease = MemoryBudget::Lease;

MemoryBudget::Clock::time_point Soon() { return MemoryBudget::Clock::now() + 20ms; }
MemoryBudget::Clock::time_point Late() { return MemoryBudget::Clock::now() + 60s; }

TEST(MemoryBudgetTest, WhatIsNotThereIsNotLent) {
  MemoryBudget budget(100);
  Lease first(&budget);
  EXPECT_TRUE(first.TryGrowTo(60));
  {
    Lease second(&budget);
    EXPECT_TRUE(second.TryGrowTo(40));
    EXPECT_FALSE(second.TryGrowTo(41));
    EXPECT_EQ(budget.taken(), 100);
    // Less than it has already.
    EXPECT_TRUE(second.TryGrowTo(10));
    EXPECT_EQ(budget.taken(), 100);
  }
  EXPECT_EQ(budget.taken(), 60);
  first.GiveBack();
  first.GiveBack();
  EXPECT_EQ(budget.taken(), 0);
}

TEST(MemoryBudgetTest, ALeaseWithoutABudgetHasNoBounds) {
  Lease lease(nullptr);
  EXPECT_TRUE(lease.TryGrowTo(int64_t{1} << 60));
  EXPECT_TRUE(lease.GrowTo(int64_t{1} << 61, Soon(), {}).ok());
}

TEST(MemoryBudgetTest, TheWaitEndsWithTheDeadlineOrTheClient) {
  MemoryBudget budget(100);
  Lease held(&budget);
  ASSERT_TRUE(held.TryGrowTo(1));
  Lease late(&budget);
  EXPECT_EQ(ApiErrorOf(late.GrowTo(100, Soon(), {})).code, "overloaded");
  std::stop_source left;
  left.request_stop();
  EXPECT_EQ(late.GrowTo(100, Late(), left.get_token()).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(budget.taken(), 1);
}

TEST(MemoryBudgetTest, MoreThanEverythingIsLentAlone) {
  MemoryBudget budget(100);
  std::optional<Lease> held(std::in_place, &budget);
  ASSERT_TRUE(held->TryGrowTo(1));
  std::atomic<bool> is_lent{false};
  std::jthread thread([&] {
    Lease lease(&budget);
    EXPECT_TRUE(lease.GrowTo(1000, Late(), {}).ok());
    is_lent = true;
    EXPECT_EQ(budget.taken(), 100);
  });
  EXPECT_FALSE(is_lent);
  held.reset();
  thread.join();
  EXPECT_EQ(budget.taken(), 0);
}

TEST(MemoryBudgetTest, ManyThreadsNeverTakeMoreThanThereIs) {
  MemoryBudget budget(100);
  std::atomic<int64_t> taken{0}, most{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&, i] {
      for (int k = 0; k < 200; ++k) {
        const int bytes = 1 + (i * 37 + k * 11) % 99;
        Lease lease(&budget);
        ASSERT_TRUE(lease.GrowTo(bytes, Late(), {}).ok());
        const int64_t now = taken += bytes;
        int64_t seen = most;
        while (now > seen && !most.compare_exchange_weak(seen, now)) {
        }
        taken -= bytes;
      }
    });
  }
  threads.clear();
  EXPECT_LE(most, 100);
  EXPECT_EQ(budget.taken(), 0);
}

// One that gives up lets those behind it go on.
TEST(MemoryBudgetTest, TheNextIsServedWhenTheFirstGivesUp) {
  MemoryBudget budget(100);
  Lease held(&budget);
  ASSERT_TRUE(held.TryGrowTo(50));
  std::stop_source left;
  std::jthread large([&] {
    Lease lease(&budget);
    EXPECT_EQ(lease.GrowTo(100, Late(), left.get_token()).code(), absl::StatusCode::kCancelled);
  });
  std::jthread small([&] {
    Lease lease(&budget);
    EXPECT_TRUE(lease.GrowTo(50, Late(), {}).ok());
  });
  left.request_stop();
}

// Against the allocator: what the parsed value takes is no more than what is counted beside the text.
TEST(JsonCostTest, CountsAtLeastWhatTheValuesTake) {
  const auto repeated = [](const std::string& begin, const std::string& part, int count, const std::string& end) {
    std::string text = begin;
    for (int i = 0; i < count; ++i) text += part + ",";
    text.pop_back();
    return text + end;
  };
  std::string object = "{";
  for (int i = 0; i < 10000; ++i) object += "\"" + std::to_string(i) + "\":1,";
  object.back() = '}';
  for (const std::string& text :
       {repeated("[", "1", 10000, "]"), repeated("[", "{}", 10000, "]"), repeated("[", "[]", 10000, "]"),
        repeated("[", "[1]", 10000, "]"), repeated("[", "{\"a\":{}}", 10000, "]"), repeated("[", "\"\"", 10000, "]"),
        repeated("[", "\"a text of some length, which has its own memory\"", 10000, "]"), object,
        repeated("[", "[[[[[[[[]]]]]]]]", 3000, "]")}) {
    SCOPED_TRACE(text.substr(0, 40));
    const size_t before = ::mallinfo2().uordblks;
    const absl::StatusOr<Json> value = ParseJson(text);
    const size_t taken = ::mallinfo2().uordblks - before;
    ASSERT_TRUE(value.ok()) << value.status();
    EXPECT_LE(taken, static_cast<size_t>(JsonCost(text)));
  }
}

}  // namespace
}  // namespace logitd::http
