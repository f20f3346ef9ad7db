// Turns a prompt or context in segments into token ids. Marks of a template are parsed; text of others is not.
//
//   segments { text: "<|im_start|>user\n" parse_special_tokens: true }      [BOS] [<|im_start|>] [user] [\n]
//   segments { text: "<|im_end|>?" }                                        [<] [|] [im] [_end] [|>] [?]
//   segments { tokens { token_ids: 7 } }                                    [7]
//
// Each segment becomes tokens by itself, so no token spans two segments. The first text begins and the others go on: a
// tokenizer's prefix (SentencePiece: a space) stands only before the first.
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
  // An error of the segments (fields "FIELD.segments...."): FIELD_REQUIRED, FIELDS_EXCLUSIVE, LIMIT_EXCEEDED,
  // TOKEN_ID_OUT_OF_RANGE, CONTEXT_LENGTH_EXCEEDED, TOKENIZER_FAILED, MALFORMED_MESSAGE.
  absl::Status status;
  // Empty if every segment is empty.
  std::vector<TokenId> token_ids;
  v1::TokenizationReport report;
};

// Checks that at most one form of an input is set. Errors: FIELDS_EXCLUSIVE.
absl::Status CheckForm(const v1::Input& input, const std::string& field);

// The bytes of text in an input of any form.
int64_t TextBytes(const v1::Input& input);

// The tokens of input.segments. `field` is the input's path. Errors are those of the whole call, as of
// TextOutcomes::Tokenize. REQUIRES: input.segments is not empty.
absl::StatusOr<SegmentsInput> TokenizeSegments(const v1::Input& input, const std::string& field,
                                               const TokenizationOptions& options, ServedModel& model,
                                               TextOutcomes& outcomes, const RequestContext& context);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_SEGMENTS_H_
