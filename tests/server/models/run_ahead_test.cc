// Work that goes on from what the runner chooses in the batch before, and batches of several kinds of work.
#include <future>
#include <thread>
#include <utility>
#include <vector>

#include "core/errors.h"
#include "tests/server/models/manual_runner.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using logitd::testing::HasReason;
using logitd::testing::IsOk;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// Work of which the last appended token is chosen from, and what goes on from it.
SequenceWork Chosen(RunnerSession& session) {
  SequenceWork work = Append(session, 1);
  work.rows.clear();
  work.AskForLast(ChoiceWanted{.decoder_id = session.NewSequence()});
  return work;
}
std::vector<SequenceWork> Ahead(const std::vector<SequenceWork>& work) {
  std::vector<SequenceWork> ahead;
  for (const SequenceWork& before : work) {
    SequenceWork& next = ahead.emplace_back();
    next.sequence_id = before.sequence_id;
    const auto choice = std::get<ChoiceWanted>(before.rows.front().form);
    next.append_chosen = choice.decoder_id;
    next.AskForLast(choice);
  }
  return ahead;
}

// Every piece's choice is `token`; those that run ahead from stop tokens are skipped.
absl::Status Choose(ManualRunner& runner, const Batch& batch, TokenId token) {
  std::vector<PieceOutput> outputs;
  for (const SequenceWork& piece : batch.work) {
    PieceOutput& output = outputs.emplace_back();
    output.sequence_id = piece.sequence_id;
    output.row_count = 1;
    output.rows.choice.emplace().token.emplace().token_id = token;
  }
  return runner.scheduler()->OnOutput(batch.batch_id, std::move(outputs), true);
}

TEST(RunAheadTest, WorkThatRunsAheadIsSentBeforeTheBatchIsAnswered) {
  ManualRunner runner;
  RunnerSession session(runner.scheduler());
  RunnerSession other(runner.scheduler());
  const std::vector<SequenceWork> work = {Chosen(session), Chosen(session)};
  std::thread caller([&] {
    auto rows = session.Evaluate(work, RequestContext(), Ahead(work));
    for (TokenId token = 1; token <= 3; ++token) {
      ASSERT_THAT(rows, IsOk());
      ASSERT_THAT(*rows, SizeIs(2));
      EXPECT_EQ((*rows)[1].requests[0].choice->token->token_id, token);
      if (token < 3)
        rows = session.EvaluateAhead(RequestContext(), token < 2 ? Ahead(work) : std::vector<SequenceWork>());
    }
  });
  const Batch first = runner.Next();
  const Batch second = runner.Next();
  EXPECT_GT(second.batch_id, first.batch_id);
  ASSERT_THAT(second.work, SizeIs(2));
  EXPECT_EQ(second.work[0].append_chosen, Ahead(work)[0].append_chosen);
  EXPECT_THAT(second.work[0].append_token_ids, IsEmpty());
  EXPECT_EQ(second.work[0].rows[0].first_row, 0);
  EXPECT_THAT(Choose(runner, second, 2), HasReason(ErrorReason::kRunnerProtocol)) << "the first one's turn";
  // Whoever comes now is in the next batch, and does not wait for the session to run ahead again.
  std::thread newcomer([&] { EXPECT_THAT(other.Evaluate({Append(other, 1)}, RequestContext()), IsOk()); });
  runner.WaitUntilWaiting(1);
  EXPECT_THAT(Choose(runner, first, 1), IsOk());
  const Batch third = runner.Next();
  EXPECT_THAT(third.work, SizeIs(3));
  EXPECT_THAT(Choose(runner, second, 2), IsOk());
  std::vector<PieceOutput> outputs;
  for (const SequenceWork& piece : third.work) {
    PieceOutput& output = outputs.emplace_back();
    output.sequence_id = piece.sequence_id;
    output.row_count = 1;
    if (piece.append_chosen) {
      output.rows.choice.emplace().token.emplace().token_id = 3;
    } else {
      output.rows.logits = std::make_shared<std::vector<float>>(kVocabSize);
    }
  }
  EXPECT_THAT(runner.scheduler()->OnOutput(third.batch_id, outputs, true), IsOk());
  caller.join();
  newcomer.join();
}

TEST(RunAheadTest, RunnerOfOneBatchAndSessionThatIsAloneAreNotSentTheNext) {
  for (const bool is_alone : {false, true}) {
    RunnerCapacity capacity{8, 1000, 100};
    if (!is_alone) capacity.max_batches_in_flight = 1;
    ManualRunner runner(capacity);
    RunnerSession session(runner.scheduler());
    if (is_alone) session.SetAlone(true, false);
    const std::vector<SequenceWork> work = {Chosen(session)};
    std::thread caller([&] {
      EXPECT_THAT(session.Evaluate(work, RequestContext(), Ahead(work)), IsOk());
      EXPECT_THAT(session.EvaluateAhead(RequestContext()), IsOk());
    });
    const Batch first = runner.Next();
    runner.WaitUntilWaiting(1);
    EXPECT_THAT(Choose(runner, first, 1), IsOk());
    EXPECT_THAT(Choose(runner, runner.Next(), 2), IsOk());
    caller.join();
  }
}

