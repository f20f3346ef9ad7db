// Where one row is put together that cannot be read where it lies.
#ifndef LOGITD_CORE_ROW_BUFFERS_H_
#define LOGITD_CORE_ROW_BUFFERS_H_

#include <vector>

#include "core/types.h"

namespace logitd {

// Used row after row, so that a step allocates nothing. Grows to the largest row that it has had: at most 8 bytes a
// slot. What is in it between two rows says nothing about the next one. Thread-compatible.
struct RowBuffers {
  // The values of the slots, widened or aligned.
  std::vector<float> values;
  // The ids of the slots of a sparse row, aligned.
  std::vector<TokenId> ids;
};

}  // namespace logitd

#endif  // LOGITD_CORE_ROW_BUFFERS_H_
