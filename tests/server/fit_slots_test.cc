#include "server/fit_slots.h"

#include <chrono>
#include <thread>

#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::HasReason;
using logitd::testing::IsOk;

TEST(FitSlotsTest, AFitWaitsForASlotAndGivesUp) {
  FitSlots slots(1);
  auto first = slots.Take({});
  ASSERT_THAT(first, IsOk());
  RequestContext hurried;
  hurried.deadline = std::chrono::system_clock::now() + std::chrono::milliseconds(5);
  EXPECT_THAT(slots.Take(hurried), HasReason(ErrorReason::kDeadlineExceeded));
  std::stop_source source;
  RequestContext cancelled;
  cancelled.given_up = source.get_token();
  source.request_stop();
  EXPECT_THAT(slots.Take(cancelled), HasReason(ErrorReason::kCancelled));
  std::jthread other([&slots] { EXPECT_THAT(slots.Take({}), IsOk()); });
  first->reset();
  other.join();
  EXPECT_THAT(slots.Take({}), IsOk());
}

}  // namespace
}  // namespace logitd::server
