#include "server/handlers/growing_completion.h"

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "base/utf8.h"
#include "core/choice_check.h"
#include "core/errors.h"
#include "server/converters/completion.h"
#include "server/converters/wire.h"

namespace logitd::server {
namespace {

// The records to ask a runner for. Without records, only the parts of the sums (StartOf).
RecordOptions AskedOf(const RecordOptions& options) {
  if (options.records) return options;
  RecordOptions asked;
  asked.model_log_prob = options.model_log_prob;
  asked.sampling_log_prob = options.sampling_log_prob;
  return asked;
}

}  // namespace

GrowingCompletion::GrowingCompletion(int32_t index, DecoderConfig config, SharedTokens prompt, int64_t most_fed,
                                     std::shared_ptr<const std::string> settings, const Vocabulary& vocabulary)
    : vocabulary_(vocabulary),
      most_fed_(most_fed),
      prompt_size_(std::ssize(*prompt)),
      settings_(std::move(settings)),
      decoder_(std::move(config), std::move(prompt), /*token_ids=*/{}, SequenceSums()) {
  message_.set_index(index);
  message_.set_sequence_key(decoder_.config().sequence_key);
}

absl::Status GrowingCompletion::Advance(LogitsView row, Distribution& distribution, v1::CompletionDelta& delta) {
  auto advanced = decoder_.Advance(decoder_.position(), row, distribution);
  // A bad row is the model's fault, not the request's.
  if (!advanced.ok()) return errors::ModelOutputInvalid(DetailOf(advanced.status()).message);
  Take(*std::move(advanced), delta);
  return absl::OkStatus();
}

absl::Status GrowingCompletion::Accept(const Choice& choice, int32_t vocab_size, v1::CompletionDelta& delta) {
  const DecoderConfig& config = decoder_.config();
  const std::vector<TokenId>& output = decoder_.sequence().token_ids();
  if (choice.token) {
    RETURN_IF_ERROR(CheckChoice(config, AskedOf(config.record), decoder_.prompt(), output, vocab_size, *choice.token));
  } else {
    RETURN_IF_ERROR(CheckNoChoice(config, output));
  }
  Take(decoder_.Accept(choice.token), delta);
  return absl::OkStatus();
}

bool GrowingCompletion::MayGoOn() const {
  const int32_t next_count = decoder_.position() + 1;
  return next_count < decoder_.config().stop.max_tokens && prompt_size_ + next_count <= most_fed_;
}

void GrowingCompletion::Take(Step step, v1::CompletionDelta& delta) {
  // A token that cannot be fed back has no successor.
  if (!step.finish && prompt_size_ + step.token_count > most_fed_)
    step.finish = Finish{FinishReason::kContextFull, std::nullopt};
  delta.set_index(message_.index());
  if (step.token) {
    if (decoder_.config().record.records) {
      v1::TokenRecord& record = *message_.add_tokens();
      ToProto(*step.token, decoder_.config().record, &vocabulary_, record);
      *delta.add_tokens() = record;
    }
    const bool is_stop = step.finish && step.finish->reason == FinishReason::kStopToken;
    if (!is_stop) bytes_.append(vocabulary_.TokenBytes(step.token->token_id));
  }
  const size_t complete = step.finish ? bytes_.size() : CompletePrefix(bytes_);
  if (complete > sent_bytes_) {
    delta.set_text(ToUtf8(std::string_view(bytes_).substr(sent_bytes_, complete - sent_bytes_)));
    sent_bytes_ = complete;
  }
  ToProto(step.token_count, step.sums, *delta.mutable_totals());
  *message_.mutable_totals() = delta.totals();
  if (step.finish) {
    ToProto(*step.finish, *delta.mutable_finish());
    *message_.mutable_finish() = delta.finish();
    ended_ = true;
  }
}

void GrowingCompletion::EndEmpty(v1::CompletionDelta& delta) {
  delta.set_index(message_.index());
  ToProto(/*token_count=*/0, SequenceSums{std::nullopt, std::nullopt}, *delta.mutable_totals());
  ToProto(Finish{FinishReason::kMaxTokens, std::nullopt}, *delta.mutable_finish());
  *message_.mutable_totals() = delta.totals();
  *message_.mutable_finish() = delta.finish();
  ended_ = true;
}

void GrowingCompletion::Fail(const absl::Status& status) {
  *message_.mutable_error() = ToProto(status);
  failure_ = status;
  ended_ = true;
}

v1::Completion GrowingCompletion::Take() {
  // Without the tokens' bytes there is no text and no count.
  if (!vocabulary_.offsets.empty()) {
    message_.set_text(ToUtf8(bytes_));
    if (!IsUtf8(bytes_)) message_.set_raw_bytes(bytes_);
    message_.set_byte_count(static_cast<int32_t>(bytes_.size()));
    if (const auto characters = CountCharacters(bytes_))
      message_.set_character_count(static_cast<int32_t>(*characters));
  }
  return std::move(message_);
}

}  // namespace logitd::server
