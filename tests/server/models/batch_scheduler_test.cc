#include "server/models/runner_session.h"

#include <sys/resource.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <numeric>
#include <thread>

#include "core/errors.h"
#include "tests/server/models/manual_runner.h"
#include "tests/server/models/runner_doubles.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::HasReason;
using logitd::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::SizeIs;

TEST(BatchSchedulerTest, WorkOfOneCallGoesInOneBatch) {
  ManualRunner runner;
  RunnerSession session(runner.scheduler());
  absl::StatusOr<std::vector<SequenceRows>> rows;
  std::thread caller([&] {
    rows = session.Evaluate({Append(session, 3), Append(session, 2, /*all=*/true)}, RequestContext());
  });
  const Batch batch = runner.Next();
  EXPECT_THAT(batch.work, SizeIs(2));
  EXPECT_THAT(runner.Answer(batch), IsOk());
  caller.join();
  ASSERT_THAT(rows, IsOk());
  EXPECT_THAT((*rows)[0].logits(), ElementsAre(2, 0, 0, 0));
  EXPECT_THAT((*rows)[1].logits(), ElementsAre(0, 0, 0, 0, 1, 0, 0, 0));
}

TEST(BatchSchedulerTest, WhatGathersWhileTheRunnerWorksGoesTogether) {
  ManualRunner runner;
  std::deque<RunnerSession> sessions;
  std::vector<std::thread> callers;
  const auto call = [&] {
    RunnerSession& session = sessions.emplace_back(runner.scheduler());
    SequenceWork work = Append(session, 1);
    callers.emplace_back([&session, work] { EXPECT_THAT(session.Evaluate({work}, RequestContext()), IsOk()); });
  };
  call();
  const Batch first = runner.Next();
  for (int i = 0; i < 5; ++i) call();
  // The five others may arrive in one batch or, if this thread is slow, in several; none is lost or repeated.
  EXPECT_THAT(runner.Answer(first), IsOk());
  size_t answered = first.work.size();
  while (answered < 6) {
    const Batch batch = runner.Next();
    answered += batch.work.size();
    EXPECT_THAT(runner.Answer(batch), IsOk());
  }
  EXPECT_EQ(answered, 6u);
  for (std::thread& caller : callers) caller.join();
}

TEST(BatchSchedulerTest, LongPromptIsSplitAndLeavesRoomForOthers) {
  ManualRunner runner({8, 10000, 100});
  RunnerSession session(runner.scheduler());
  absl::StatusOr<std::vector<SequenceRows>> rows;
  std::thread caller([&] { rows = session.Evaluate({Append(session, 250), Append(session, 1)}, RequestContext()); });
  std::vector<size_t> lengths;
  size_t longest = 0;
  while (longest < 250) {
    const Batch batch = runner.Next();
    size_t tokens = 0;
    for (const SequenceWork& piece : batch.work) {
      tokens += piece.append_token_ids.size();
      if (piece.sequence_id == 1) longest += piece.append_token_ids.size();
    }
    EXPECT_LE(tokens, 100u);
    lengths.push_back(batch.work.size());
    EXPECT_THAT(runner.Answer(batch), IsOk());
  }
  caller.join();
  EXPECT_THAT(lengths, ElementsAre(2, 1, 1)) << "the short one goes with the first part of the long one";
  ASSERT_THAT(rows, IsOk());
  EXPECT_THAT((*rows)[0].logits(), ElementsAre(249, 0, 0, 0)) << "only the last part gives the last row";
}

TEST(BatchSchedulerTest, CancelledCallReturnsAndItsRowsAreDropped) {
  ManualRunner runner;
  RunnerSession session(runner.scheduler());
  std::stop_source stop;
  absl::StatusOr<std::vector<SequenceRows>> rows;
  const SequenceWork work = Append(session, 1);
  std::thread caller([&] { rows = session.Evaluate({work}, RequestContext{stop.get_token()}); });
  const Batch batch = runner.Next();
  stop.request_stop();
  caller.join();
  EXPECT_THAT(rows, HasReason(ErrorReason::kCancelled));
  EXPECT_THAT(runner.cancelled(), ElementsAre(work.sequence_id)) << "the runner is told";
  EXPECT_THAT(runner.Answer(batch), IsOk());
}

