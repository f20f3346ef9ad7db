// The decoders that the server has started in this runner. They choose tokens from the model's rows with the server's
// own core code.
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

  // Returns the token that the decoder chooses from `row`, which is the next row of its sequence. Shape: row
  // [vocab_size].
  // Errors: an invalid `start`, with its field; FIELD_REQUIRED if the decoder is not known and there is no `start`;
  // NON_FINITE_LOGIT, NO_FINITE_LOGIT.
  absl::StatusOr<v1::Choice> Choose(const v1::ChoiceOutput& request, LogitsView row);

  // Returns, once, the token that the decoder chose last, to be appended. Unset: there is none, or it ended the
  // sequence.
  std::optional<TokenId> TakeChosen(int64_t decoder_id);
  // Forgets the token that the decoder chose last: the decoder is asked for another choice, or the entry of that row
  // has failed.
  void DropChosen(int64_t decoder_id);

  // Ends a decoder. Ignores a decoder that is not known.
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
