// A model that can be used: what it is, its tokens' bytes, and the runners that serve it, one or many.
//
// Its runners are interchangeable. What a request asks for goes to the one with the most room; when a runner is lost,
// what it worked on goes to another, or waits for one that this server is starting again.
//
// Free of gRPC and protobuf; thread-safe. Shared: the pool, the attachments and every request that uses it hold it.
#ifndef LOGITD_SERVER_MODELS_SERVED_MODEL_H_
#define LOGITD_SERVER_MODELS_SERVED_MODEL_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/vocabulary.h"
#include "server/models/attached_runner.h"
#include "server/models/model_description.h"
#include "server/models/strikes.h"
#include "server/models/tokenization.h"
#include "server/models/tokenizer_facts.h"
#include "server/request_context.h"

namespace logitd::server {

// How often one request may lose its runner before it fails, runners that ended by a signal of their own left out:
// those are server/models/strikes.h.
inline constexpr int kMaxLostRunners = 3;

// Whether `status` says that the runner is gone, so that another one may be tried.
bool IsRunnerLost(const absl::Status& status);

class ServedModel {
 public:
  // `return_time`: how long a request waits for a runner that is being started again.
  ServedModel(ModelDescription description, RunnerCapabilities capabilities,
              std::shared_ptr<const Vocabulary> vocabulary,
              std::chrono::milliseconds return_time = std::chrono::seconds(30));

  const ModelDescription& description() const { return description_; }
  const RunnerCapabilities& capabilities() const { return capabilities_; }
  const Vocabulary& vocabulary() const { return *vocabulary_; }
  const std::shared_ptr<const Vocabulary>& shared_vocabulary() const { return vocabulary_; }

  // What each of its runners has at least; of the last runner while there is none.
  RunnerCapacity capacity() const;
  // What they have together.
  RunnerCapacity total_capacity() const;
  // Whether a sequence of so many tokens fits the cache of a runner: it may hold less than the context length.
  // Errors: LIMIT_EXCEEDED.
  absl::Status CheckFitsACache(int64_t tokens, const std::string& field) const;
  int runner_count() const;
  // Whether each of its runners chooses tokens itself; false if there is none.
  bool can_choose() const;
  // Whether requests wait for a runner while there is none.
  bool is_expected() const;
  // How far a log-prob may move with what it is batched with, nats: the largest that any of its runners has said, those
  // that have left included, because what they computed is part of requests that go on. Unset: one did not say.
  std::optional<double> batch_tolerance_nats() const;

  // The runner with the least load of those that have so much room altogether. Blocks while there is none and one is
  // expected. `field`: of the request, named if no runner could ever hold it.
  // Errors: LIMIT_EXCEEDED; RUNNER_LOST, CANCELLED, DEADLINE_EXCEEDED.
  absl::StatusOr<std::shared_ptr<AttachedRunner>> Pick(int32_t sequences, int64_t tokens, const std::string& field,
                                                       const RequestContext& context) const;

  // The work that has killed runners.
  SuspectMemory& suspects() const { return *suspects_; }

  // As AttachedRunner's, on any runner. Errors: also TOKENIZER_UNAVAILABLE.
  absl::StatusOr<std::vector<std::vector<TokenId>>> Tokenize(const std::vector<std::string>& texts,
                                                             const TokenizationOptions& options,
                                                             const RequestContext& context);
  absl::StatusOr<std::vector<std::string>> Detokenize(const std::vector<std::vector<TokenId>>& tokens,
                                                      bool render_special_tokens, const RequestContext& context);

  // What the tokenizer puts before a text (SentencePiece: a space), found by asking once. Empty: nothing, or what it
  // puts cannot be told from the text. Errors: as Tokenize.
  absl::StatusOr<std::string> TextPrefix(const RequestContext& context);
  // The text that stands for each of these control tokens; empty: none. Of the vocabulary; what it does not tell, the
  // runner is asked for, once. Errors: as Detokenize.
  absl::StatusOr<std::vector<std::string>> TokenNames(const std::vector<TokenId>& ids, const RequestContext& context);

  // For the pool. A runner that was removed is told so by whoever removes it.
  void Add(std::shared_ptr<AttachedRunner> runner);
  // Whether it was one of them.
  bool Remove(const std::shared_ptr<AttachedRunner>& runner);
  void SetExpected(bool is_expected);

 private:
  template <typename Call>
  auto OnAnyRunner(const RequestContext& context, Call call);

  const ModelDescription description_;
  const RunnerCapabilities capabilities_;
  const std::shared_ptr<const Vocabulary> vocabulary_;
  const std::chrono::milliseconds return_time_;
  const std::unique_ptr<SuspectMemory> suspects_;
  TokenizerFacts facts_;

  mutable std::mutex mutex_;
  mutable std::condition_variable_any changed_;
  std::vector<std::shared_ptr<AttachedRunner>> runners_;
  RunnerCapacity last_capacity_;
  // The largest that any runner has stated.
  std::optional<double> last_tolerance_nats_;
  bool is_expected_ = false;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_SERVED_MODEL_H_