TEST(BatchSchedulerTest, BatchHasTheTimeOfItsMostPatientRequest) {
  ManualRunner runner;
  RunnerSession hasty(runner.scheduler());
  const RequestContext soon{{}, std::chrono::system_clock::now() + std::chrono::seconds(30)};
  std::thread first([&] { EXPECT_THAT(hasty.Evaluate({Append(hasty, 1)}, soon), IsOk()); });
  const Batch batch = runner.Next();
  EXPECT_LE(batch.time_limit, std::chrono::seconds(31));
  EXPECT_GE(batch.time_limit, std::chrono::seconds(1));
  const auto now = std::chrono::steady_clock::now();
  EXPECT_FALSE(runner.scheduler()->IsOverdue(now));
  EXPECT_TRUE(runner.scheduler()->IsOverdue(now + batch.time_limit + std::chrono::minutes(2)));
  EXPECT_THAT(runner.Answer(batch), IsOk());
  first.join();
  EXPECT_FALSE(runner.scheduler()->IsOverdue(now + batch.time_limit + std::chrono::minutes(2)))
      << "it has no batch any more";
}

TEST(BatchSchedulerTest, DeadlineEndsTheWait) {
  ManualRunner runner;
  RunnerSession session(runner.scheduler());
  const RequestContext context{{}, std::chrono::system_clock::now() + std::chrono::milliseconds(1)};
  EXPECT_THAT(session.Evaluate({Append(session, 1)}, context), HasReason(ErrorReason::kDeadlineExceeded));
}

TEST(BatchSchedulerTest, LostRunnerFailsWhatWaitsAndWhatComesLater) {
  ManualRunner runner;
  RunnerSession session(runner.scheduler());
  absl::StatusOr<std::vector<SequenceRows>> rows;
  const SequenceWork work = Append(session, 1);
  std::thread caller([&] { rows = session.Evaluate({work}, RequestContext()); });
  runner.Next();
  runner.scheduler()->OnLost(errors::RunnerLost("manual"));
  caller.join();
  EXPECT_THAT(rows, HasReason(ErrorReason::kRunnerLost));
  EXPECT_THAT(session.Evaluate({Append(session, 1)}, RequestContext()), HasReason(ErrorReason::kRunnerLost));
  EXPECT_THAT(session.Reserve({1, 1, 0}, "items", RequestContext()), HasReason(ErrorReason::kRunnerLost));
}

TEST(BatchSchedulerTest, StoppedSchedulerSendsNothing) {
  std::atomic<int> sent = 0;
  ModelDescription description;
  description.vocab_size = kVocabSize;
  const auto scheduler = std::make_shared<BatchScheduler>(description, RunnerCapacity{8, 1000, 100},
                                                          std::make_shared<CallbackLink>([&](Batch) { ++sent; }));
  scheduler->StopBatches();
  RunnerSession session(scheduler);
  const RequestContext context{{}, std::chrono::system_clock::now() + std::chrono::milliseconds(20)};
  EXPECT_THAT(session.Evaluate({Append(session, 1)}, context), HasReason(ErrorReason::kDeadlineExceeded));
  EXPECT_EQ(sent, 0);
}

TEST(BatchSchedulerTest, FailedEntryLeavesTheOthersAlone) {
  ManualRunner runner;
  RunnerSession session(runner.scheduler());
  absl::StatusOr<std::vector<SequenceRows>> rows;
  std::thread caller([&] { rows = session.Evaluate({Append(session, 1), Append(session, 2)}, RequestContext()); });
  const Batch batch = runner.Next();
  std::vector<PieceOutput> outputs = ManualRunner::Rows(batch);
  outputs[0].status = errors::KvCacheFull(10, 10);
  EXPECT_THAT(runner.scheduler()->OnOutput(batch.batch_id, outputs, true), IsOk());
  caller.join();
  ASSERT_THAT(rows, IsOk());
  EXPECT_THAT((*rows)[0].status, HasReason(ErrorReason::kKvCacheFull));
  EXPECT_THAT((*rows)[1].logits(), ElementsAre(1, 0, 0, 0));
}