// A session that is alone is sent only when nothing else is there, although others would run ahead.
TEST(RunAheadTest, NothingRunsAheadBesideASessionThatIsAlone) {
  ManualRunner runner;
  RunnerSession session(runner.scheduler());
  RunnerSession alone(runner.scheduler());
  alone.SetAlone(true, false);
  const std::vector<SequenceWork> work = {Chosen(session)};
  std::promise<void> go_on;
  std::thread caller([&] {
    EXPECT_THAT(session.Evaluate(work, RequestContext(), Ahead(work)), IsOk());
    go_on.get_future().wait();
    EXPECT_THAT(session.EvaluateAhead(RequestContext(), Ahead(work)), IsOk());
    EXPECT_THAT(session.EvaluateAhead(RequestContext()), IsOk());
  });
  const Batch first = runner.Next();
  const Batch second = runner.Next();
  std::thread suspect([&] { EXPECT_THAT(alone.Evaluate({Append(alone, 1)}, RequestContext()), IsOk()); });
  runner.WaitUntilWaiting(1);
  go_on.set_value();
  EXPECT_THAT(Choose(runner, first, 1), IsOk());
  runner.WaitUntilWaiting(2);
  EXPECT_THAT(Choose(runner, second, 2), IsOk());
  const Batch third = runner.Next();
  ASSERT_THAT(third.work, SizeIs(1));
  EXPECT_FALSE(third.work[0].append_chosen) << "it is the turn of the one that is alone, and nothing goes with it";
  EXPECT_THAT(runner.Answer(third), IsOk());
  EXPECT_THAT(Choose(runner, runner.Next(), 3), IsOk());
  suspect.join();
  caller.join();
}

TEST(RunAheadTest, SkippedEntriesAndThoseThatMayNotBe) {
  ManualRunner runner;
  RunnerSession session(runner.scheduler());
  const std::vector<SequenceWork> work = {Chosen(session), Chosen(session)};
  absl::StatusOr<std::vector<SequenceRows>> rows;
  std::thread caller([&] {
    EXPECT_THAT(session.Evaluate(work, RequestContext(), Ahead(work)), IsOk());
    rows = session.EvaluateAhead(RequestContext());
  });
  const Batch first = runner.Next();
  const Batch second = runner.Next();
  EXPECT_THAT(Choose(runner, first, 1), IsOk());
  PieceOutput skipped{.sequence_id = second.work[0].sequence_id, .skipped = true};
  PieceOutput chosen{.sequence_id = second.work[1].sequence_id, .row_count = 1};
  chosen.rows.choice.emplace().token.emplace().token_id = 2;
  EXPECT_THAT(runner.scheduler()->OnOutput(second.batch_id, {skipped}, false), IsOk());
  EXPECT_THAT(runner.scheduler()->OnOutput(second.batch_id, {skipped}, false), HasReason(ErrorReason::kRunnerProtocol))
      << "twice";
  PieceOutput after = chosen;
  after.sequence_id = skipped.sequence_id;
  EXPECT_THAT(runner.scheduler()->OnOutput(second.batch_id, {after}, false), HasReason(ErrorReason::kRunnerProtocol))
      << "rows of what was skipped";
  EXPECT_THAT(runner.scheduler()->OnOutput(second.batch_id, {chosen}, true), IsOk());
  caller.join();
  ASSERT_THAT(rows, IsOk());
  EXPECT_TRUE((*rows)[0].skipped);
  EXPECT_FALSE((*rows)[1].skipped);
  EXPECT_EQ((*rows)[1].requests[0].choice->token->token_id, 2);
}

TEST(RunAheadTest, WhatIsAheadIsGivenUpWithItsSession) {
  ManualRunner runner;
  std::vector<int64_t> ids;
  {
    RunnerSession session(runner.scheduler());
    const std::vector<SequenceWork> work = {Chosen(session)};
    ids.push_back(work[0].sequence_id);
    std::thread caller([&] { EXPECT_THAT(session.Evaluate(work, RequestContext(), Ahead(work)), IsOk()); });
    const Batch first = runner.Next();
    const Batch second = runner.Next();
    EXPECT_THAT(Choose(runner, first, 1), IsOk());
    caller.join();
  }
  EXPECT_EQ(runner.cancelled(), ids);
  // A runner that is lost makes suspects of all that it has, also of what was ahead.
  RunnerSession session(runner.scheduler());
  EXPECT_EQ(runner.scheduler()->waiting_count(), 0u);
}

