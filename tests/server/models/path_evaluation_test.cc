#include "server/models/path_evaluation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/models/model_pool.h"
#include "tests/server/models/runner_doubles.h"
#include "tests/testing/matchers.h"

namespace logitd::server {
namespace {

using ::logitd::testing::IsOk;
using Tokens = std::vector<TokenId>;

// Keeps what comes, and checks its order.
class Collected : public PathSink {
 public:
  absl::Status OnRecord(size_t path, size_t target, const RowRecord& record) override {
    EXPECT_EQ(target, records[path].size());
    records[path].push_back(record);
    return absl::OkStatus();
  }
  absl::Status OnLogits(size_t path, size_t target, LogitsView row) override {
    EXPECT_EQ(target, rows[path].size());
    rows[path].emplace_back(row.begin(), row.end());
    return absl::OkStatus();
  }
  bool IsWanted(size_t path) override { return !unwanted.contains(path) || records[path].size() < unwanted[path]; }

  std::map<size_t, std::vector<RowRecord>> records;
  std::map<size_t, std::vector<std::vector<float>>> rows;
  // Paths that are not wanted after that many records.
  std::map<size_t, size_t> unwanted;
};

struct Text {
  Tokens context;
  Tokens targets;
};

class PathEvaluationTest : public ::testing::Test {
 protected:
  RememberingRunner& AddRunner(RunnerCapacity capacity = {16, 1000, 64}, CacheSharing sharing = {true, true},
                               int lost_at_batch = RememberingRunner::kNever, RunnerExtras extras = {}) {
    ModelDescription description;
    description.name = "m";
    description.vocab_size = RememberingRunner::kVocabSize;
    description.model_fingerprint = "weights";
    RememberingRunner& runner = runners_.emplace_back(
        description, capacity, lost_at_batch,
        [this](RememberingRunner& lost) {
          pool_.Detach(model_, lost.runner());
          lost.runner()->OnLost(errors::RunnerLost("m"));
        },
        sharing, std::move(extras));
    auto model = pool_.Attach(description, {.fork = sharing.fork, .trim = sharing.trim, .records = true},
                              std::make_shared<const Vocabulary>(), runner.runner());
    EXPECT_THAT(model, IsOk());
    if (model_ == nullptr) model_ = *model;
    return runner;
  }

  // Evaluates, and checks every number. Returns the tokens that were evaluated.
  int64_t Run(const std::vector<Text>& texts, PathOptions options = {}) {
    std::vector<TokenPath> paths;
    for (const Text& text : texts) paths.push_back({text.context, text.targets, {}});
    Collected collected;
    PathEvaluation evaluation(options, *model_, records_, context_, collected);
    EXPECT_THAT(evaluation.Run(paths), IsOk());
    int64_t evaluated = 0;
    for (size_t i = 0; i < texts.size(); ++i) {
      EXPECT_THAT(evaluation.status(i), IsOk());
      evaluated += evaluation.evaluated(i);
      Tokens history = texts[i].context;
      for (size_t t = 0; t < texts[i].targets.size(); ++t) {
        const TokenId target = texts[i].targets[t];
        if (options.as_logits) {
          EXPECT_EQ(collected.rows[i].at(t), RememberingRunner::Row(history, history.size()));
        } else {
          const RowRecord& record = collected.records[i].at(t);
          EXPECT_EQ(record.target_log_prob, RememberingRunner::LogProb(history, history.size(), target));
          EXPECT_EQ(record.argmax, history.back());
          EXPECT_EQ(record.target_rank.has_value(), options.wanted.ranks);
          if (options.wanted.ranks) {
            EXPECT_EQ(*record.target_rank, target + 1);
          }
          EXPECT_EQ(record.named.size(), options.wanted.named_token_ids.size());
          for (size_t k = 0; k < record.named.size(); ++k) {
            EXPECT_EQ(record.named[k].token_id, options.wanted.named_token_ids[k]);
          }
        }
        history.push_back(target);
      }
    }
    return evaluated;
  }
  static int64_t Needed(const std::vector<Text>& texts) {
    std::vector<TokenPath> paths;
    for (const Text& text : texts) paths.push_back({text.context, text.targets, {}});
    return FedTokens(paths);
  }
  static Tokens Random(std::mt19937& random, size_t count) {
    Tokens tokens(count);
    for (TokenId& token : tokens) token = static_cast<TokenId>(random() % 4);
    return tokens;
  }

