#include "server/models/cache_room.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

namespace logitd::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TEST(CacheRoomTest, FirstComeFirstServed) {
  CacheRoom room(4, 100);
  CacheShare a{1}, b{2}, c{3};
  room.Ask(a, 1, 80);
  EXPECT_THAT(room.Settle(), ElementsAre(&a));
  room.Ask(c, 1, 10);
  room.Ask(b, 1, 30);
  // c would fit, but b is older.
  EXPECT_THAT(room.Settle(), IsEmpty());
  EXPECT_DOUBLE_EQ(room.load(), 1.2);
  room.GiveBack(a);
  EXPECT_THAT(room.Settle(), ElementsAre(&b, &c));
  EXPECT_DOUBLE_EQ(room.load(), 0.4);
}

TEST(CacheRoomTest, SequencesAreCountedToo) {
  CacheRoom room(2, 100);
  CacheShare a{1}, b{2};
  room.Ask(a, 2, 1);
  room.Ask(b, 1, 1);
  EXPECT_THAT(room.Settle(), ElementsAre(&a));
  room.GiveBack(a);
  EXPECT_THAT(room.Settle(), ElementsAre(&b));
}

TEST(CacheRoomTest, WhoWithdrawsIsNotInTheWay) {
  CacheRoom room(4, 100);
  CacheShare a{1}, b{2}, c{3};
  room.Ask(a, 1, 80);
  room.Ask(b, 1, 30);
  room.Ask(c, 1, 20);
  EXPECT_THAT(room.Settle(), ElementsAre(&a));
  room.Withdraw(b);
  EXPECT_THAT(room.Settle(), ElementsAre(&c));
  EXPECT_DOUBLE_EQ(room.load(), 1);
}

TEST(CacheRoomTest, TheYoungestIsSuspendedForAnOlderOne) {
  CacheRoom room(4, 100);
  CacheShare a{1}, b{2}, c{3};
  for (CacheShare* share : {&a, &b, &c}) room.Ask(*share, 1, 30);
  EXPECT_THAT(room.Settle(), ElementsAre(&a, &b, &c));
  EXPECT_TRUE(room.TryToGrow(a, 40));
  EXPECT_FALSE(room.TryToGrow(b, 31));
  room.AskForMore(b, 35);
  EXPECT_THAT(room.Settle(), ElementsAre(&c, &b));
  EXPECT_TRUE(c.is_suspended);
  EXPECT_EQ(c.tokens, 0);
  EXPECT_EQ(b.tokens, 35);
  EXPECT_FALSE(a.is_suspended);
}

TEST(CacheRoomTest, WhoIsSuspendedKeepsItsTurn) {
  CacheRoom room(4, 100);
  CacheShare a{1}, b{2}, c{3};
  room.Ask(a, 1, 50);
  room.Ask(b, 1, 50);
  room.Settle();
  room.Ask(c, 1, 20);
  room.AskForMore(a, 60);
  // c would fit into what b had, but b comes back.
  EXPECT_THAT(room.Settle(), ElementsAre(&b, &a));
  EXPECT_THAT(room.Settle(), IsEmpty());
  room.GiveBack(b);
  room.Ask(b, 1, 30);
  EXPECT_THAT(room.Settle(), ElementsAre(&b));
  EXPECT_FALSE(b.is_suspended);
  // A suspended one that ends lets the others in.
  room.GiveBack(b);
  EXPECT_THAT(room.Settle(), ElementsAre(&c));
}

TEST(CacheRoomTest, TheYoungestKeepsWhatItHasAndWaits) {
  CacheRoom room(4, 100);
  CacheShare a{1}, b{2}, late{3};
  room.Ask(a, 1, 50);
  room.Ask(b, 1, 45);
  room.Settle();
  room.AskForMore(b, 60);
  room.Ask(late, 1, 5);
  // Nobody begins while somebody waits to grow.
  EXPECT_THAT(room.Settle(), IsEmpty());
  EXPECT_FALSE(b.is_suspended);
  room.GiveBack(a);
  EXPECT_THAT(room.Settle(), UnorderedElementsAre(&b, &late));
  EXPECT_EQ(b.tokens, 60);
}

TEST(CacheRoomTest, WhoWaitsToGrowIsSuspendedForAnOlderOne) {
  CacheRoom room(4, 100);
  CacheShare a{1}, b{2};
  room.Ask(a, 1, 50);
  room.Ask(b, 1, 45);
  room.Settle();
  room.AskForMore(b, 60);
  EXPECT_THAT(room.Settle(), IsEmpty());
  room.AskForMore(a, 100);
  EXPECT_THAT(room.Settle(), ElementsAre(&b, &a));
  EXPECT_TRUE(b.is_suspended);
  EXPECT_FALSE(room.TryToGrow(b, 1));
  EXPECT_EQ(a.tokens, 100);
  room.GiveBack(a);
  EXPECT_DOUBLE_EQ(room.load(), 0);
}