TEST(BatchSchedulerTest, RowsAreDeliveredAsTheyComeNotWithTheLastOfTheBatch) {
  ManualRunner runner;
  RunnerSession first(runner.scheduler());
  RunnerSession second(runner.scheduler());
  RunnerSession third(runner.scheduler());
  // All in one batch: it is sent when the runner has answered this one.
  std::thread busy([&] { (void)third.Evaluate({Append(third, 1)}, RequestContext()); });
  const Batch before = runner.Next();
  absl::StatusOr<std::vector<SequenceRows>> first_rows;
  absl::StatusOr<std::vector<SequenceRows>> second_rows;
  std::thread first_caller([&] { first_rows = first.Evaluate({Append(first, 2)}, RequestContext()); });
  runner.WaitUntilWaiting(1);
  std::thread second_caller([&] { second_rows = second.Evaluate({Append(second, 3)}, RequestContext()); });
  runner.WaitUntilWaiting(2);
  EXPECT_THAT(runner.Answer(before), IsOk());
  busy.join();
  const Batch batch = runner.Next();
  ASSERT_THAT(batch.work, SizeIs(2));
  std::vector<PieceOutput> outputs = ManualRunner::Rows(batch);
  EXPECT_THAT(runner.scheduler()->OnOutput(batch.batch_id, {outputs[0]}, false), IsOk());
  // Were it told only with the batch's last rows, this would wait for ever.
  first_caller.join();
  ASSERT_THAT(first_rows, IsOk());
  EXPECT_THAT((*first_rows)[0].logits(), ElementsAre(1, 0, 0, 0));
  EXPECT_THAT(runner.scheduler()->OnOutput(batch.batch_id, {outputs[0]}, false),
              HasReason(ErrorReason::kRunnerProtocol))
      << "it has got all of its rows";
  EXPECT_THAT(runner.scheduler()->OnOutput(batch.batch_id, {outputs[1]}, true), IsOk());
  second_caller.join();
  ASSERT_THAT(second_rows, IsOk());
  EXPECT_THAT((*second_rows)[0].logits(), ElementsAre(2, 0, 0, 0));
}

TEST(BatchSchedulerTest, OutputThatWasNotAskedForIsRefused) {
  ManualRunner runner;
  RunnerSession session(runner.scheduler());
  std::thread caller([&] { (void)session.Evaluate({Append(session, 1)}, RequestContext()); });
  const Batch batch = runner.Next();
  EXPECT_THAT(runner.scheduler()->OnOutput(batch.batch_id + 1, {}, true), HasReason(ErrorReason::kRunnerProtocol));
  EXPECT_THAT(runner.scheduler()->OnOutput(batch.batch_id, {PieceOutput{77}}, false),
              HasReason(ErrorReason::kRunnerProtocol));
  const PieceOutput too_many{.sequence_id = batch.work[0].sequence_id, .row_count = 2};
  const PieceOutput no_request{.sequence_id = batch.work[0].sequence_id, .request_index = 1, .row_count = 1};
  EXPECT_THAT(runner.scheduler()->OnOutput(batch.batch_id, {no_request}, false),
              HasReason(ErrorReason::kRunnerProtocol));
  EXPECT_THAT(runner.scheduler()->OnOutput(batch.batch_id, {too_many}, false), HasReason(ErrorReason::kRunnerProtocol));
  EXPECT_THAT(runner.scheduler()->OnOutput(batch.batch_id, {}, true), HasReason(ErrorReason::kRunnerProtocol))
      << "ended before its rows had come";
  EXPECT_THAT(runner.Answer(batch), IsOk());
  caller.join();
}