TEST(RunAheadTest, LostRunnerMakesSuspectsOfBothBatches) {
  ManualRunner runner;
  RunnerSession session(runner.scheduler());
  RunnerSession other(runner.scheduler());
  const std::vector<SequenceWork> work = {Chosen(session)};
  std::thread caller([&] {
    EXPECT_THAT(session.Evaluate(work, RequestContext(), Ahead(work)), HasReason(ErrorReason::kRunnerLost));
    EXPECT_FALSE(session.has_ahead());
  });
  runner.Next();
  runner.Next();
  std::thread waits(
      [&] { EXPECT_THAT(other.Evaluate({Append(other, 1)}, RequestContext()), HasReason(ErrorReason::kRunnerLost)); });
  runner.WaitUntilWaiting(1);
  runner.scheduler()->OnLost(errors::RunnerLost("manual"), "SIGSEGV");
  caller.join();
  waits.join();
  EXPECT_EQ(session.suspicion(), Suspicion::kSuspect);
  EXPECT_EQ(other.suspicion(), Suspicion::kBystander);
}

// Who runs ahead would be in every batch, and the long piece in every other one.
TEST(RunAheadTest, NothingRunsAheadWhileALongPieceIsRead) {
  ManualRunner runner({8, 1000, 8});
  RunnerSession session(runner.scheduler());
  RunnerSession reader(runner.scheduler());
  std::thread reading([&] { EXPECT_THAT(reader.Evaluate({Append(reader, 12)}, RequestContext()), IsOk()); });
  const Batch first = runner.Next();
  ASSERT_THAT(first.work, SizeIs(1));
  EXPECT_THAT(first.work[0].append_token_ids, SizeIs(8));
  const std::vector<SequenceWork> work = {Chosen(session)};
  std::thread caller([&] {
    EXPECT_THAT(session.Evaluate(work, RequestContext(), Ahead(work)), IsOk());
    EXPECT_THAT(session.EvaluateAhead(RequestContext()), IsOk());
  });
  // The end of the long piece, the step, and what goes on from that.
  runner.WaitUntilWaiting(3);
  EXPECT_THAT(runner.Answer(first), IsOk());
  const Batch second = runner.Next();
  // Now that the long piece is all there, the next batch is sent ahead.
  const Batch third = runner.Next();
  ASSERT_THAT(third.work, SizeIs(1));
  EXPECT_TRUE(third.work[0].append_chosen);
  std::vector<PieceOutput> outputs;
  for (const SequenceWork& piece : second.work) {
    PieceOutput& output = outputs.emplace_back();
    output.sequence_id = piece.sequence_id;
    output.row_count = 1;
    if (piece.sequence_id == work[0].sequence_id) {
      output.rows.choice.emplace().token.emplace().token_id = 1;
    } else {
      output.rows.logits = std::make_shared<std::vector<float>>(kVocabSize);
    }
  }
  EXPECT_THAT(runner.scheduler()->OnOutput(second.batch_id, std::move(outputs), true), IsOk());
  EXPECT_THAT(Choose(runner, third, 2), IsOk());
  reading.join();
  caller.join();
}

TEST(RunAheadTest, StepsOfUnknownTimeGoAloneAndThenWithAShortPieceOfAPrompt) {
  ManualRunner runner;
  RunnerSession before(runner.scheduler());
  RunnerSession reader(runner.scheduler());
  RunnerSession stepper(runner.scheduler());
  // Something is on its way, so that the others gather.
  std::thread first([&] { EXPECT_THAT(before.Evaluate({Append(before, 1)}, RequestContext()), IsOk()); });
  const Batch busy = runner.Next();
  std::thread reading([&] { EXPECT_THAT(reader.Evaluate({Append(reader, 40)}, RequestContext()), IsOk()); });
  runner.WaitUntilWaiting(1);
  SequenceWork step = Append(stepper, 1);
  step.is_step = true;
  std::thread stepping([&] {
    EXPECT_THAT(stepper.Evaluate({step}, RequestContext()), IsOk());
    EXPECT_THAT(stepper.Evaluate({step}, RequestContext()), IsOk());
  });
  runner.WaitUntilWaiting(2);
  EXPECT_THAT(runner.Answer(busy), IsOk());
  const Batch alone = runner.Next();
  ASSERT_THAT(alone.work, SizeIs(1));
  EXPECT_EQ(alone.work[0].sequence_id, step.sequence_id);
  EXPECT_THAT(runner.Answer(alone), IsOk());
  size_t read = 0;
  bool stepped = false;
  while (read < 40 || !stepped) {
    const Batch batch = runner.Next();
    ASSERT_FALSE(batch.work.empty());
    for (const SequenceWork& piece : batch.work) {
      if (piece.sequence_id == step.sequence_id) {
        stepped = true;
      } else {
        EXPECT_TRUE(read > 0 || piece.append_token_ids.size() <= 16) << "nothing is known of a token's time";
        read += piece.append_token_ids.size();
      }
    }
    EXPECT_THAT(runner.Answer(batch), IsOk());
  }
  for (std::thread* thread : {&first, &reading, &stepping}) thread->join();
}

}  // namespace
}  // namespace logitd::server
