// Requests that kill runners are found and refused, and no others.
#include <atomic>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

#include "core/errors.h"
#include "server/models/model_session.h"
#include "tests/server/models/model_session_fixture.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::HasReason;
using logitd::testing::IsOk;

// One runner, started again whenever it dies; its deaths are by SIGSEGV.
class QuarantineTest : public ModelSessionTest {
 protected:
  QuarantineTest() {
    pool_.Expect("m");
    Restart();
  }

  ~QuarantineTest() override {
    // The last restart is over.
    while (model_->runner_count() == 0) std::this_thread::yield();
    std::lock_guard lock(runners_mutex_);
  }

  void Restart() {
    std::lock_guard lock(runners_mutex_);
    RememberingRunner& runner =
        runners_.emplace_back(Description(), kCapacity, RememberingRunner::kNever, [this](RememberingRunner& lost) {
          if (before_death_) before_death_();
          ++deaths_;
          Lose(lost, {RunnerEnd::Kind::kOwnSignal, "SIGSEGV", "signal SIGSEGV"});
          Restart();
        });
    auto model = pool_.Attach(Description(), RunnerCapabilities{.fork = fork_, .tokenizer = true},
                              std::make_shared<const Vocabulary>(), runner.runner());
    if (model_ == nullptr) model_ = *model;
  }

  // Evaluates a prompt of these tokens.
  absl::StatusOr<std::vector<SequenceRows>> Ask(Tokens tokens, const RequestContext& context = {}) {
    ModelSession session(*model_);
    const absl::Status reserved = session.Reserve({1, 100, 0}, "prompt", context_);
    if (!reserved.ok()) return reserved;
    SequenceWork work;
    work.sequence_id = session.NewSequence();
    work.append_token_ids = std::move(tokens);
    work.AskForLast();
    return session.Evaluate({work}, context);
  }

  std::mutex runners_mutex_;
  std::atomic<int> deaths_ = 0;
  std::function<void()> before_death_;
};

constexpr TokenId kPoison = RememberingRunner::kPoison;

TEST_F(QuarantineTest, ThePoisonousRequestAloneIsRefusedAfterThreeDeaths) {
  constexpr int kOthers = 8;
  std::atomic<bool> is_refused = false;
  std::atomic<int> running = 0;
  std::vector<std::thread> others;
  for (int other = 0; other < kOthers; ++other) {
    others.emplace_back([&, other] {
      ModelSession session(*model_);
      ASSERT_THAT(session.Reserve({1, 50, 0}, "prompt", context_), IsOk());
      int64_t sequence = session.NewSequence();
      Tokens tokens;
      // Generates until the poison is gone, and some more; begins anew when its room is full.
      for (int after = 0; after < 20; after += is_refused ? 1 : 0) {
        if (tokens.size() == 40) {
          session.Release(sequence);
          sequence = session.NewSequence();
          tokens.clear();
        }
        SequenceWork work;
        work.sequence_id = sequence;
        Feed(work, {static_cast<TokenId>(other + tokens.size()) % 4});
        tokens.push_back(work.append_token_ids[0]);
        const auto rows = session.Evaluate({work}, context_);
        ASSERT_THAT(rows, IsOk());
        ASSERT_EQ((*rows)[0].logits(), RememberingRunner::Row(tokens, tokens.size()));
        if (after == 0 && tokens.size() == 1) ++running;
      }
    });
  }
  while (running < kOthers) std::this_thread::yield();
  const auto rows = Ask({1, kPoison, 2});
  EXPECT_THAT(rows, HasReason(ErrorReason::kRunnerKilled));
  EXPECT_THAT(std::string(rows.status().message()), ::testing::HasSubstr("SIGSEGV"));
  EXPECT_EQ(deaths_, 3);
  is_refused = true;
  for (std::thread& other : others) other.join();
  EXPECT_EQ(deaths_, 3);
  EXPECT_THAT(Ask({1, 2, 3}), IsOk());
}

TEST_F(QuarantineTest, RepeatedRequestIsRefusedAtOnce) {
  EXPECT_THAT(Ask({1, kPoison}), HasReason(ErrorReason::kRunnerKilled));
  EXPECT_EQ(deaths_, 3);
  for (int i = 0; i < 5; ++i) EXPECT_THAT(Ask({1, kPoison}), HasReason(ErrorReason::kRunnerKilled));
  EXPECT_EQ(deaths_, 3);
  EXPECT_THAT(Ask({2, kPoison}), HasReason(ErrorReason::kRunnerKilled));
  EXPECT_EQ(deaths_, 6) << "another request: nobody knows what kills";
}

TEST_F(QuarantineTest, StrikesOutliveARequestThatIsGivenUp) {
  // A client that gives up at its first death, and tries again. One that gives up in the moment between a death and its
  // strike gets none for it; it is refused all the same, a try or two later.
  bool is_refused = false;
  for (int attempt = 1; attempt <= 50 && !is_refused; ++attempt) {
    std::stop_source given_up;
    std::jthread client([&, before = deaths_.load()] {
      while (deaths_ == before && !given_up.stop_requested()) std::this_thread::yield();
      given_up.request_stop();
    });
    const auto rows = Ask({1, kPoison}, RequestContext{given_up.get_token()});
    ASSERT_FALSE(rows.ok());
    is_refused = DetailOf(rows.status()).reason == ErrorReason::kRunnerKilled;
    given_up.request_stop();
  }
  EXPECT_TRUE(is_refused);
  const int deaths = deaths_;
  EXPECT_THAT(Ask({1, kPoison}), HasReason(ErrorReason::kRunnerKilled));
  EXPECT_EQ(deaths_, deaths);
}

