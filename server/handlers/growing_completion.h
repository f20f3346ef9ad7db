// One completion of Generate as it grows: a row, or a token that the runner chose, in; what is new for the client out.
#ifndef LOGITD_SERVER_HANDLERS_GROWING_COMPLETION_H_
#define LOGITD_SERVER_HANDLERS_GROWING_COMPLETION_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "core/decoder.h"
#include "core/distribution.h"
#include "core/types.h"
#include "core/vocabulary.h"
#include "logitd/v1/generation_service.pb.h"
#include "server/models/work.h"

namespace logitd::server {

// One thread.
class GrowingCompletion : public DecoderSource {
 public:
  // `settings`: DecoderStart::settings of `config`. `most_fed`: the longest that the sequence can become, tokens.
  GrowingCompletion(int32_t index, DecoderConfig config, SharedTokens prompt, int64_t most_fed,
                    std::shared_ptr<const std::string> settings, const Vocabulary& vocabulary);

  // Takes the row for the next token, and says what is new. Errors: MODEL_OUTPUT_INVALID.
  absl::Status Advance(LogitsView row, Distribution& distribution, v1::CompletionDelta& delta);
  // Takes what the runner has chosen instead. Errors: MODEL_OUTPUT_INVALID if it cannot be what the rules choose.
  absl::Status Accept(const Choice& choice, int32_t vocab_size, v1::CompletionDelta& delta);

  // Ends without a token, as max_tokens = 0 asks.
  void EndEmpty(v1::CompletionDelta& delta);
  void Fail(const absl::Status& status);
  v1::Completion Take();

  DecoderStart Start() const override { return {settings_, decoder_.sequence().token_ids()}; }

  bool ended() const { return ended_; }
  // Whether its next token may have a successor.
  bool MayGoOn() const;
  const absl::Status& failure() const { return failure_; }
  TokenId last_token() const { return decoder_.sequence().token_ids().back(); }
  const std::vector<TokenId>& token_ids() const { return decoder_.sequence().token_ids(); }
  int32_t token_count() const { return decoder_.position(); }

  // The model's sequence, and its decoder there; 0: not begun.
  int64_t sequence = 0;
  int64_t decoder = 0;
  // The sequence is more than the prompt.
  bool is_forked = false;
  // There was no room for its sequence any more: it goes on when others have ended.
  bool is_waiting = false;

 private:
  void Take(Step step, v1::CompletionDelta& delta);

  const Vocabulary& vocabulary_;
  const int64_t most_fed_;
  const int64_t prompt_size_;
  const std::shared_ptr<const std::string> settings_;
  Decoder decoder_;
  v1::Completion message_;
  std::string bytes_;
  size_t sent_bytes_ = 0;
  bool ended_ = false;
  absl::Status failure_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_GROWING_COMPLETION_H_