TEST(BatchSchedulerTest, ReleasedSequencesGoWithTheNextBatch) {
  ManualRunner runner;
  int64_t first = 0;
  {
    RunnerSession session(runner.scheduler());
    std::thread caller([&] {
      const SequenceWork work = Append(session, 1);
      first = work.sequence_id;
      EXPECT_THAT(session.Evaluate({work}, RequestContext()), IsOk());
    });
    EXPECT_THAT(runner.Answer(runner.Next()), IsOk());
    caller.join();
  }
  RunnerSession session(runner.scheduler());
  std::thread caller([&] { EXPECT_THAT(session.Evaluate({Append(session, 1)}, RequestContext()), IsOk()); });
  const Batch batch = runner.Next();
  EXPECT_THAT(batch.release_sequence_ids, ElementsAre(first));
  EXPECT_THAT(runner.Answer(batch), IsOk());
  caller.join();
}

TEST(BatchSchedulerTest, RoomInTheCacheIsGivenInOrderOfArrival) {
  ManualRunner runner({2, 100, 100});
  auto holder = std::make_unique<RunnerSession>(runner.scheduler());
  ASSERT_THAT(holder->Reserve({1, 80, 0}, "items", RequestContext()), IsOk());
  RunnerSession large(runner.scheduler());
  std::atomic<bool> large_has_room = false;
  std::thread waiter([&] {
    EXPECT_THAT(large.Reserve({1, 50, 0}, "items", RequestContext()), IsOk());
    large_has_room = true;
  });
  EXPECT_FALSE(large_has_room);
  holder.reset();
  waiter.join();
  EXPECT_TRUE(large_has_room);
  RunnerSession huge(runner.scheduler());
  EXPECT_THAT(huge.Reserve({1, 101, 0}, "items", RequestContext()), HasReason(ErrorReason::kLimitExceeded));
  EXPECT_THAT(huge.Reserve({3, 1, 0}, "items", RequestContext()), HasReason(ErrorReason::kLimitExceeded));
}

TEST(BatchSchedulerTest, WaitForRoomCanBeGivenUp) {
  ManualRunner runner({1, 100, 100});
  RunnerSession holder(runner.scheduler());
  ASSERT_THAT(holder.Reserve({1, 1, 0}, "items", RequestContext()), IsOk());
  std::stop_source stop;
  RunnerSession second(runner.scheduler());
  absl::Status status;
  std::thread waiter([&] { status = second.Reserve({1, 1, 0}, "items", RequestContext{stop.get_token()}); });
  stop.request_stop();
  waiter.join();
  EXPECT_THAT(status, HasReason(ErrorReason::kCancelled));
}

TEST(BatchSchedulerTest, WhoGivesUpIsNotInTheWayOfSmallerOnes) {
  ManualRunner runner({4, 100, 100});
  RunnerSession holder(runner.scheduler());
  ASSERT_THAT(holder.Reserve({1, 80, 0}, "items", RequestContext()), IsOk());
  std::stop_source stop;
  RunnerSession large(runner.scheduler());
  std::thread first([&] {
    EXPECT_THAT(large.Reserve({1, 50, 0}, "items", RequestContext{stop.get_token()}),
                HasReason(ErrorReason::kCancelled));
  });
  // 80 are held, and 50 asked for.
  while (runner.scheduler()->load() < 1.3) std::this_thread::yield();
  RunnerSession small(runner.scheduler());
  std::thread second([&] { EXPECT_THAT(small.Reserve({1, 20, 0}, "items", RequestContext()), IsOk()); });
  while (runner.scheduler()->load() < 1.5) std::this_thread::yield();
  stop.request_stop();
  first.join();
  second.join();
}

TEST(BatchSchedulerTest, SequenceThatFailsAfterItsRowsFailsTheNextWorkOnIt) {
  ManualRunner runner;
  RunnerSession session(runner.scheduler());
  const SequenceWork work = Append(session, 1);
  std::thread caller([&] { EXPECT_THAT(session.Evaluate({work}, RequestContext()), IsOk()); });
  const Batch batch = runner.Next();
  EXPECT_THAT(runner.scheduler()->OnOutput(batch.batch_id, ManualRunner::Rows(batch), false), IsOk());
  caller.join();
  PieceOutput error{.sequence_id = work.sequence_id, .status = errors::KvCacheFull(10, 10)};
  EXPECT_THAT(runner.scheduler()->OnOutput(batch.batch_id, {error}, true), IsOk());
  SequenceWork fork;
  fork.sequence_id = session.NewSequence();
  fork.fork_from_sequence_id = work.sequence_id;
  const auto rows = session.Evaluate({work, fork}, RequestContext());
  ASSERT_THAT(rows, IsOk());
  EXPECT_THAT((*rows)[0].status, HasReason(ErrorReason::kKvCacheFull));
  EXPECT_THAT((*rows)[1].status, HasReason(ErrorReason::kKvCacheFull));
}

