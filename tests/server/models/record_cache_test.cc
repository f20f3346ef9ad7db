#include "server/models/record_cache.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace logitd::server {
namespace {

PathHash HashOf(const RecordCache& cache, const std::vector<TokenId>& tokens, const std::string& model = "m",
                const std::string& tenant = "") {
  PathHash hash = cache.Begin(model, tenant);
  for (const TokenId token : tokens) hash.Add(token);
  return hash;
}

RowRecord RecordOf(double log_prob) {
  RowRecord record;
  record.log_sum_exp = 3;
  record.argmax = 7;
  record.target_log_prob = log_prob;
  return record;
}

TEST(RecordCacheTest, ARecordIsKnownByModelTenantTokensAndTarget) {
  RecordCache cache(1 << 20);
  cache.Put(HashOf(cache, {1, 2}), 5, {}, RecordOf(-1.5));
  const auto found = cache.Find(HashOf(cache, {1, 2}), 5, {});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->target_log_prob, -1.5);
  EXPECT_EQ(found->log_sum_exp, 3);
  EXPECT_EQ(found->argmax, 7);
  EXPECT_FALSE(cache.Find(HashOf(cache, {1, 2}), 6, {}));
  EXPECT_FALSE(cache.Find(HashOf(cache, {1, 2, 0}), 5, {}));
  EXPECT_FALSE(cache.Find(HashOf(cache, {2, 1}), 5, {}));
  EXPECT_FALSE(cache.Find(HashOf(cache, {0, 1, 2}), 5, {}));
  EXPECT_FALSE(cache.Find(HashOf(cache, {1, 2}, "m2"), 5, {}));
  EXPECT_FALSE(cache.Find(HashOf(cache, {1, 2}, "m", "t"), 5, {}));
  // Names and tokens are told apart, wherever one ends.
  EXPECT_FALSE(cache.Find(HashOf(cache, {1, 2}, "", "m"), 5, {}));
}

TEST(RecordCacheTest, OnlyWhatWasAskedForIsGiven) {
  RecordCache cache(1 << 20);
  RowRecord record = RecordOf(-2);
  record.target_rank = 4;
  record.entropy = 0.25;
  record.top = {{1, -0.5, {}, {}}, {2, -1.0, {}, {}}};
  record.named = {{8, -3.0, {}, 9}, {6, -4.0, {}, 10}};
  cache.Put(HashOf(cache, {1}), 5, {{}, 2, {8, 6}, true, true}, record);
  const auto plain = cache.Find(HashOf(cache, {1}), 5, {});
  ASSERT_TRUE(plain);
  EXPECT_FALSE(plain->target_rank);
  EXPECT_FALSE(plain->entropy);
  EXPECT_TRUE(plain->top.empty());
  EXPECT_TRUE(plain->named.empty());
  const auto some = cache.Find(HashOf(cache, {1}), 5, {{}, 1, {6}, false, true});
  ASSERT_TRUE(some);
  ASSERT_EQ(some->top.size(), 1u);
  EXPECT_EQ(some->top[0].token_id, 1);
  ASSERT_EQ(some->named.size(), 1u);
  EXPECT_EQ(some->named[0].token_id, 6);
  EXPECT_FALSE(some->named[0].rank);
  EXPECT_EQ(some->entropy, 0.25);
  EXPECT_FALSE(cache.Find(HashOf(cache, {1}), 5, {{}, 3, {}, false, false}));
  EXPECT_FALSE(cache.Find(HashOf(cache, {1}), 5, {{}, 0, {7}, false, false}));
  // A record without ranks does not answer who asks for them.
  cache.Put(HashOf(cache, {1}), 9, {}, RecordOf(-1));
  EXPECT_FALSE(cache.Find(HashOf(cache, {1}), 9, {{}, 0, {}, true, false}));
  EXPECT_FALSE(cache.Find(HashOf(cache, {1}), 9, {{}, 0, {}, false, true}));
}

TEST(RecordCacheTest, TheLeastRecentlyUsedRecordsGo) {
  RecordCache one(1 << 20);
  one.Put(HashOf(one, {1}), 1, {}, RecordOf(-1));
  const int64_t each = one.bytes();
  EXPECT_GT(each, 0);
  EXPECT_LT(each, 200);
  RecordCache cache(10 * each);
  for (TokenId token = 0; token < 10; ++token) cache.Put(HashOf(cache, {token}), 1, {}, RecordOf(-token));
  EXPECT_EQ(cache.count(), 10);
  EXPECT_EQ(cache.bytes(), cache.max_bytes());
  EXPECT_TRUE(cache.Find(HashOf(cache, {0}), 1, {}));
  cache.Put(HashOf(cache, {10}), 1, {}, RecordOf(-10));
  EXPECT_EQ(cache.count(), 10);
  EXPECT_TRUE(cache.Find(HashOf(cache, {0}), 1, {}));
  EXPECT_FALSE(cache.Find(HashOf(cache, {1}), 1, {}));
  // The same record again takes no more.
  cache.Put(HashOf(cache, {10}), 1, {}, RecordOf(-11));
  EXPECT_EQ(cache.count(), 10);
  EXPECT_EQ(cache.Find(HashOf(cache, {10}), 1, {})->target_log_prob, -11);
}

TEST(RecordCacheTest, ACacheOfNoBytesKeepsNothing) {
  RecordCache cache(0);
  cache.Put(HashOf(cache, {1}), 1, {}, RecordOf(-1));
  EXPECT_FALSE(cache.Find(HashOf(cache, {1}), 1, {}));
  EXPECT_EQ(cache.bytes(), 0);
}

}  // namespace
}  // namespace logitd::server
