// Groups the continuations of an item that share an evaluated context.
//
// Usually all have the same context. Under Boundary JOINT a context may lack its last token, because a token of the
// continuation spans the join; contexts rarely differ further in front. The common beginning of a group's contexts is
// evaluated once and forked; each continuation feeds the rest of its own context:
//
//   contexts [a b c d] [a b c] [a b c e]      one group, shared [a b] (a context's last token is never shared: it is
//                                             fed with the continuation, whose first row it gives)
//   contexts [a b c ... z] x 8, [k]           two groups: one group would share [] and evaluate a b c ... eight times
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
  // The length of the common beginning of their contexts, without each context's last token. May be 0.
  size_t shared_count = 0;
  // Indices of its continuations, none of which has an error.
  std::vector<size_t> continuations;
};

// Puts each continuation without an error into one group. Groups are in the order of their first members. A group is
// split off where that evaluates fewer tokens. Time: sorting the contexts, then linear for each split.
std::vector<ContextGroup> GroupByContext(const ItemInput& item, size_t item_index);

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_SHARED_CONTEXTS_H_
