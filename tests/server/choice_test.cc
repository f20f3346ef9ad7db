// Tokens that the runner chooses: the same replies, byte for byte, as from rows over the wire.
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/server/in_process.h"

namespace logitd::server {
namespace {

using logitd::testing::AttachedFakeModel;
using logitd::testing::Describe;
using logitd::testing::FakeModelOptions;
using logitd::testing::kFakeVocabSize;
using logitd::testing::Parse;

// The same for the same seed on every machine.
class Chance {
 public:
  explicit Chance(uint64_t seed) : bits_(seed) {}
  int Below(int n) { return static_cast<int>(bits_() % static_cast<uint64_t>(n)); }
  bool OneIn(int n) { return Below(n) == 0; }
  double Between(double least, double most) {
    return least + (most - least) * static_cast<double>(bits_() >> 11) / 9007199254740992.0;
  }

 private:
  std::mt19937_64 bits_;
};

v1::SamplingParams RandomSampling(Chance& chance) {
  v1::SamplingParams sampling;
  if (!chance.OneIn(4)) sampling.set_temperature(chance.OneIn(3) ? 0 : chance.Between(0.3, 2.5));
  if (!chance.OneIn(8)) sampling.set_seed(static_cast<uint64_t>(chance.Below(1 << 30)) << 20);
  // One that is drawn by the server differs from run to run.
  if (!sampling.has_seed()) sampling.set_seed(0);
  if (chance.OneIn(3)) sampling.set_top_k(1 + chance.Below(80));
  if (chance.OneIn(3)) sampling.set_top_p(chance.Between(0.05, 1));
  if (chance.OneIn(3)) sampling.set_min_p(chance.Between(0, 0.3));
  if (chance.OneIn(4)) sampling.set_typical_p(chance.Between(0.1, 1));
  if (chance.OneIn(4)) sampling.set_epsilon_cutoff(chance.Between(0, 0.02));
  if (chance.OneIn(4)) sampling.set_eta_cutoff(chance.Between(0, 0.02));
  if (chance.OneIn(4)) sampling.set_top_n_sigma(chance.Between(0.2, 3));
  if (chance.OneIn(4)) {
    sampling.mutable_xtc()->set_probability(chance.OneIn(2) ? 1 : 0.5);
    sampling.mutable_xtc()->set_threshold(chance.Between(0.01, 0.4));
  }
  if (chance.OneIn(3)) sampling.set_repetition_penalty(chance.Between(0.7, 2));
  if (chance.OneIn(3)) sampling.set_frequency_penalty(chance.Between(-1, 2));
  if (chance.OneIn(3)) sampling.set_presence_penalty(chance.Between(-1, 2));
  if (chance.OneIn(3)) sampling.set_repetition_scope(static_cast<v1::PenaltyScope>(chance.Below(4)));
  if (chance.OneIn(3)) sampling.set_occurrence_scope(static_cast<v1::PenaltyScope>(chance.Below(4)));
  if (chance.OneIn(4)) sampling.set_penalty_window(chance.Below(12));
  if (chance.OneIn(4)) sampling.set_no_repeat_ngram_size(1 + chance.Below(3));
  if (chance.OneIn(4)) {
    sampling.mutable_dry()->set_multiplier(chance.Between(0.1, 2));
    sampling.mutable_dry()->add_breakers()->add_token_ids(chance.Below(kFakeVocabSize));
  }
  if (chance.OneIn(4)) {
    for (int id = 0; id < kFakeVocabSize; ++id) {
      if (chance.OneIn(2)) sampling.mutable_allowed_tokens()->mutable_ids()->add_token_ids(id);
    }
  }
  if (chance.OneIn(4)) {
    std::string bits(8, '\0');
    for (char& byte : bits) byte = static_cast<char>(chance.Below(256) & chance.Below(256));
    sampling.mutable_banned_tokens()->set_bitmask(bits);
  }
  if (chance.OneIn(4)) {
    v1::LogitBias& bias = *sampling.add_logit_biases();
    bias.set_token_id(chance.Below(kFakeVocabSize));
    bias.set_bias(chance.Between(-5, 5));
  }
  if (chance.OneIn(4)) {
    v1::SequenceBias& bias = *sampling.add_sequence_biases();
    bias.add_token_ids(chance.Below(kFakeVocabSize));
    if (chance.OneIn(2)) bias.add_token_ids(chance.Below(kFakeVocabSize));
    if (chance.OneIn(2)) bias.set_bias(chance.Between(-5, 5));
  }
  return sampling;
}

v1::RecordOptions RandomRecord(Chance& chance) {
  v1::RecordOptions record;
  if (chance.OneIn(6)) record.set_model_log_prob(false);
  if (chance.OneIn(6)) record.set_sampling_log_prob(false);
  record.set_rank(chance.OneIn(2));
  record.set_entropy(chance.OneIn(2));
  record.set_kept_set(chance.OneIn(2));
  record.set_draw(chance.OneIn(2));
  if (chance.OneIn(2)) record.set_top_n(chance.OneIn(4) ? kFakeVocabSize : chance.Below(6));
  record.set_packed_top(chance.OneIn(3));
  for (int i = chance.Below(3); i > 0; --i) record.add_named_token_ids(chance.Below(kFakeVocabSize));
  if (chance.OneIn(5)) record.set_token_bytes(false);
  if (chance.OneIn(5)) record.set_layout(v1::RECORD_LAYOUT_NONE);
  return record;
}

v1::GenerateRequest RandomRequest(uint64_t seed, int most_tokens = 16) {
  Chance chance(seed);
  v1::GenerateRequest request;
  for (int i = 1 + chance.Below(12); i > 0; --i) {
    request.mutable_prompt()->mutable_tokens()->add_token_ids(chance.Below(kFakeVocabSize));
  }
  if (chance.OneIn(3)) request.set_n(2 + chance.Below(5));
  if (chance.OneIn(3)) request.set_first_sequence_key(static_cast<uint64_t>(chance.Below(1 << 20)));
  *request.mutable_sampling() = RandomSampling(chance);
  if (!chance.OneIn(4)) *request.mutable_record() = RandomRecord(chance);
  const int tokens = 1 + chance.Below(most_tokens);
  request.mutable_stop()->set_max_tokens(tokens);
  if (chance.OneIn(3)) request.mutable_stop()->set_min_tokens(chance.Below(tokens + 1));
  if (chance.OneIn(3)) request.mutable_stop()->add_stop_token_ids(chance.Below(kFakeVocabSize));
  request.mutable_stop()->set_ignore_eos(chance.OneIn(2));
  request.set_stream(!chance.OneIn(4));
  return request;
}

class ChoiceTest : public logitd::testing::InProcessServer {
 protected:
  // Everything that came back, as bytes.
  std::string ReplyTo(const v1::GenerateRequest& request) {
    std::vector<v1::GenerateResponse> responses;
    const grpc::Status status = Generate(request, &responses);
    std::string all = Describe(status) + "\n";
    for (v1::GenerateResponse& response : responses) {
      // What was in the cache differs; what would have been evaluated without it does not.
      if (response.has_final()) {
        v1::Usage& usage = *response.mutable_final()->mutable_usage();
        usage.set_evaluated_token_count(usage.evaluated_token_count() + usage.cached_token_count());
        usage.clear_cached_token_count();
      }
      const std::string bytes = response.SerializeAsString();
      all += std::to_string(bytes.size()) + ":" + bytes;
    }
    return all;
  }

