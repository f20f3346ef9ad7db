// A model that is ready for use: its description, its vocabulary and the runners that serve it.
//
// The runners are interchangeable. Work goes to the runner with the most room. When a runner is lost, its work goes to
// another one, or waits for a runner that this server is starting again.
//
// Free of gRPC and protobuf; thread-safe. The pool, the attachments and every request that uses the model share it.
#ifndef LOGITD_SERVER_MODELS_SERVED_MODEL_H_
#define LOGITD_SERVER_MODELS_SERVED_MODEL_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/vocabulary.h"
#include "server/models/attached_runner.h"
#include "server/models/heads.h"
#include "server/models/model_description.h"
#include "server/models/strikes.h"
#include "server/models/tokenization.h"
#include "server/models/tokenizer_facts.h"
#include "server/models/work.h"
#include "server/request_context.h"

namespace logitd::server {

// Times that one request may lose its runner before it fails. Runners that ended by a signal of their own do not count
// here: see strikes.h.
inline constexpr int kMaxLostRunners = 3;

// Whether `status` means that the runner is gone, so that another runner may be tried.
bool IsRunnerLost(const absl::Status& status);

// What makes logits of the rows of a model's runners.
struct ModelHead {
  // Null: rows are logits.
  const NamedHead* named = nullptr;
  const RunnerHead* runner_head = nullptr;
};

class ServedModel {
 public:
  // `head`: set if the description has `hidden`; what it points to outlives the model.
  // `return_time`: how long a request waits for a runner that is being started again.
  ServedModel(ModelDescription description, RunnerCapabilities capabilities,
              std::shared_ptr<const Vocabulary> vocabulary, const ModelHead& head = {},
              std::chrono::milliseconds return_time = std::chrono::seconds(30));

  const ModelDescription& description() const { return description_; }
  const RunnerCapabilities& capabilities() const { return capabilities_; }
  const Vocabulary& vocabulary() const { return *vocabulary_; }
  const std::shared_ptr<const Vocabulary>& shared_vocabulary() const { return vocabulary_; }
  // Null: the runners' rows are logits.
  const NamedHead* head() const { return head_.named; }
  // Replaces the rows of runners, [rows, description().row_width()], by logits, [rows, vocab_size]. Changes nothing
  // without a head. A row that is not finite fails its sequence. Errors: CANCELLED, DEADLINE_EXCEEDED.
  absl::Status MakeLogits(std::vector<SequenceRows>& rows, const RequestContext& context) const;

  // The sizes that each runner has at least; without any runner, those of the last one.
  RunnerCapacity capacity() const;
  // The sizes of all runners together.
  RunnerCapacity total_capacity() const;
  // Whether a sequence of `tokens` tokens fits the cache of some runner, which may hold less than the context length.
  // Errors: LIMIT_EXCEEDED.
  absl::Status CheckFitsACache(int64_t tokens, const std::string& field) const;
  int runner_count() const;
  // Whether all runners choose tokens themselves. False if there are none.
  bool can_choose() const;
  // Whether requests wait for a runner while there is none.
  bool is_expected() const;
  // How far a log-prob may move with its batch, in nats: the largest value that any runner has stated. Runners that
  // have left count too, because requests that go on contain their results. Unset: some runner did not state a value.
  std::optional<double> batch_tolerance_nats() const;

  // The platform of every runner; without any runner, those of the last one. Unset: some runner does not
  // say, or they differ.
  std::optional<RunnerPlatform> platform() const;
  // The platform of the runners that evaluate sequences by themselves; without any runner, that of the last one.
  // Errors: NOT_REPRODUCIBLE.
  absl::StatusOr<RunnerPlatform> IsolatingPlatform() const;

  // The least loaded runner among those that are large enough for `sequences` and `tokens`. Blocks while there is no
  // runner and one is expected. `field`: the request's field that the error names if no runner is large enough.
  // `knows`: whether the runner has much of what the request will evaluate; it is then preferred to one that has half a
  // cache less to do. Null: nobody does.
  // `isolated_on`: set if only runners of this platform serve, which evaluate sequences by themselves.
  // Errors: LIMIT_EXCEEDED; RUNNER_LOST, CANCELLED, DEADLINE_EXCEEDED, NOT_REPRODUCIBLE.
  absl::StatusOr<std::shared_ptr<AttachedRunner>> Pick(
      int32_t sequences, int64_t tokens, const std::string& field, const RequestContext& context,
      const std::function<bool(const AttachedRunner&)>& knows = nullptr,
      const std::optional<RunnerPlatform>& isolated_on = std::nullopt) const;

  // The name under which records of this model's rows are kept: other weights have another one.
  std::string record_scope() const;

  // The sequences that the runners keep after their requests, and their tokens.
  KeptInCache kept() const;

  // Remembers work that has killed runners.
  SuspectMemory& suspects() const { return *suspects_; }

  // As AttachedRunner's functions, on any runner. Errors: also TOKENIZER_UNAVAILABLE.
  absl::StatusOr<std::vector<std::vector<TokenId>>> Tokenize(const std::vector<std::string>& texts,
                                                             const TokenizationOptions& options,
                                                             const RequestContext& context);
  absl::StatusOr<std::vector<std::string>> Detokenize(const std::vector<std::vector<TokenId>>& tokens,
                                                      bool render_special_tokens, const RequestContext& context);
  // Errors: also CHAT_TEMPLATE_UNAVAILABLE.
  absl::StatusOr<RenderedChat> RenderChat(const ChatBytes& chat, const RequestContext& context);

  // The bytes that the tokenizer puts before a text, such as SentencePiece's space. The runner is asked once. Empty: it
  // puts nothing there, or its addition cannot be told from the text. Errors: as Tokenize.
  absl::StatusOr<std::string> TextPrefix(const RequestContext& context);
  // The text that stands for each of these control tokens; empty: none. Taken from the vocabulary where it has the
  // name; else the runner is asked, once per token. Errors: as Detokenize.
  absl::StatusOr<std::vector<std::string>> TokenNames(const std::vector<TokenId>& ids, const RequestContext& context);

  // For the pool. The caller of Remove tells the runner that it is lost.
  void Add(std::shared_ptr<AttachedRunner> runner);
  // Returns whether the runner was one of the model's.
  bool Remove(const std::shared_ptr<AttachedRunner>& runner);
  void SetExpected(bool is_expected);

 private:
  template <typename Call>
  auto OnAnyRunner(const RequestContext& context, Call call);

  const ModelDescription description_;
  const RunnerCapabilities capabilities_;
  const std::shared_ptr<const Vocabulary> vocabulary_;
  const ModelHead head_;
  const std::chrono::milliseconds return_time_;
  const std::unique_ptr<SuspectMemory> suspects_;
  TokenizerFacts facts_;

  mutable std::mutex mutex_;
  mutable std::condition_variable_any changed_;
  std::vector<std::shared_ptr<AttachedRunner>> runners_;
  RunnerCapacity last_capacity_;
  RunnerExtras last_extras_;
  // The largest value that any runner has stated.
  std::optional<double> last_tolerance_nats_;
  bool is_expected_ = false;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_MODELS_SERVED_MODEL_H_
