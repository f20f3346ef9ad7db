// One completion of Generate as it grows. Each row, or each token that the runner chose, gives the client's next delta,
// as far as it is certain by then (core/completion_text.h).
#ifndef LOGITD_SERVER_HANDLERS_GROWING_COMPLETION_H_
#define LOGITD_SERVER_HANDLERS_GROWING_COMPLETION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "core/completion_text.h"
#include "core/decoder.h"
#include "core/distribution.h"
#include "core/types.h"
#include "core/vocabulary.h"
#include "logitd/v1/generation_service.pb.h"
#include "server/models/work.h"

namespace logitd::server {

// For one thread.
class GrowingCompletion : public DecoderSource {
 public:
  // `stops`: null: none. `settings`: DecoderStart::settings of `config`. `most_fed`: the longest possible sequence,
  // tokens.
  GrowingCompletion(int32_t index, DecoderConfig config, std::shared_ptr<const StopStrings> stops, SharedTokens prompt,
                    int64_t most_fed, std::shared_ptr<const std::string> settings, const Vocabulary& vocabulary);

  // Takes the row for the next token and returns the delta; one without totals tells nothing, and need not be sent.
  // Errors: MODEL_OUTPUT_INVALID.
  absl::Status Advance(LogitsView row, Distribution& distribution, v1::CompletionDelta& delta);
  // Takes a token that the runner chose instead. Errors: MODEL_OUTPUT_INVALID if the rules cannot choose it.
  absl::Status Accept(const Choice& choice, int32_t vocab_size, v1::CompletionDelta& delta);

  // Ends without another token: kMaxTokens if max_tokens is 0, or kTimeLimit.
  void End(FinishReason reason, v1::CompletionDelta& delta);
  void Fail(const absl::Status& status);
  v1::Completion Take();

  DecoderStart Start() const override { return {settings_, decoder_.sequence().token_ids()}; }

  bool ended() const { return text_.has_ended(); }
  // Whether a token may follow the next one.
  bool MayGoOn() const;
  const absl::Status& failure() const { return failure_; }
  TokenId last_token() const { return decoder_.sequence().token_ids().back(); }
  const std::vector<TokenId>& token_ids() const { return decoder_.sequence().token_ids(); }
  int32_t token_count() const { return decoder_.position(); }

  // The ids of the model's sequence and of its decoder there; 0: not begun.
  int64_t sequence = 0;
  int64_t decoder = 0;
  // The sequence holds tokens beyond the prompt.
  bool is_forked = false;
  // Its sequence lost its room in the cache; it goes on when others have ended.
  bool is_waiting = false;

 private:
  void Take(Step step, v1::CompletionDelta& delta);
  // Puts into the delta, and into the totals, whatever has become certain.
  void Tell(const std::optional<Finish>& finish, v1::CompletionDelta& delta);

  const Vocabulary& vocabulary_;
  const int64_t most_fed_;
  const int64_t prompt_size_;
  const std::shared_ptr<const std::string> settings_;
  Decoder decoder_;
  // Its tokens are all that were chosen; those that a stop string cuts off go at the end.
  v1::Completion message_;
  CompletionText text_;
  // Tokens in deltas so far.
  int32_t told_count_ = 0;
  absl::Status failure_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_GROWING_COMPLETION_H_