// A call that waits for room sleeps, whatever others do: 100 of them were woken three times for each batch.
TEST(BatchSchedulerTest, WaitingCallsSleep) {
  ManualRunner runner({1, 100, 100});
  auto holder = std::make_unique<RunnerSession>(runner.scheduler());
  ASSERT_THAT(holder->Reserve({1, 1, 0}, "items", RequestContext()), IsOk());
  std::vector<std::thread> waiting;
  for (int i = 0; i < 100; ++i) {
    waiting.emplace_back([&] {
      RunnerSession session(runner.scheduler());
      EXPECT_THAT(session.Reserve({1, 1, 0}, "items", RequestContext()), IsOk());
    });
  }
  while (runner.scheduler()->load() < 1.01) std::this_thread::yield();
  const auto sleeps = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_nvcsw;
  };
  constexpr int kBatches = 100;
  const auto before = sleeps();
  std::thread caller([&] {
    for (int i = 0; i < kBatches; ++i) EXPECT_THAT(holder->Evaluate({Append(*holder, 1)}, RequestContext()), IsOk());
  });
  for (int i = 0; i < kBatches; ++i) EXPECT_THAT(runner.Answer(runner.Next()), IsOk());
  caller.join();
  EXPECT_LT(sleeps() - before, 30 * kBatches) << "three threads take turns, and no other";
  holder.reset();
  for (std::thread& thread : waiting) thread.join();
}

// Many sessions at once, some cancelled, against a runner that answers as fast as it can.
TEST(BatchSchedulerTest, ManySessionsAtOnce) {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Batch> queue;
  bool stopping = false;
  ModelDescription description;
  description.name = "busy";
  description.vocab_size = kVocabSize;
  auto scheduler = std::make_shared<BatchScheduler>(description, RunnerCapacity{16, 500, 32},
                                                    std::make_shared<CallbackLink>([&](Batch batch) {
                                                      std::lock_guard lock(mutex);
                                                      queue.push_back(std::move(batch));
                                                      changed.notify_all();
                                                    }));
  std::thread runner([&] {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return stopping || !queue.empty(); });
      if (queue.empty()) return;
      const Batch batch = std::move(queue.front());
      queue.pop_front();
      lock.unlock();
      EXPECT_THAT(scheduler->OnOutput(batch.batch_id, ManualRunner::Rows(batch), true), IsOk());
      lock.lock();
    }
  });
  std::vector<std::thread> callers;
  std::atomic<int> finished = 0;
  for (int c = 0; c < 8; ++c) {
    callers.emplace_back([&, c] {
      for (int round = 0; round < 20; ++round) {
        std::stop_source stop;
        const RequestContext context{stop.get_token()};
        RunnerSession session(scheduler);
        if (!session.Reserve({2, 50, 0}, "items", context).ok()) continue;
        if ((c + round) % 5 == 0) stop.request_stop();
        const auto rows = session.Evaluate({Append(session, 40), Append(session, 1)}, context);
        if (!rows.ok()) continue;
        EXPECT_THAT((*rows)[0].logits(), ElementsAre(39, 0, 0, 0));
        EXPECT_THAT((*rows)[1].logits(), ElementsAre(0, 0, 0, 0));
        ++finished;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  {
    std::lock_guard lock(mutex);
    stopping = true;
  }
  changed.notify_all();
  runner.join();
  EXPECT_GE(finished, 8 * 20 * 4 / 5);
}

}  // namespace
}  // namespace logitd::server