  // Options of paths that are evaluated by themselves, on a runner of kPlatform.
  PathOptions Isolated() const {
    PathOptions options;
    options.scope.is_private = true;
    options.scope.isolated_on = kPlatform;
    return options;
  }

  const RunnerPlatform kPlatform{"r 1", 2, "x86-64-v3"};
  const RunnerExtras kIsolates{.can_isolate = true, .platform = kPlatform};
  RequestContext context_;
  RecordCache records_{1 << 20};
  ModelPool pool_{[](const std::string&, const std::string&, bool) {}};
  std::shared_ptr<ServedModel> model_;
  std::deque<RememberingRunner> runners_;
};

TEST_F(PathEvaluationTest, ItemsAreEvaluatedOnceAndNeverAgain) {
  RememberingRunner& runner = AddRunner();
  std::mt19937 random(1);
  const Tokens context = Random(random, 60);
  std::vector<Text> texts = {{context, {0, 1, 2}}, {context, {0, 1, 3}}, {context, {2}}, {context, {3, 3}}};
  EXPECT_EQ(Needed(texts), 60 + 2 + 1);
  EXPECT_EQ(Run(texts), 63);
  EXPECT_EQ(runner.token_count(), 63);
  EXPECT_EQ(Run(texts), 0);
  EXPECT_EQ(runner.token_count(), 63);
  // A new candidate has its own tokens evaluated: the context's last one for its first row, then all but its last.
  texts.push_back({context, {1, 2, 3, 0}});
  EXPECT_EQ(Run(texts), 4);
  EXPECT_EQ(runner.token_count(), 67);
}

TEST_F(PathEvaluationTest, AThousandCandidatesOfOneTokenCostOneContext) {
  AddRunner();
  std::vector<Text> texts;
  for (TokenId token = 0; token < 1000; ++token) texts.push_back({{1, 2, 3}, {token}});
  EXPECT_EQ(Run(texts, {.wanted = {.ranks = true}}), 3);
}

TEST_F(PathEvaluationTest, TenantsShareNothing) {
  AddRunner();
  const std::vector<Text> texts = {{Tokens(50, 1), {2, 3}}};
  EXPECT_EQ(Run(texts, {.scope = {"a", false}}), 51);
  EXPECT_EQ(Run(texts, {.scope = {"b", false}}), 51);
  EXPECT_EQ(Run(texts, {.scope = {"", true}}), 51);
  EXPECT_EQ(Run(texts, {.scope = {"", true}}), 51);
  EXPECT_EQ(Run(texts), 51);
  EXPECT_EQ(Run(texts, {.scope = {"b", false}}), 0);
}

TEST_F(PathEvaluationTest, OtherOptionsOfRecordsFindTheRunnersCache) {
  AddRunner();
  const std::vector<Text> texts = {{Tokens(50, 1), {2, 3}}, {Tokens(50, 1), {0}}};
  EXPECT_EQ(Run(texts), 51);
  // The rows are needed again: one token for each.
  EXPECT_EQ(Run(texts, {.wanted = {.named_token_ids = {3, 1}, .ranks = true}}), 2);
  EXPECT_EQ(Run(texts, {.wanted = {.named_token_ids = {1}, .ranks = true}}), 0);
  EXPECT_EQ(Run(texts, {.as_logits = true, .rows_at_once = 1}), 2);
}

TEST_F(PathEvaluationTest, APathThatIsNotWantedAnyMoreIsNotEvaluated) {
  RememberingRunner& runner = AddRunner();
  const Tokens context(20, 1);
  const std::vector<Text> texts = {{context, Tokens(30, 2)}, {context, Tokens(30, 3)}};
  std::vector<TokenPath> paths;
  for (const Text& text : texts) paths.push_back({text.context, text.targets, {}});
  Collected collected;
  collected.unwanted[1] = 4;
  const PathOptions options{.rows_at_once = 4};
  PathEvaluation evaluation(options, *model_, records_, context_, collected);
  EXPECT_THAT(evaluation.Run(paths), IsOk());
  EXPECT_EQ(collected.records[0].size(), 30u);
  // Its first row comes with the context, the next four in its first portion.
  EXPECT_THAT(collected.records[1].size(), ::testing::AllOf(::testing::Ge(4u), ::testing::Le(5u)));
  EXPECT_LE(runner.token_count(), 20 + 29 + 4);
}

struct Kind {
  CacheSharing sharing;
  bool as_logits;
  size_t rows_at_once;
  bool is_private;
  RunnerCapacity capacity;
};

class RandomPathsTest : public PathEvaluationTest, public ::testing::WithParamInterface<Kind> {};

TEST_P(RandomPathsTest, EveryNumberIsRightAndNothingIsEvaluatedTwice) {
  const Kind& kind = GetParam();
  RememberingRunner& runner = AddRunner(kind.capacity, kind.sharing);
  std::mt19937 random(7);
  PathOptions options;
  options.as_logits = kind.as_logits;
  options.rows_at_once = kind.rows_at_once;
  options.scope.is_private = kind.is_private;
  int64_t before = 0;
  for (int round = 0; round < 60; ++round) {
    std::vector<Text> texts;
    const size_t contexts = 1 + random() % 4;
    for (size_t c = 0; c < contexts; ++c) {
      const Tokens context = Random(random, 1 + random() % 40);
      const size_t count = 1 + random() % (round % 10 == 0 ? 60 : 6);
      for (size_t i = 0; i < count; ++i) texts.push_back({context, Random(random, 1 + random() % 5)});
    }
    const int64_t evaluated = Run(texts, options);
    if (HasFatalFailure() || HasNonfatalFailure()) return;
    EXPECT_EQ(runner.token_count() - before, evaluated);
    before = runner.token_count();
    // In a cache with room for little else, paths that did not fit begin again.
    if (kind.sharing.trim && !kind.as_logits && kind.capacity.max_sequences >= 16) {
      EXPECT_LE(evaluated, Needed(texts));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Runners, RandomPathsTest,
                         ::testing::Values(Kind{{true, true}, false, SIZE_MAX, false, {16, 1000, 64}},
                                           Kind{{true, true}, false, 2, false, {16, 1000, 64}},
                                           Kind{{true, true}, true, 3, false, {16, 1000, 64}},
                                           Kind{{true, true}, false, SIZE_MAX, true, {16, 1000, 64}},
                                           Kind{{true, false}, false, SIZE_MAX, false, {16, 1000, 64}},
                                           Kind{{true, false}, true, 2, false, {8, 300, 16}},
                                           Kind{{false, false}, false, SIZE_MAX, false, {16, 1000, 64}},
                                           Kind{{false, false}, true, 2, false, {1, 60, 16}},
                                           Kind{{true, true}, false, SIZE_MAX, false, {2, 60, 16}},
                                           Kind{{true, true}, false, 1, true, {4, 90, 16}},
                                           Kind{{true, true}, false, SIZE_MAX, false, {1, 60, 16}}));

// Sessions of many threads, in a cache that is too small for all of them: nothing is wrong, lost or stuck.
TEST_F(PathEvaluationTest, ThreadsShareASmallCache) {
  RememberingRunner& runner = AddRunner({8, 200, 32});
  std::mt19937 contexts(5);
  std::vector<Tokens> known;
  for (int i = 0; i < 6; ++i) known.push_back(Random(contexts, 20 + contexts() % 60));
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int round = 0; round < 40; ++round) {
        std::vector<Text> texts;
        const Tokens& context = known[random() % known.size()];
        for (int i = 0; i < 3; ++i) texts.push_back({context, Random(random, 1 + random() % 6)});
        PathOptions options;
        options.scope = {random() % 4 == 0 ? "b" : "", random() % 5 == 0};
        Run(texts, options);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(runner.most_open_sequences(), 8u);
}

// Equal beginnings that are on their way at the same time are evaluated once.
TEST_F(PathEvaluationTest, CallsAtOnceWaitForEachOthersTokens) {
  RememberingRunner& runner = AddRunner({32, 8000, 64});
  const Tokens context(900, 1);
  std::vector<std::thread> threads;
  for (TokenId t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] { Run({{context, {t % 4, t / 4, 2, 3}}}); });
  }
  for (std::thread& thread : threads) thread.join();
  // Each has the context's last token again for its first row, and three tokens of its own.
  EXPECT_LE(runner.token_count(), 900 + 8 * 4);
  EXPECT_GE(runner.token_count(), 900 + 8);
}

TEST_F(PathEvaluationTest, ARunnerThatHasTheContextIsPreferred) {
  RememberingRunner& first = AddRunner();
  RememberingRunner& second = AddRunner();
  const Tokens context(100, 1);
  EXPECT_EQ(Run({{context, {0, 1}}}), 101);
  // Its load is larger now, but not by half a cache.
  ModelSession busy(*model_);
  ASSERT_THAT(busy.Reserve({1, 300, 300}, "prompt", context_), IsOk());
  EXPECT_EQ(Run({{context, {2, 1}}}), 2);
  EXPECT_EQ(first.token_count(), 103);
  EXPECT_EQ(second.token_count(), 0);
  EXPECT_EQ(model_->kept().sequences, 2);
  EXPECT_EQ(Run({{Tokens(100, 2), {2, 1}}}), 101);
  EXPECT_EQ(second.token_count(), 101) << "the other has less to do";
}

TEST_F(PathEvaluationTest, IsolatedPathsShareNothing) {
  RememberingRunner& runner = AddRunner({16, 1000, 512}, {true, true}, RememberingRunner::kNever, kIsolates);
  std::mt19937 random(3);
  const Tokens context = Random(random, 150);
  // The last two have the same fed tokens, and different targets.
  const std::vector<Text> texts = {{context, {0, 1, 2}}, {context, {0, 1}}, {context, {3}}, {context, {2}}};
  EXPECT_EQ(Run(texts), Needed({texts[0]}));
  for (int round = 0; round < 2; ++round) {
    const size_t before = runner.isolated_batches().size();
    EXPECT_EQ(Run(texts, Isolated()), 152 + 151 + 150) << "whatever was evaluated before";
    const auto batches = runner.isolated_batches();
    EXPECT_EQ(batches.size(), before + 3);
    for (const auto& [sequence_id, sizes] : batches) {
      EXPECT_THAT(sizes, ::testing::ElementsAre(64, 64, ::testing::AllOf(::testing::Ge(22), ::testing::Le(24))));
    }
  }
  EXPECT_EQ(Run({{context, {0, 1, 2, 3}}}), 1) << "the cache that others use is as it was";
  EXPECT_THAT(runner.isolation_faults(), ::testing::IsEmpty());
}

// Logits come in portions. The batches are those of records all the same, and so they are on another runner.
TEST_F(PathEvaluationTest, IsolatedBatchesDoNotDependOnTheFormOfRowsNorOnLosses) {
  std::mt19937 random(4);
  const Text text = {Random(random, 100), Random(random, 250)};
  for (const int lost_at_batch : {RememberingRunner::kNever, 0, 1, 3, 5}) {
    SCOPED_TRACE(lost_at_batch);
    model_ = nullptr;
    AddRunner({4, 1000, 512}, {false, false}, lost_at_batch, kIsolates);
    RememberingRunner& second = AddRunner({4, 1000, 512}, {false, false}, RememberingRunner::kNever, kIsolates);
    PathOptions options = Isolated();
    options.as_logits = true;
    options.rows_at_once = 16;
    EXPECT_GE(Run({text}, options), 349);
    int64_t begun = 0;
    for (RememberingRunner& runner : runners_) {
      EXPECT_THAT(runner.isolation_faults(), ::testing::IsEmpty());
      begun += std::ssize(runner.isolated_batches());
      if (&runner == &second && lost_at_batch != RememberingRunner::kNever) {
        EXPECT_THAT(runner.isolated_batches().begin()->second, ::testing::ElementsAre(64, 64, 64, 64, 64, 29));
      }
    }
    EXPECT_GE(begun, 1);
    for (RememberingRunner& runner : runners_) pool_.Detach(model_, runner.runner());
    runners_.clear();
  }
}

TEST_F(PathEvaluationTest, IsolatedPathsTakeTurnsWithEachOtherAndWithTheRest) {
  RememberingRunner& runner = AddRunner({8, 600, 128}, {true, true}, RememberingRunner::kNever, kIsolates);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int round = 0; round < 30; ++round) {
        PathOptions options = t % 2 == 0 ? Isolated() : PathOptions();
        options.as_logits = random() % 3 == 0;
        if (options.as_logits) options.rows_at_once = 7;
        Run({{Random(random, 1 + random() % 100), Random(random, 1 + random() % 90)}}, options);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(runner.isolation_faults(), ::testing::IsEmpty());
  EXPECT_EQ(runner.isolated_batches().size(), 4u * 30);
}

TEST_F(PathEvaluationTest, IsolatedSessionsGoToTheRunnerWithFewest) {
  RememberingRunner& first = AddRunner({4, 1000, 512}, {false, false}, RememberingRunner::kNever, kIsolates);
  RememberingRunner& second = AddRunner({4, 1000, 512}, {false, false}, RememberingRunner::kNever, kIsolates);
  ModelSession busy(*model_, Isolated().scope);
  ASSERT_THAT(busy.Reserve({1, 10, 10}, "prompt", context_), IsOk());
  EXPECT_EQ(Run({{Tokens(10, 1), {1}}}, Isolated()), 10);
  EXPECT_EQ(first.token_count(), 0);
  EXPECT_EQ(second.token_count(), 10);
}

TEST_F(PathEvaluationTest, OnlyRunnersOfOnePlatformIsolate) {
  const auto isolate = [&] {
    Collected collected;
    const PathOptions options = Isolated();
    PathEvaluation evaluation(options, *model_, records_, context_, collected);
    const Tokens context = {1}, targets = {2};
    return evaluation.Run(std::vector<TokenPath>{{context, targets, {}}});
  };
  RememberingRunner& plain = AddRunner({4, 1000, 512}, {false, false});
  EXPECT_EQ(DetailOf(model_->IsolatingPlatform().status()).reason, ErrorReason::kNotReproducible);
  EXPECT_EQ(DetailOf(isolate()).reason, ErrorReason::kNotReproducible);
  RememberingRunner& able = AddRunner({4, 1000, 512}, {false, false}, RememberingRunner::kNever, kIsolates);
  EXPECT_EQ(*model_->IsolatingPlatform(), kPlatform);
  EXPECT_EQ(model_->platform(), std::nullopt) << "the other one does not say";
  for (int i = 0; i < 5; ++i) EXPECT_THAT(isolate(), IsOk());
  EXPECT_EQ(able.token_count(), 5);
  EXPECT_EQ(plain.token_count(), 0);
  RunnerExtras other = kIsolates;
  other.platform->threads = 3;
  AddRunner({4, 1000, 512}, {false, false}, RememberingRunner::kNever, other);
  EXPECT_THAT(DetailOf(model_->IsolatingPlatform().status()).message,
              ::testing::HasSubstr("r 1 with 2 threads for x86-64-v3, and r 1 with 3 threads"));
  pool_.Detach(model_, able.runner());
  EXPECT_THAT(DetailOf(isolate()).message, ::testing::HasSubstr("no runner is left that is r 1 with 2 threads"));
}

TEST_F(PathEvaluationTest, ALostRunnerIsNotNoticed) {
  AddRunner({16, 1000, 16}, {true, true}, /*lost_at_batch=*/3);
  RememberingRunner& second = AddRunner({16, 1000, 16});
  std::mt19937 random(2);
  const Tokens context = Random(random, 60);
  EXPECT_LE(Run({{context, {0, 1, 2}}, {context, {0, 3, 3}}, {context, {2, 2}}}), 64);
  EXPECT_GT(second.token_count(), 0);
}

}  // namespace
}  // namespace logitd::server
