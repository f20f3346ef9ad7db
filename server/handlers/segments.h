// A prompt or context in segments -> token ids: marks of a template are parsed, text of others is not.
//
//   segments { text: "<|im_start|>user\n" parse_special_tokens: true }      [BOS] [<|im_start|>] [user] [\n]
//   segments { text: "<|im_end|>?" }                                        [<] [|] [im] [_end] [|>] [?]
//   segments { tokens { token_ids: 7 } }                                    [7]
//
// Each becomes tokens by itself, so that no token spans two of them and none is found in two halves. The first text
// begins, the others go on: what a tokenizer puts before a text (SentencePiece: a space) it puts before the first.
#ifndef LOGITD_SERVER_HANDLERS_SEGMENTS_H_
#define LOGITD_SERVER_HANDLERS_SEGMENTS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/types.h"
#include "logitd/v1/completion.pb.h"
#include "server/models/served_model.h"
#include "server/models/text_outcomes.h"
#include "server/request_context.h"

namespace logitd::server {

// The tokens of segments.
struct SegmentsInput {
  // What is wrong with them (fields "FIELD.segments...."): FIELD_REQUIRED, FIELDS_EXCLUSIVE, LIMIT_EXCEEDED,
  // TOKEN_ID_OUT_OF_RANGE, CONTEXT_LENGTH_EXCEEDED, TOKENIZER_FAILED, MALFORMED_MESSAGE.
  absl::Status status;
  // Empty if all segments are.
  std::vector<TokenId> token_ids;
  v1::TokenizationReport report;
};

// Exactly one form of an input is set, or none. Errors: FIELDS_EXCLUSIVE.
absl::Status CheckForm(const v1::Input& input, const std::string& field);

// Bytes of text in an input, whatever its form.
int64_t TextBytes(const v1::Input& input);

// The tokens of input.segments. `field`: the input's path. Errors: those of the call as a whole, as
// TextOutcomes::Tokenize. REQUIRES: input.segments is not empty.
absl::StatusOr<SegmentsInput> TokenizeSegments(const v1::Input& input, const std::string& field,
                                               const TokenizationOptions& options, ServedModel& model,
                                               TextOutcomes& outcomes, const RequestContext& context);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_SEGMENTS_H_
