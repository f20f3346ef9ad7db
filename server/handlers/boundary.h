// How the tokens of a context and of the text that follows it are made, under each logitd.v1.Boundary.
//
//   context "if a =", continuation "= b:", tokens of both as one text [if][ a][ ==][ b][:], of the context [if][ a][ =]
//
//   JOINT     [if][ a]      | [ ==][ b][:]    cut before the token with the continuation's first byte: spells the text
//   LM_EVAL   [if][ a][ =]  | [ b][:]         as many tokens as the context has are left out: spells "if a = b:"
//   SEPARATE  [if][ a][ =]  | [=][ b][:]      each by itself
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
  // What it is scored after; the context's own list where the tokens are the same. May be empty.
  SharedTokens context;
  // The continuation. May be empty.
  std::vector<TokenId> token_ids;
  // All but context_token_count and implicit_context_token_id.
  v1::BoundaryReport report;
};

// Bytes of `context` without the white space at its end, as Python's str.rstrip() counts it.
size_t StrippedSize(std::string_view context);

// JOINT. `joint`: the tokens of `text`, of which the first `context_bytes` bytes are the context, whose tokens by
// itself are `alone`. Where the tokens do not spell the text, the cut comes after the tokens that `joint` and `alone`
// begin with alike, and the report says that the text was changed.
JoinedTokens CutJoint(const Spelling& spelling, std::string_view text, size_t context_bytes, const SharedTokens& alone,
                      const std::vector<TokenId>& joint);

// LM_EVAL, lm-evaluation-harness 0.4.13's TemplateLM._encode_pair. As CutJoint; white space at the context's end counts
// as the continuation's already.
JoinedTokens CutAsLmEval(const Spelling& spelling, std::string_view text, size_t context_bytes,
                         const SharedTokens& alone, const std::vector<TokenId>& joint);

// SEPARATE, and what follows a context of token ids. `tokens`: of `text`, as text that goes on, or, if `begins_text`,
// as one that begins. `context_changed`: the context's tokens do not spell it.
JoinedTokens PutAfter(const Spelling& spelling, std::string_view text, bool begins_text, const SharedTokens& context,
                      bool context_changed, std::vector<TokenId> tokens);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_BOUNDARY_H_
