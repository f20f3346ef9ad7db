#include "client/runner/cache_ledger.h"

#include <gtest/gtest.h>

namespace logitd::runner {
namespace {

TEST(CacheLedgerTest, SharedCellsCountOnceUntilTheLastHolderLetsGo) {
  CacheLedger ledger(/*max_sequences=*/4, /*max_cells=*/10);
  ASSERT_TRUE(ledger.Open(1).has_value());
  ASSERT_TRUE(ledger.Append(1, 6));
  ASSERT_TRUE(ledger.Open(2).has_value());
  ledger.Share(1, 2, 4);
  EXPECT_EQ(ledger.used_cells(), 6);
  EXPECT_EQ(ledger.LengthOf(2), 4);
  ASSERT_TRUE(ledger.Append(2, 3));
  EXPECT_EQ(ledger.used_cells(), 9);
  ledger.Close(1);
  EXPECT_EQ(ledger.used_cells(), 7);
  ledger.Trim(2, 1);
  EXPECT_EQ(ledger.used_cells(), 1);
  ledger.Close(2);
  EXPECT_EQ(ledger.used_cells(), 0);
}

TEST(CacheLedgerTest, AppendThatDoesNotFitChangesNothing) {
  CacheLedger ledger(2, 5);
  ledger.Open(7);
  ASSERT_TRUE(ledger.Append(7, 3));
  EXPECT_FALSE(ledger.Append(7, 3));
  EXPECT_EQ(ledger.LengthOf(7), 3);
  EXPECT_EQ(ledger.used_cells(), 3);
  EXPECT_TRUE(ledger.Append(7, 2));
}

TEST(CacheLedgerTest, SlotsAreReusedAndRunOut) {
  CacheLedger ledger(2, 5);
  const std::optional<int> first = ledger.Open(1);
  const std::optional<int> second = ledger.Open(2);
  ASSERT_TRUE(first && second);
  EXPECT_NE(*first, *second);
  EXPECT_EQ(ledger.Open(3), std::nullopt);
  ledger.Close(1);
  EXPECT_EQ(ledger.SlotOf(1), std::nullopt);
  EXPECT_EQ(ledger.Open(3), first);
}

}  // namespace
}  // namespace logitd::runner
