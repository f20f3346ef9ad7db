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

GrowingCompletion::GrowingCompletion(int32_t index, DecoderConfig config, std::shared_ptr<const StopStrings> stops,
                                     SharedTokens prompt, int64_t most_fed, std::shared_ptr<const std::string> settings,
                                     const Vocabulary& vocabulary)
    : vocabulary_(vocabulary),
      most_fed_(most_fed),
      prompt_size_(std::ssize(*prompt)),
      settings_(std::move(settings)),
      decoder_(std::move(config), std::move(prompt), /*token_ids=*/{}, SequenceSums()),
      text_(std::move(stops)) {
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
  if (step.token) {
    if (decoder_.config().record.records) {
      ToProto(*step.token, decoder_.config().record, &vocabulary_, *message_.add_tokens());
    }
    const bool is_stop = step.finish && step.finish->reason == FinishReason::kStopToken;
    const std::string_view bytes = is_stop ? std::string_view() : vocabulary_.TokenBytes(step.token->token_id);
    const bool looks = step.token_count > decoder_.config().stop.min_tokens;
    if (const auto stop = text_.Append(bytes, step.sums, looks)) {
      step.finish = Finish{.reason = FinishReason::kStopString,
                           .stop_string_index = stop->index,
                           .cut_byte_count = stop->cut_byte_count};
    }
  }
  Tell(step.finish, delta);
}

void GrowingCompletion::Tell(const std::optional<Finish>& finish, v1::CompletionDelta& delta) {
  if (finish) text_.End();
  delta.set_index(message_.index());
  delta.set_text(text_.TakeText());
  const int32_t certain = text_.token_count();
  const bool has_records = decoder_.config().record.records;
  for (int32_t i = told_count_; has_records && i < certain; ++i) *delta.add_tokens() = message_.tokens(i);
  const bool is_news = finish || certain > std::exchange(told_count_, certain) || !delta.text().empty();
  if (is_news) ToProto(certain, text_.sums(), *delta.mutable_totals());
  if (!finish) return;
  ToProto(*finish, *delta.mutable_finish());
  *message_.mutable_finish() = delta.finish();
}

void GrowingCompletion::End(FinishReason reason, v1::CompletionDelta& delta) { Tell(Finish{.reason = reason}, delta); }

void GrowingCompletion::Fail(const absl::Status& status) {
  text_.End();
  *message_.mutable_error() = ToProto(status);
  failure_ = status;
}

v1::Completion GrowingCompletion::Take() {
  const int32_t count = text_.token_count();
  if (message_.tokens_size() > count) message_.mutable_tokens()->DeleteSubrange(count, message_.tokens_size() - count);
  ToProto(count, text_.sums(), *message_.mutable_totals());
  // Without the tokens' bytes there is no text and no count.
  if (!vocabulary_.offsets.empty()) {
    const std::string& bytes = text_.bytes();
    message_.set_text(ToUtf8(bytes));
    if (!IsUtf8(bytes)) message_.set_raw_bytes(bytes);
    message_.set_byte_count(static_cast<int32_t>(bytes.size()));
    if (const auto characters = CountCharacters(bytes)) message_.set_character_count(static_cast<int32_t>(*characters));
  }
  return std::move(message_);
}

}  // namespace logitd::server
