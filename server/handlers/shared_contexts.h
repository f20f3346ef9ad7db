// Which continuations of an item are evaluated after one evaluated context.
//
// Mostly all of them have the same context. Under Boundary JOINT a context may lack its last token, because one of a
// continuation's spans the join; hardly ever it differs from further in front. What the contexts of a group begin with
// alike is evaluated once, and forked; each continuation brings the rest of its own context:
//
//   contexts [a b c d] [a b c] [a b c e]      one group, shared [a b]      (a context's last token is never shared: it
//                                             is fed with the continuation, whose first row it gives)
//   contexts [a b c ... z] x 8, [k]           two groups: else everything but [] would be evaluated eight times
#ifndef LOGITD_SERVER_HANDLERS_SHARED_CONTEXTS_H_
#define LOGITD_SERVER_HANDLERS_SHARED_CONTEXTS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/handlers/item_tokens.h"

namespace logitd::server {

// Continuations of one item that share a context.
struct ContextGroup {
  size_t item_index = 0;
  // Tokens that the contexts of all of them begin with, the last token of each left out. May be 0.
  size_t shared_count = 0;
  // Indices of continuations that can be scored.
  std::vector<size_t> continuations;
};

// All continuations of the item without an error, each in one group; in order of the first of each group. Empty: none.
// Splits off a group where that evaluates fewer tokens. Time: sorting the contexts, then linear for each split.
std::vector<ContextGroup> GroupByContext(const ItemInput& item, size_t item_index);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_SHARED_CONTEXTS_H_
