// Where one row is put together that cannot be read where it lies.
#ifndef LOGITD_CORE_ROW_BUFFERS_H_
#define LOGITD_CORE_ROW_BUFFERS_H_

#include <vector>

#include "core/sparse_row_buffer.h"

namespace logitd {

// Used row after row, so that a step allocates nothing. Grows to the largest row that it has had: at most 12 bytes a
// token. What is in it between two rows says nothing about the next one. Thread-compatible.
struct RowBuffers {
  // The values of a dense row, or of the slots of a sparse one, widened or aligned.
  std::vector<float> values;
  // The dense row that a sparse one stands for. Apart from `values`: nobody else writes to it.
  SparseRowBuffer sparse;
};

}  // namespace logitd

#endif  // LOGITD_CORE_ROW_BUFFERS_H_
