// Makes the tokens of a context and of the text that follows it, under each logitd.v1.Boundary.
//
//   context "if a =", continuation "= b:", tokens of both as one text [if][ a][ ==][ b][:], of the context [if][ a][ =]
//
//   JOINT     [if][ a]      | [ ==][ b][:]    cut before the token with the continuation's first byte: spells the text
//   LM_EVAL   [if][ a][ =]  | [ b][:]         leaves out as many joint tokens as the context has: spells "if a = b:"
//   SEPARATE  [if][ a][ =]  | [=][ b][:]      tokenises each by itself
#ifndef LOGITD_SERVER_HANDLERS_BOUNDARY_H_
#define LOGITD_SERVER_HANDLERS_BOUNDARY_H_

#include <cstddef>
#include <string_view>
#include <vector>

#include "core/decoder.h"
#include "core/types.h"
#include "logitd/v1/scoring_service.pb.h"
#include "server/handlers/spelling.h"

namespace logitd::server {

// A continuation after its context.
struct JoinedTokens {
  // The tokens before the continuation; the context's own list if they are equal. May be empty.
  SharedTokens context;
  // The tokens of the continuation. May be empty.
  std::vector<TokenId> token_ids;
  // Every field except context_token_count and implicit_context_token_id.
  v1::BoundaryReport report;
};

// The size of `context` without trailing white space (as Python's str.rstrip()), bytes.
size_t StrippedSize(std::string_view context);

// JOINT. `joint`: the tokens of `text`, whose first `context_bytes` bytes are the context; `alone`: the tokens of the
// context by itself. If the tokens do not spell the text, the cut comes after the common beginning of `joint` and
// `alone`, and the report says that the text was changed.
JoinedTokens CutJoint(const Spelling& spelling, std::string_view text, size_t context_bytes, const SharedTokens& alone,
                      const std::vector<TokenId>& joint);

// LM_EVAL: lm-evaluation-harness 0.4.13's TemplateLM._encode_pair. Arguments as for CutJoint; trailing white space of
// the context already belongs to the continuation.
JoinedTokens CutAsLmEval(const Spelling& spelling, std::string_view text, size_t context_bytes,
                         const SharedTokens& alone, const std::vector<TokenId>& joint);

// SEPARATE, and text after a context of token ids. `tokens`: the tokens of `text`, made as text that goes on, or as the
// beginning of a text if `begins_text`. `context_changed`: the context's tokens do not spell it.
JoinedTokens PutAfter(const Spelling& spelling, std::string_view text, bool begins_text, const SharedTokens& context,
                      bool context_changed, std::vector<TokenId> tokens);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_BOUNDARY_H_