// Sessions that append a token in every round, as generation does. What has to be evaluated again is counted.
struct Simulated {
  int64_t prompt = 0;
  int64_t length = 0;
  int64_t has = 0;
  CacheShare share;
  bool is_waiting = false;
  bool has_ended = false;
};

struct Totals {
  int64_t generated = 0;
  int64_t prompts = 0;
  int64_t again = 0;
  int64_t rounds = 0;
  size_t most_at_once = 0;
};

Totals Simulate(int32_t sequences, int64_t capacity, std::deque<Simulated>& sessions) {
  constexpr int64_t kBlock = 64;
  CacheRoom room(sequences, capacity);
  Totals totals;
  const auto begin = [&](Simulated& session, int64_t age) {
    session.share.age = age;
    room.GiveBack(session.share);
    session.is_waiting = true;
    room.Ask(session.share, 1, std::min(session.prompt + session.has + kBlock, session.prompt + session.length));
  };
  for (size_t i = 0; i < sessions.size(); ++i) begin(sessions[i], static_cast<int64_t>(i));
  while (std::any_of(sessions.begin(), sessions.end(), [](const Simulated& session) { return !session.has_ended; })) {
    for (CacheShare* settled : room.Settle()) {
      Simulated& session = sessions[static_cast<size_t>(settled->age)];
      session.is_waiting = false;
      if (!settled->is_suspended) continue;
      totals.again += session.prompt + session.has;
      begin(session, settled->age);
    }
    size_t running = 0;
    int64_t held = 0;
    for (Simulated& session : sessions) {
      held += session.share.tokens;
      if (session.has_ended || session.is_waiting) continue;
      ++running;
      ++session.has;
      ++totals.generated;
      if (session.has == session.length) {
        session.has_ended = true;
        totals.prompts += session.prompt;
        room.GiveBack(session.share);
      } else if (const int64_t needed = session.prompt + session.has + 1; needed > session.share.tokens) {
        const int64_t tokens = std::min(needed + kBlock, session.prompt + session.length);
        if (room.TryToGrow(session.share, tokens)) continue;
        session.is_waiting = true;
        room.AskForMore(session.share, tokens);
      }
    }
    EXPECT_LE(held, capacity);
    totals.most_at_once = std::max(totals.most_at_once, running);
    ++totals.rounds;
    // The oldest advances in every round.
    const auto oldest =
        std::find_if(sessions.begin(), sessions.end(), [](const Simulated& session) { return !session.has_ended; });
    if (oldest != sessions.end() && oldest->is_waiting) {
      EXPECT_GT(oldest->share.wanted_tokens, 0);
      const std::vector<CacheShare*> settled = room.Settle();
      EXPECT_NE(std::find(settled.begin(), settled.end(), &oldest->share), settled.end()) << oldest->share.age;
      for (CacheShare* share : settled) {
        Simulated& session = sessions[static_cast<size_t>(share->age)];
        session.is_waiting = false;
        if (!share->is_suspended) continue;
        totals.again += session.prompt + session.has;
        begin(session, share->age);
      }
    }
    if (totals.rounds > 10'000'000) {
      ADD_FAILURE() << "it does not end";
      break;
    }
  }
  EXPECT_DOUBLE_EQ(room.load(), 0);
  return totals;
}

TEST(CacheRoomTest, SixteenOf4000TokensInACacheOf16384) {
  std::deque<Simulated> sessions;
  for (int i = 0; i < 16; ++i) sessions.push_back({.prompt = 16, .length = 4000});
  const Totals totals = Simulate(64, 16384, sessions);
  EXPECT_EQ(totals.most_at_once, 16);
  EXPECT_EQ(totals.generated, 64000);
  EXPECT_LE(totals.again, totals.generated);
  // One after the other it would be 64,000.
  EXPECT_LE(totals.rounds, 24000);
}

TEST(CacheRoomTest, WhateverTheLengthsAllEndAndLittleIsEvaluatedAgain) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    const int64_t capacity = 200 + static_cast<int64_t>(random() % 3000);
    std::deque<Simulated> sessions;
    const int count = 1 + static_cast<int>(random() % 60);
    for (int i = 0; i < count; ++i) {
      const int64_t prompt = 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(capacity / 2));
      const int64_t length = 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(capacity - prompt));
      sessions.push_back({.prompt = prompt, .length = length});
    }
    const Totals totals = Simulate(1 + static_cast<int32_t>(random() % 64), capacity, sessions);
    // What is suspended had room that somebody else has taken since, and used.
    EXPECT_LE(totals.again, 2 * (totals.generated + totals.prompts)) << "round " << round;
  }
}

}  // namespace
}  // namespace logitd::server
