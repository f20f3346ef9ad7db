// The decoders that the server has begun here: they choose tokens from the model's rows, with the server's own core
// code.
//
//   Decoders decoders(vocab_size);
//   ASSIGN_OR_RETURN(v1::Choice choice, decoders.Choose(request.choice(), row));
//
// One thread.
#ifndef LOGITD_CLIENT_RUNNER_DECODERS_H_
#define LOGITD_CLIENT_RUNNER_DECODERS_H_

#include <cstdint>
#include <optional>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/decoder.h"
#include "core/distribution.h"
#include "core/types.h"
#include "logitd/v1/model_runner_service.pb.h"

namespace logitd::runner {

class Decoders {
 public:
  explicit Decoders(int32_t vocab_size) : vocab_size_(vocab_size) {}

  // The token that the decoder chooses from `row`, its next. Shape: row [vocab_size].
  // Errors: what is wrong with `start`, with its field; FIELD_REQUIRED without one if the decoder is not known;
  // NON_FINITE_LOGIT, NO_FINITE_LOGIT.
  absl::StatusOr<v1::Choice> Choose(const v1::ChoiceOutput& request, LogitsView row);

  // The token that the decoder chose last, to be appended, once. Unset: none, or it ends the sequence.
  std::optional<TokenId> TakeChosen(int64_t decoder_id);
  // What the decoder chose last is not to be appended any more: it is asked for another choice, or the row that it
  // chose from belongs to an entry that has failed.
  void DropChosen(int64_t decoder_id);

  // Ends a decoder; one that is not known is ignored.
  void Release(int64_t decoder_id) { decoders_.erase(decoder_id); }

 private:
  absl::StatusOr<Decoder> Start(const v1::DecoderStart& start) const;

  const int32_t vocab_size_;
  struct Entry {
    Decoder decoder;
    std::optional<TokenId> chosen;
  };

  std::unordered_map<int64_t, Entry> decoders_;
  Distribution distribution_;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_DECODERS_H_
