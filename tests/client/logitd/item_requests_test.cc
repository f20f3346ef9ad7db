#include "client/logitd/item_requests.h"

#include "client/logitd/client_error.h"
#include "gmock/gmock.h"
#include "tests/client/logitd/refusal.h"

namespace logitd::client {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

class ItemRequestsTest : public ::testing::Test {
 protected:
  // Sends `count` items to a server whose answer to [begin, end) is `answer`.
  absl::Status Send(size_t count, const std::function<grpc::Status(size_t begin, size_t end)>& answer) {
    return SendInParts(
        0, count,
        [&](size_t begin, size_t end) {
          const absl::Status status = FromGrpcStatus(answer(begin, end));
          sent_.emplace_back(begin, end);
          return status;
        },
        [&](size_t index, const v1::Error& error) { refused_.push_back(index); },
        [this](std::chrono::milliseconds duration) { sleeps_.push_back(duration); });
  }

  std::vector<std::pair<size_t, size_t>> sent_;
  std::vector<size_t> refused_;
  std::vector<std::chrono::milliseconds> sleeps_;
};

TEST_F(ItemRequestsTest, AGoodRequestIsSentOnce) {
  EXPECT_TRUE(Send(5, [](size_t, size_t) { return grpc::Status::OK; }).ok());
  EXPECT_THAT(sent_, ElementsAre(Pair(0, 5)));
  EXPECT_TRUE(Send(0, [](size_t, size_t) { return grpc::Status::OK; }).ok());
  EXPECT_EQ(sent_.size(), 1u);
}

TEST_F(ItemRequestsTest, ABadItemIsFoundAndTheOthersAreAnswered) {
  const v1::Error error = MakeError(3, v1::ERROR_REASON_FIELD_REQUIRED, "items[0].context");
  std::vector<size_t> answered;
  EXPECT_TRUE(Send(5, [&](size_t begin, size_t end) {
                if (begin <= 3 && 3 < end) return Refusal(error);
                for (size_t i = begin; i < end; ++i) answered.push_back(i);
                return grpc::Status::OK;
              }).ok());
  EXPECT_THAT(refused_, ElementsAre(3));
  EXPECT_THAT(answered, ElementsAre(0, 1, 2, 4));
}

TEST_F(ItemRequestsTest, ASmallerLimitSplitsTheRequest) {
  v1::Error error = MakeError(8, v1::ERROR_REASON_LIMIT_EXCEEDED, "items");
  error.set_limit("max_items");
  EXPECT_TRUE(
      Send(4, [&](size_t begin, size_t end) { return end - begin > 2 ? Refusal(error) : grpc::Status::OK; }).ok());
  EXPECT_THAT(sent_, ElementsAre(Pair(0, 4), Pair(0, 2), Pair(2, 4)));
  EXPECT_THAT(refused_, IsEmpty());
}

TEST_F(ItemRequestsTest, WrongParametersEndTheJobAtOnce) {
  const v1::Error error = MakeError(3, v1::ERROR_REASON_FIELD_OUT_OF_RANGE, "sampling.temperature");
  EXPECT_FALSE(Send(4, [&](size_t, size_t) { return Refusal(error); }).ok());
  EXPECT_EQ(sent_.size(), 1u);
  EXPECT_THAT(refused_, IsEmpty());
}

TEST_F(ItemRequestsTest, AFullServerIsAskedAgainAfterItsDelay) {
  v1::Error error = MakeError(8, v1::ERROR_REASON_OVERLOADED, "");
  error.set_limit("max_calls");
  error.set_retry_after_ms(40);
  int attempts = 0;
  EXPECT_TRUE(Send(2, [&](size_t, size_t) { return ++attempts < 3 ? Refusal(error) : grpc::Status::OK; }).ok());
  EXPECT_THAT(sleeps_, ElementsAre(std::chrono::milliseconds(40), std::chrono::milliseconds(40)));
}

// It names a limit, but fewer items would not help.
TEST_F(ItemRequestsTest, AFullConnectionEndsTheJobAtOnce) {
  v1::Error error = MakeError(8, v1::ERROR_REASON_LIMIT_EXCEEDED, "");
  error.set_limit("max_streams_per_connection");
  EXPECT_FALSE(Send(4, [&](size_t, size_t) { return Refusal(error); }).ok());
  EXPECT_EQ(sent_.size(), 1u);
  EXPECT_THAT(refused_, IsEmpty());
}

// Smaller requests have the same option: without this, it would be the error of each item.
TEST_F(ItemRequestsTest, AnOptionOverALimitEndsTheJobAtOnce) {
  v1::Error error = MakeError(8, v1::ERROR_REASON_LIMIT_EXCEEDED, "evaluation.cache_salt");
  error.set_limit("max_cache_salt_bytes");
  EXPECT_FALSE(Send(4, [&](size_t, size_t) { return Refusal(error); }).ok());
  EXPECT_EQ(sent_.size(), 1u);
  EXPECT_THAT(refused_, IsEmpty());
}

TEST_F(ItemRequestsTest, AServerThatStaysFullEndsTheJob) {
  v1::Error error = MakeError(8, v1::ERROR_REASON_OVERLOADED, "");
  error.set_limit("max_calls");
  error.set_retry_after_ms(40);
  EXPECT_FALSE(Send(2, [&](size_t, size_t) { return Refusal(error); }).ok());
  EXPECT_EQ(sleeps_.size(), static_cast<size_t>(kRetries));
  EXPECT_THAT(refused_, IsEmpty());
}

}  // namespace
}  // namespace logitd::client
