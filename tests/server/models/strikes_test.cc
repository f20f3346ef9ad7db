#include "server/models/strikes.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd::server {
namespace {

WorkFingerprint Of(const std::vector<std::vector<TokenId>>& sequences, size_t known = 0) {
  WorkFingerprint fingerprint;
  for (const std::vector<TokenId>& tokens : sequences) {
    const std::span<const TokenId> all(tokens);
    fingerprint.AddSequence(all.first(known), all.subspan(known));
  }
  return fingerprint;
}

TEST(StrikesTest, TwoMakeItAloneAndTheThirdIsTheLast) {
  Strikes strikes;
  strikes.Add();
  EXPECT_FALSE(strikes.is_alone());
  strikes.Add();
  EXPECT_TRUE(strikes.is_alone());
  EXPECT_FALSE(strikes.is_refused());
  strikes.Add();
  EXPECT_TRUE(strikes.is_refused());
}

TEST(StrikesTest, InnocentGoesBackAndIsAloneForLongerTheNextTime) {
  Strikes strikes;
  for (const int alone : {1, 8, 64, 512, 4096, 4096}) {
    strikes.Add();
    strikes.Add();
    for (int i = 0; i < alone; ++i) {
      ASSERT_TRUE(strikes.is_alone()) << i << " of " << alone;
      strikes.OnSuccess();
      ASSERT_EQ(strikes.count(), 0);
    }
    ASSERT_FALSE(strikes.is_alone());
  }
}

TEST(StrikesTest, SuccessInCompanyProvesNothing) {
  Strikes strikes;
  strikes.Add();
  strikes.OnSuccess();
  EXPECT_EQ(strikes.count(), 1);
}

TEST(StrikesTest, RefusalTakesThreeEvenWhenItIsAloneAlready) {
  Strikes strikes;
  for (int i = 0; i < 2; ++i) {
    strikes.Add();
    strikes.Add();
    strikes.OnSuccess();
  }
  ASSERT_TRUE(strikes.is_alone());
  strikes.Add();
  strikes.Add();
  EXPECT_FALSE(strikes.is_refused());
  strikes.Add();
  EXPECT_TRUE(strikes.is_refused());
}

TEST(WorkFingerprintTest, IsOfTheTokensAndTheirOrder) {
  EXPECT_EQ(Of({{1, 2, 3}}, 0), Of({{1, 2, 3}}, 2)) << "what is evaluated already does not matter";
  EXPECT_NE(Of({{1, 2, 3}}), Of({{1, 3, 2}}));
  EXPECT_NE(Of({{1, 2, 3}}), Of({{1, 2}, {3}}));
  EXPECT_NE(Of({{0}}), Of({{0, 0}}));
  EXPECT_EQ(Of({{1, 2}, {3}}).token_count(), 3u);
}

TEST(SuspectMemoryTest, KeepsTheLargerNumber) {
  SuspectMemory memory;
  EXPECT_FALSE(memory.MayKnow(2));
  memory.Remember(Of({{1, 2}}), 2, "SIGBUS");
  memory.Remember(Of({{1, 2}}), 1, "SIGSEGV");
  EXPECT_TRUE(memory.MayKnow(2));
  EXPECT_FALSE(memory.MayKnow(3));
  EXPECT_EQ(memory.Find(Of({{1, 2}})).strikes, 2);
  EXPECT_EQ(memory.Find(Of({{2, 1}})).strikes, 0);
  memory.Forget(Of({{1, 2}}));
  EXPECT_FALSE(memory.MayKnow(2));
}

TEST(SuspectMemoryTest, ForgetsInTime) {
  SuspectMemory memory(std::chrono::milliseconds(0));
  memory.Remember(Of({{1}}), 3, "SIGSEGV");
  EXPECT_EQ(memory.Find(Of({{1}})).strikes, 0);
  EXPECT_FALSE(memory.MayKnow(1));
}

TEST(SuspectMemoryTest, IsBoundedAndKeepsTheWorst) {
  SuspectMemory memory(SuspectMemory::kKeepTime, 4);
  memory.Remember(Of({{0}}), 3, "SIGSEGV");
  for (TokenId id = 1; id < 100; ++id) memory.Remember(Of({{id}}), 1, "SIGSEGV");
  EXPECT_EQ(memory.Find(Of({{0}})).strikes, 3);
  int known = 0;
  for (TokenId id = 0; id < 100; ++id) known += memory.Find(Of({{id}})).strikes > 0;
  EXPECT_EQ(known, 4);
}

}  // namespace
}  // namespace logitd::server
