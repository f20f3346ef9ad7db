#include "client/logitd/patience.h"

#include <vector>

#include "client/logitd/client_error.h"
#include "gmock/gmock.h"
#include "tests/client/logitd/refusal.h"

namespace logitd::client {
namespace {

using std::chrono::milliseconds;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Le;

class PatienceTest : public ::testing::Test {
 protected:
  PatienceOptions Options(milliseconds retry_for) {
    PatienceOptions options;
    options.retry_for = retry_for;
    options.now = [this] { return now_; };
    options.sleep = [this](milliseconds duration) {
      sleeps_.push_back(duration);
      now_ += duration;
    };
    options.on_outage = [this](const absl::Status&) { ++outages_; };
    return options;
  }

  std::chrono::steady_clock::time_point now_{};
  std::vector<milliseconds> sleeps_;
  int outages_ = 0;
};

const absl::Status kGone = absl::UnavailableError("Socket closed");

TEST_F(PatienceTest, WaitsGrowAndEndWithTheTime) {
  Patience patience(Options(milliseconds(10'000)));
  absl::Status status;
  while (status.ok()) status = patience.WaitAfter(kGone);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no answer for 10000 ms"));
  EXPECT_EQ(sleeps_[0], milliseconds(50));
  EXPECT_EQ(sleeps_[1], milliseconds(100));
  EXPECT_THAT(sleeps_, Each(Le(milliseconds(2000))));
  EXPECT_EQ(now_.time_since_epoch(), milliseconds(10'000));
  EXPECT_EQ(outages_, 1);
}

TEST_F(PatienceTest, AnAnswerBeginsTheTimeAgain) {
  Patience patience(Options(milliseconds(100)));
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(patience.WaitAfter(kGone).ok());
    patience.Reset();
  }
  EXPECT_THAT(sleeps_, Each(milliseconds(50)));
  EXPECT_EQ(outages_, 10);
}

TEST_F(PatienceTest, AFullServersOwnDelayIsKept) {
  v1::Error error = MakeError(8, v1::ERROR_REASON_OVERLOADED, "");
  error.set_retry_after_ms(700);
  Patience patience(Options(milliseconds(10'000)));
  EXPECT_TRUE(patience.WaitAfter(FromError(error)).ok());
  EXPECT_THAT(sleeps_, ElementsAre(milliseconds(700)));
}

TEST_F(PatienceTest, WhatCannotGetBetterIsReturnedAtOnce) {
  Patience patience(Options(milliseconds(10'000)));
  for (const absl::Status& status :
       {absl::InvalidArgumentError("bad"), absl::InternalError("bug"), absl::ResourceExhaustedError("a limit"),
        absl::DeadlineExceededError("--timeout"), InputError("in", "", "", "unreadable")}) {
    EXPECT_EQ(patience.WaitAfter(status), status);
  }
  EXPECT_THAT(sleeps_, ElementsAre());
}

TEST_F(PatienceTest, NoTimeMeansNoSecondAttempt) {
  Patience patience(Options(milliseconds(0)));
  EXPECT_EQ(patience.WaitAfter(kGone), kGone);
}

}  // namespace
}  // namespace logitd::client
