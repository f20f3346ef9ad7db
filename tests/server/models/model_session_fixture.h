// Sessions of a model whose runners a test adds and loses.
#ifndef LOGITD_TESTS_SERVER_MODELS_MODEL_SESSION_FIXTURE_H_
#define LOGITD_TESTS_SERVER_MODELS_MODEL_SESSION_FIXTURE_H_

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "core/errors.h"
#include "server/models/model_pool.h"
#include "server/models/model_session.h"
#include "tests/server/models/runner_doubles.h"
#include "tests/testing/matchers.h"

namespace logitd::server {

using Tokens = std::vector<TokenId>;

inline constexpr RunnerCapacity kCapacity{16, 1000, 64};

// Appends these tokens, and asks for the last row.
inline void Feed(SequenceWork& work, std::vector<TokenId> tokens) {
  work.append_token_ids = std::move(tokens);
  work.rows.clear();
  work.AskForLast();
}

class ModelSessionTest : public ::testing::Test {
 protected:
  // Adds a runner that is lost at its batch number `lost_at_batch`.
  RememberingRunner& AddRunner(int lost_at_batch = RememberingRunner::kNever, RunnerCapacity capacity = kCapacity) {
    RememberingRunner& runner =
        runners_.emplace_back(Description(), capacity, lost_at_batch, [this](RememberingRunner& lost) { Lose(lost); });
    auto model = pool_.Attach(Description(), RunnerCapabilities{.fork = fork_}, std::make_shared<const Vocabulary>(),
                              runner.runner());
    EXPECT_THAT(model, logitd::testing::IsOk());
    // Written once: other threads read it.
    if (model_ == nullptr) model_ = *model;
    return runner;
  }
  void Lose(RememberingRunner& runner, const RunnerEnd& end = {}) {
    pool_.Detach(model_, runner.runner());
    runner.runner()->OnLost(errors::RunnerLost("m"), end);
  }

  static ModelDescription Description() {
    ModelDescription description;
    description.name = "m";
    description.vocab_size = RememberingRunner::kVocabSize;
    return description;
  }

  // A prompt of three tokens and `n` sequences forked from it, `steps` tokens each, as Generate does it. True: every
  // row was what the sequence's tokens make it.
  void GenerateAndCheck(int n, int steps) {
    ModelSession session(*model_);
    ASSERT_THAT(session.Reserve({n + 1, 3, 3 + n * steps}, "prompt", context_), logitd::testing::IsOk());
    const Tokens prompt = {3, 1, 2};
    const int64_t source = session.NewSequence();
    SequenceWork work;
    work.sequence_id = source;
    work.append_token_ids = prompt;
    work.AskForLast();
    auto rows = session.Evaluate({work}, context_);
    ASSERT_THAT(rows, logitd::testing::IsOk());
    EXPECT_EQ((*rows)[0].logits(), RememberingRunner::Row(prompt, 3));
    std::vector<Tokens> tokens(static_cast<size_t>(n), prompt);
    std::vector<int64_t> ids;
    for (int step = 0; step < steps; ++step) {
      std::vector<SequenceWork> batch;
      for (int i = 0; i < n; ++i) {
        SequenceWork& next = batch.emplace_back();
        if (step == 0) {
          ids.push_back(session.NewSequence());
          next.fork_from_sequence_id = source;
        }
        next.sequence_id = ids[static_cast<size_t>(i)];
        next.append_token_ids = {(i + step) % 4};
        next.AskForLast();
        tokens[static_cast<size_t>(i)].push_back((i + step) % 4);
      }
      rows = session.Evaluate(batch, context_);
      ASSERT_THAT(rows, logitd::testing::IsOk());
      for (int i = 0; i < n; ++i) {
        const Tokens& all = tokens[static_cast<size_t>(i)];
        EXPECT_EQ((*rows)[static_cast<size_t>(i)].logits(), RememberingRunner::Row(all, all.size()));
      }
    }
  }

  bool fork_ = true;
  RequestContext context_;
  ModelPool pool_{[](const std::string&, const std::string&, bool) {}};
  std::shared_ptr<ServedModel> model_;
  std::deque<RememberingRunner> runners_;
};

}  // namespace logitd::server

#endif  // LOGITD_TESTS_SERVER_MODELS_MODEL_SESSION_FIXTURE_H_