TEST_F(QuarantineTest, PoisonInTheMiddleOfASequence) {
  ModelSession session(*model_);
  ASSERT_THAT(session.Reserve({1, 100, 0}, "prompt", context_), IsOk());
  SequenceWork work;
  work.sequence_id = session.NewSequence();
  for (int step = 0; step < 5; ++step) {
    Feed(work, {1, 2});
    ASSERT_THAT(session.Evaluate({work}, context_), IsOk());
  }
  Feed(work, {kPoison});
  EXPECT_THAT(session.Evaluate({work}, context_), HasReason(ErrorReason::kRunnerKilled));
  EXPECT_EQ(deaths_, 3);
}

TEST_F(QuarantineTest, PoisonIsRefusedAlsoWhileTextsBecomeTokensAllTheTime) {
  // Before each of the first deaths the runner has texts; whether it has some at the last is the scheduler's to say.
  constexpr int kDeaths = 4;
  std::atomic<int64_t> tokenized = 0;
  std::atomic<bool> is_over = false;
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c) {
    clients.emplace_back([&] {
      while (!is_over) {
        const auto lists = model_->Tokenize({"text"}, {}, context_);
        // A text was there at more deaths than a call survives: it comes again.
        if (!lists.ok()) {
          ASSERT_THAT(lists, HasReason(ErrorReason::kRunnerLost));
        }
        ++tokenized;
      }
    });
  }
  std::thread innocent([&] {
    while (!is_over) EXPECT_THAT(Ask({1, 2, 3}), IsOk());
  });
  for (TokenId round = 0; round < 4; ++round) {
    const int64_t before = tokenized;
    while (tokenized < before + 10) std::this_thread::yield();
    EXPECT_THAT(Ask({round, kPoison}), HasReason(ErrorReason::kRunnerKilled));
    EXPECT_LE(deaths_, kDeaths * (round + 1)) << "two to be alone, at most one in doubt, and one that is sure";
    const int deaths = deaths_;
    EXPECT_THAT(Ask({round, kPoison}), HasReason(ErrorReason::kRunnerKilled));
    EXPECT_EQ(deaths_, deaths);
  }
  is_over = true;
  innocent.join();
  for (std::thread& client : clients) client.join();
}

TEST_F(QuarantineTest, DoubtIsResolvedWithoutTexts) {
  // At each death of the first three the runner surely has a text, at the fourth surely none: it would not come.
  std::vector<std::jthread> texts;
  before_death_ = [&] {
    if (deaths_ >= 3) return;
    std::shared_ptr<AttachedRunner> runner;
    {
      std::lock_guard lock(runners_mutex_);
      runner = runners_.back().runner();
    }
    texts.emplace_back([runner] { (void)runner->Tokenize({"text"}, {}, RequestContext()); });
    while (runner->scheduler()->open_texts() == 0) std::this_thread::yield();
  };
  EXPECT_THAT(Ask({1, kPoison}), HasReason(ErrorReason::kRunnerKilled));
  EXPECT_EQ(deaths_, 4);
}

TEST_F(QuarantineTest, ClientThatGivesUpAtEachDoubtIsRefusedAtLast) {
  const auto fingerprint = [] {
    WorkFingerprint work;
    work.AddSequence({}, Tokens{1, kPoison});
    return work;
  };
  model_->suspects().Remember(fingerprint(), kStrikesToBeAlone, "SIGSEGV");
  std::atomic<bool> is_over = false;
  std::thread client([&] {
    while (!is_over) (void)model_->Tokenize({"text"}, {}, context_);
  });
  EXPECT_THAT(Ask({1, kPoison}), HasReason(ErrorReason::kRunnerKilled));
  EXPECT_EQ(deaths_, 1) << "quiet from the beginning";
  is_over = true;
  client.join();
}

TEST_F(QuarantineTest, TextThatKillsRunnersHasNoInnocentRequestRefused) {
  std::atomic<bool> is_over = false;
  std::vector<std::thread> innocents;
  std::atomic<int> served = 0;
  for (int i = 0; i < 4; ++i) {
    innocents.emplace_back([&, i] {
      while (!is_over) {
        const auto rows = Ask({i, 2, 3});
        // An attack that never ends costs each more runners than it survives; but it is not to blame.
        if (rows.ok()) {
          ++served;
        } else {
          EXPECT_THAT(rows, HasReason(ErrorReason::kRunnerLost));
        }
      }
    });
  }
  for (int attack = 0; attack < 25; ++attack) {
    EXPECT_THAT(model_->Tokenize({RememberingRunner::kPoisonText}, {}, context_), HasReason(ErrorReason::kRunnerLost));
  }
  const int before = served;
  while (served < before + 20) std::this_thread::yield();
  is_over = true;
  for (std::thread& innocent : innocents) innocent.join();
  EXPECT_GT(deaths_, 50);
}

TEST_F(QuarantineTest, ManyPoisonousRequestsAtOnceAreEachRefusedAndNobodyElse) {
  std::vector<std::thread> callers;
  for (int c = 0; c < 6; ++c) {
    callers.emplace_back([this, c] {
      for (int round = 0; round < 5; ++round) {
        if (c % 2 == 0) {
          EXPECT_THAT(Ask({c, round, kPoison}), HasReason(ErrorReason::kRunnerKilled));
        } else {
          EXPECT_THAT(Ask({c, round, 3}), IsOk());
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_LE(deaths_, 3 * 15);
}

}  // namespace
}  // namespace logitd::server
