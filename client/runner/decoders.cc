#include "client/runner/decoders.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "wire/sampling.h"
#include "wire/token_record.h"

namespace logitd::runner {

absl::StatusOr<v1::Choice> Decoders::Choose(const v1::ChoiceOutput& request, LogitsView row) {
  if (request.has_start()) {
    ASSIGN_OR_RETURN(auto decoder, In("choice.start.", Start(request.start())));
    decoders_.insert_or_assign(request.decoder_id(), Entry{std::move(decoder), std::nullopt});
  }
  const auto found = decoders_.find(request.decoder_id());
  if (found == decoders_.end()) return errors::Required("choice.start");
  Decoder& decoder = found->second.decoder;
  found->second.chosen.reset();
  ASSIGN_OR_RETURN(const Step step, decoder.Advance(decoder.position(), row, distribution_));
  if (step.token && !step.finish) found->second.chosen = step.token->token_id;
  v1::Choice choice;
  if (step.token) wire::ToProto(*step.token, decoder.config().record, /*vocabulary=*/nullptr, *choice.mutable_token());
  return choice;
}

std::optional<TokenId> Decoders::TakeChosen(int64_t decoder_id) {
  const auto found = decoders_.find(decoder_id);
  return found == decoders_.end() ? std::nullopt : std::exchange(found->second.chosen, std::nullopt);
}

void Decoders::DropChosen(int64_t decoder_id) {
  if (const auto found = decoders_.find(decoder_id); found != decoders_.end()) found->second.chosen.reset();
}

absl::StatusOr<Decoder> Decoders::Start(const v1::DecoderStart& start) const {
  DecoderConfig config;
  ASSIGN_OR_RETURN(config.sampling, In("sampling.", wire::FromProto(start.sampling(), vocab_size_)));
  if (!start.sampling().has_seed()) return errors::Required("sampling.seed");
  config.seed = start.sampling().seed();
  if (start.sequence_key() > kMaxSequenceKey) {
    return errors::OutOfRange("sequence_key", std::to_string(start.sequence_key()), "in [0, 2^56)");
  }
  config.sequence_key = start.sequence_key();
  const auto token_ids = [this](const auto& ids, const char* field) -> absl::StatusOr<std::vector<TokenId>> {
    RETURN_IF_ERROR(wire::CheckTokenIds(ids, field, vocab_size_));
    return std::vector<TokenId>(ids.begin(), ids.end());
  };
  ASSIGN_OR_RETURN(config.stop.stop_token_ids, token_ids(start.end_token_ids(), "end_token_ids"));
  std::sort(config.stop.stop_token_ids.begin(), config.stop.stop_token_ids.end());
  config.stop.min_tokens = start.min_tokens();
  ASSIGN_OR_RETURN(config.record,
                   In("record.", wire::FromProto(start.record(), vocab_size_, /*default_sampling_log_prob=*/true,
                                                 v1::RECORD_LAYOUT_RECORDS)));
  ASSIGN_OR_RETURN(std::vector<TokenId> prompt, token_ids(start.prompt_token_ids(), "prompt_token_ids"));
  ASSIGN_OR_RETURN(std::vector<TokenId> output, token_ids(start.output_token_ids(), "output_token_ids"));
  return Decoder(std::move(config), std::make_shared<const std::vector<TokenId>>(std::move(prompt)), std::move(output),
                 SequenceSums());
}

}  // namespace logitd::runner