  // Of the only model.
  int RunnerCount() {
    v1::ListModelsResponse models;
    EXPECT_TRUE(models_->ListModels(Context().get(), {}, &models).ok());
    return models.models_size() == 1 ? models.models(0).runner_count() : 0;
  }

  // Counts the rows that are asked for, by form.
  FakeModelOptions Counting(
      bool choice, std::function<void()> on_batch = [] {}) {
    FakeModelOptions options;
    options.choice = choice;
    options.before_batch = [this, on_batch](const v1::RunBatch& batch) {
      for (const v1::SequenceWork& work : batch.work()) {
        for (const v1::RowRequest& request : work.rows()) {
          ++(request.has_choice() ? choices_ : request.has_logits() ? logits_ : records_);
        }
      }
      on_batch();
    };
    return options;
  }

  std::atomic<int> choices_ = 0;
  std::atomic<int> logits_ = 0;
  std::atomic<int> records_ = 0;
};

TEST_F(ChoiceTest, RepliesHaveTheBytesOfThoseFromRowsOverTheWire) {
  std::vector<std::string> by_rows;
  Attach(Counting(/*choice=*/false));
  for (uint64_t seed = 0; seed < 100; ++seed) by_rows.push_back(ReplyTo(RandomRequest(seed)));
  EXPECT_EQ(choices_, 0);
  EXPECT_GT(logits_, 300);
  logits_ = 0;
  Attach(Counting(/*choice=*/true));
  int ok = 0;
  for (uint64_t seed = 0; seed < 100; ++seed) {
    const v1::GenerateRequest request = RandomRequest(seed);
    EXPECT_EQ(ReplyTo(request), by_rows[seed]) << seed << ": " << request.ShortDebugString();
    ok += by_rows[seed].rfind("OK", 0) == 0;
  }
  EXPECT_GT(ok, 80) << "most of the requests are good";
  EXPECT_GT(choices_, 300);
  EXPECT_EQ(logits_, 0) << "no row has crossed the wire";
}

TEST_F(ChoiceTest, AFleetThatMixesBothAndLosesOneGivesTheSameBytes) {
  Attach({.choice = false});
  std::vector<std::string> expected;
  for (uint64_t seed = 1000; seed < 1020; ++seed) expected.push_back(ReplyTo(RandomRequest(seed, 40)));
  fake_.reset();
  int changed = 0;
  for (uint64_t seed = 1000; seed < 1020; ++seed) {
    // One of each kind; the first leaves while it works, and the sequence goes on with the other.
    std::atomic<int> batches = 0;
    const bool first_chooses = seed % 2 == 0;
    auto first = std::make_unique<AttachedFakeModel>(server_->runner_address(),
                                                     Counting(first_chooses, [&batches] { ++batches; }));
    ASSERT_TRUE(first->WaitUntilAccepted());
    ASSERT_TRUE(server_->WaitForModel("fake", [] { return false; }));
    std::string reply;
    std::thread caller([&] { reply = ReplyTo(RandomRequest(seed, 40)); });
    while (batches < 2 && reply.empty()) std::this_thread::yield();
    AttachedFakeModel second(server_->runner_address(), Counting(!first_chooses));
    EXPECT_TRUE(second.WaitUntilAccepted());
    while (RunnerCount() < 2) std::this_thread::yield();
    first.reset();
    caller.join();
    EXPECT_EQ(reply, expected[seed - 1000]) << seed;
    changed += second.model().batch_count() > 0;
  }
  EXPECT_GT(changed, 0) << "no sequence has gone on elsewhere";
}

// The runner has one batch and is sent the next when it leaves, at every place of the request.
TEST_F(ChoiceTest, ARunnerLostWithABatchAheadCostsNothing) {
  Attach({.choice = false});
  std::vector<std::string> expected;
  for (uint64_t seed = 2000; seed < 2012; ++seed) expected.push_back(ReplyTo(RandomRequest(seed, 40)));
  fake_.reset();
  int changed = 0;
  for (uint64_t seed = 2000; seed < 2012; ++seed) {
    std::atomic<int> batches = 0;
    std::atomic<bool> is_leaving = false;
    const int last = 1 + static_cast<int>(seed % 6);
    auto first = std::make_unique<AttachedFakeModel>(server_->runner_address(), Counting(/*choice=*/true, [&] {
                                                       // It leaves in the middle of this batch.
                                                       if (++batches == last) is_leaving.wait(false);
                                                     }));
    ASSERT_TRUE(first->WaitUntilAccepted());
    ASSERT_TRUE(server_->WaitForModel("fake", [] { return false; }));
    std::string reply;
    std::atomic<bool> is_done = false;
    std::thread caller([&] {
      reply = ReplyTo(RandomRequest(seed, 40));
      is_done = true;
    });
    while (batches < last && !is_done) std::this_thread::yield();
    AttachedFakeModel second(server_->runner_address(), Counting(/*choice=*/true));
    EXPECT_TRUE(second.WaitUntilAccepted());
    while (RunnerCount() < 2 && !is_done) std::this_thread::yield();
    std::thread leaver([&] { first.reset(); });
    is_leaving = true;
    is_leaving.notify_all();
    leaver.join();
    caller.join();
    EXPECT_EQ(reply, expected[seed - 2000]) << seed;
    changed += second.model().batch_count() > 0;
  }
  EXPECT_GT(changed, 3) << "hardly a sequence has gone on elsewhere";
}

// Decoders with large lists are not sent to the runner for each of many completions: rows are less.
TEST_F(ChoiceTest, ManyLargeDecodersStayInTheServer) {
  Attach(Counting(/*choice=*/true));
  v1::GenerateRequest request;
  request.mutable_prompt()->mutable_tokens()->add_token_ids(5);
  request.mutable_stop()->set_max_tokens(2);
  request.mutable_stop()->set_ignore_eos(true);
  v1::DryPenalty& dry = *request.mutable_sampling()->mutable_dry();
  request.mutable_sampling()->set_seed(1);
  dry.set_multiplier(1);
  for (int i = 0; i < 8191; ++i) {
    v1::TokenIds& breaker = *dry.add_breakers();
    for (int digit = 0; digit < 8; ++digit) breaker.add_token_ids(3 + (i >> (2 * digit)) % 4);
  }
  request.set_n(128);
  EXPECT_EQ(ReplyTo(request).rfind("OK", 0), 0u);
  EXPECT_EQ(choices_, 0);
  EXPECT_GT(logits_, 0);
  logits_ = 0;
  request.set_n(2);
  EXPECT_EQ(ReplyTo(request).rfind("OK", 0), 0u);
  EXPECT_GT(choices_, 0);
  EXPECT_EQ(logits_, 0);
}

TEST_F(ChoiceTest, ACompletionsPromptIsEvaluatedOnceForAllOfThem) {
  logitd::testing::FakeModel& model = Attach(Counting(/*choice=*/true));
  Completions("prompt { tokens { token_ids: [3, 4, 5, 6] } } n: 8 stop { max_tokens: 1 }");
  EXPECT_EQ(model.token_count(), 4);
  EXPECT_EQ(model.row_count(), 1) << "eight choices from one row";
  EXPECT_EQ(choices_, 8);
}

TEST_F(ChoiceTest, ListModelsSaysWhetherAllRunnersChoose) {
  const auto says = [this] {
    v1::ListModelsResponse models;
    EXPECT_TRUE(models_->ListModels(Context().get(), {}, &models).ok());
    return models.models(0).capabilities().has_choice_numerics_version();
  };
  Attach();
  EXPECT_TRUE(says());
  AttachedFakeModel other(server_->runner_address(), {.choice = false});
  ASSERT_TRUE(other.WaitUntilAccepted());
  while (says()) std::this_thread::yield();
}

TEST_F(ChoiceTest, ABadRowIsTheModelsFault) {
  Attach({.outcome = [](std::span<const TokenId> tokens) {
    return tokens.size() == 6 ? logitd::testing::FakeOutcome::kNan : logitd::testing::FakeOutcome::kRow;
  }});
  std::vector<v1::GenerateResponse> responses;
  const grpc::Status status = Generate(
      Parse<v1::GenerateRequest>("prompt { tokens { token_ids: [3, 4, 5] } } stop { max_tokens: 9 ignore_eos: true }"),
      &responses);
  EXPECT_EQ(Describe(status), "MODEL_OUTPUT_INVALID of ");
  EXPECT_NE(status.error_message().find("must be finite or -inf, got nan"), std::string::npos)
      << status.error_message();
}

}  // namespace
}  // namespace logitd::server
