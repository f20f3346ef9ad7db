#include "client/runner/batch_control.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace logitd::runner {
namespace {

v1::RunBatch Batch(std::initializer_list<int64_t> sequence_ids) {
  v1::RunBatch batch;
  for (const int64_t id : sequence_ids) batch.add_work()->set_sequence_id(id);
  return batch;
}

TEST(BatchControlTest, EverythingIsWantedUntilItIsCancelled) {
  BatchControl control(Batch({7, 9}));
  EXPECT_TRUE(control.Check(0).ok());
  v1::CancelBatch cancel;
  cancel.add_sequence_ids(9);
  cancel.add_sequence_ids(1234);
  control.Cancel(cancel);
  EXPECT_TRUE(control.Check(0).ok());
  EXPECT_EQ(control.Check(1).code(), absl::StatusCode::kCancelled);
}

TEST(BatchControlTest, CancelWithoutSequencesIsForAll) {
  BatchControl control(Batch({7, 9}));
  control.Cancel(v1::CancelBatch());
  EXPECT_EQ(control.Check(0).code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(control.Check(1).code(), absl::StatusCode::kCancelled);
}

TEST(BatchControlTest, DeadlineCountsFromTheReceipt) {
  v1::RunBatch batch = Batch({7});
  batch.set_deadline_ms(1'000'000);
  EXPECT_TRUE(BatchControl(batch).Check(0).ok());
  batch.set_deadline_ms(0);
  EXPECT_EQ(BatchControl(batch).Check(0).code(), absl::StatusCode::kDeadlineExceeded);
}

}  // namespace
}  // namespace logitd::runner
