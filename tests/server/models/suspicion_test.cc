// Which sessions the scheduler evaluates alone, and which it suspects when a runner dies.
#include <algorithm>
#include <deque>
#include <optional>
#include <thread>

#include "core/errors.h"
#include "server/models/runner_session.h"
#include "tests/server/models/manual_runner.h"
#include "tests/server/models/runner_doubles.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::HasReason;
using logitd::testing::IsOk;
using ::testing::ElementsAre;

// A session whose Evaluate of one entry runs on a thread of its own.
struct Caller {
  explicit Caller(ManualRunner& runner, bool is_alone = false, size_t tokens = 1, bool is_quiet = false)
      : session(runner.scheduler()) {
    session.SetAlone(is_alone, is_quiet);
    work = Append(session, tokens);
    thread = std::thread([this] { rows = session.Evaluate({work}, RequestContext()); });
  }
  ~Caller() { thread.join(); }

  RunnerSession session;
  SequenceWork work;
  absl::StatusOr<std::vector<SequenceRows>> rows;
  std::thread thread;
};

std::vector<int64_t> SequencesOf(const Batch& batch) {
  std::vector<int64_t> ids;
  for (const SequenceWork& piece : batch.work) ids.push_back(piece.sequence_id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

TEST(SuspicionTest, SessionThatIsAloneSharesNoBatchAndTakesTurns) {
  ManualRunner runner({16, 1000, 100});
  std::deque<Caller> callers;
  callers.emplace_back(runner);
  Batch batch = runner.Next();
  // While the runner works: three that may share, and two that may not, one of them with two batches' work.
  for (size_t i = 1; i <= 5; ++i) {
    callers.emplace_back(runner, /*is_alone=*/i > 3, /*tokens=*/i == 4 ? 150 : 1);
    runner.WaitUntilWaiting(i);
  }
  std::vector<std::vector<int64_t>> batches;
  while (batches.size() < 4) {
    EXPECT_THAT(runner.Answer(batch), IsOk());
    batch = runner.Next();
    batches.push_back(SequencesOf(batch));
  }
  EXPECT_THAT(runner.Answer(batch), IsOk());
  const auto id = [&](size_t i) { return callers[i].work.sequence_id; };
  EXPECT_THAT(batches[0], ElementsAre(id(4)));
  EXPECT_THAT(batches[1], ElementsAre(id(1), id(2), id(3))) << "in turns";
  EXPECT_THAT(batches[2], ElementsAre(id(4)));
  EXPECT_THAT(batches[3], ElementsAre(id(5)));
}

TEST(SuspicionTest, OwnSignalOfTheRunnerMakesSuspectsOfItsBatchAlone) {
  ManualRunner runner;
  std::deque<Caller> callers;
  callers.emplace_back(runner);
  runner.Next();
  callers.emplace_back(runner);
  runner.WaitUntilWaiting(1);
  RunnerSession idle(runner.scheduler());
  runner.scheduler()->OnLost(errors::RunnerLost("manual"), "SIGSEGV");
  for (Caller& caller : callers) caller.thread.join();
  for (Caller& caller : callers) caller.thread = std::thread([] {});
  EXPECT_EQ(callers[0].session.suspicion(), Suspicion::kSuspect);
  EXPECT_EQ(callers[0].session.signal(), "SIGSEGV");
  EXPECT_EQ(callers[1].session.suspicion(), Suspicion::kBystander);
  EXPECT_THAT(idle.Reserve({1, 1, 0}, "items", RequestContext()), HasReason(ErrorReason::kRunnerLost));
  EXPECT_EQ(idle.suspicion(), Suspicion::kBystander);
}

TEST(SuspicionTest, RunnerThatWasKilledMakesNoSuspects) {
  ManualRunner runner;
  std::deque<Caller> callers;
  callers.emplace_back(runner);
  runner.Next();
  runner.scheduler()->OnLost(errors::RunnerLost("manual"));
  callers[0].thread.join();
  callers[0].thread = std::thread([] {});
  EXPECT_EQ(callers[0].session.suspicion(), Suspicion::kNone);
}

TEST(SuspicionTest, RunnerThatDiedWithoutABatchMakesNoSuspectsNorBystanders) {
  // Else whoever waits would wait for ever while a runner dies again and again of something else.
  ManualRunner runner;
  RunnerSession session(runner.scheduler());
  runner.scheduler()->OnLost(errors::RunnerLost("manual"), "SIGSEGV");
  EXPECT_THAT(session.Reserve({1, 1, 0}, "items", RequestContext()), HasReason(ErrorReason::kRunnerLost));
  EXPECT_EQ(session.suspicion(), Suspicion::kNone);
}

TEST(SuspicionTest, TextThatWasTokenizedMeanwhileIsADoubt) {
  for (const bool is_alone : {false, true}) {
    ManualRunner runner;
    std::deque<Caller> callers;
    callers.emplace_back(runner, is_alone);
    runner.Next();
    EXPECT_THAT(runner.scheduler()->BeginText(RequestContext()), IsOk());
    runner.scheduler()->OnLost(errors::RunnerLost("manual"), "SIGSEGV");
    callers[0].thread.join();
    callers[0].thread = std::thread([] {});
    EXPECT_EQ(callers[0].session.suspicion(), is_alone ? Suspicion::kDoubt : Suspicion::kSuspect);
  }
}

TEST(SuspicionTest, QuietWorkAndTextsAreNeverThereTogether) {
  ManualRunner runner;
  BatchScheduler& scheduler = *runner.scheduler();
  EXPECT_THAT(scheduler.BeginText(RequestContext()), IsOk());
  EXPECT_THAT(scheduler.BeginText(RequestContext()), IsOk());
  std::deque<Caller> callers;
  callers.emplace_back(runner, /*is_alone=*/true, /*tokens=*/1, /*is_quiet=*/true);
  runner.WaitUntilWaiting(1);
  // Others are evaluated meanwhile; a text that comes now waits.
  callers.emplace_back(runner);
  const Batch others = runner.Next();
  EXPECT_THAT(SequencesOf(others), ElementsAre(callers[1].work.sequence_id));
  EXPECT_THAT(runner.Answer(others), IsOk());
  const RequestContext short_time{{}, std::chrono::system_clock::now() + std::chrono::milliseconds(20)};
  EXPECT_THAT(scheduler.BeginText(short_time), HasReason(ErrorReason::kDeadlineExceeded));
  std::atomic<bool> has_begun = false;
  std::thread text([&] {
    EXPECT_THAT(scheduler.BeginText(RequestContext()), IsOk());
    has_begun = true;
  });
  scheduler.EndText();
  EXPECT_EQ(scheduler.waiting_count(), 1u) << "there is one more text";
  scheduler.EndText();
  const Batch quiet = runner.Next();
  EXPECT_THAT(SequencesOf(quiet), ElementsAre(callers[0].work.sequence_id));
  EXPECT_FALSE(has_begun);
  EXPECT_THAT(runner.Answer(quiet), IsOk());
  text.join();
  // What has a text now is in doubt, and does not wait for ever if the runner is lost.
  callers.emplace_back(runner, /*is_alone=*/true, /*tokens=*/1, /*is_quiet=*/true);
  runner.WaitUntilWaiting(1);
  scheduler.OnLost(errors::RunnerLost("manual"), "SIGSEGV");
  EXPECT_THAT(scheduler.BeginText(RequestContext()), HasReason(ErrorReason::kRunnerLost));
}

TEST(SuspicionTest, WhoHasItsRowsIsSuspectUntilTheBatchEnds) {
  for (const bool has_ended : {false, true}) {
    ManualRunner runner;
    RunnerSession session(runner.scheduler());
    const SequenceWork work = Append(session, 1);
    std::thread caller([&] { EXPECT_THAT(session.Evaluate({work}, RequestContext()), IsOk()); });
    const Batch batch = runner.Next();
    EXPECT_THAT(runner.scheduler()->OnOutput(batch.batch_id, ManualRunner::Rows(batch), has_ended), IsOk());
    caller.join();
    std::optional<Caller> other;
    if (has_ended) {
      other.emplace(runner);
      runner.Next();
    }
    std::thread next(
        [&] { EXPECT_THAT(session.Evaluate({work}, RequestContext()), HasReason(ErrorReason::kRunnerLost)); });
    runner.WaitUntilWaiting(1);
    runner.scheduler()->OnLost(errors::RunnerLost("manual"), "SIGSEGV");
    next.join();
    EXPECT_EQ(session.suspicion(), has_ended ? Suspicion::kBystander : Suspicion::kSuspect);
  }
}

}  // namespace
}  // namespace logitd::server
