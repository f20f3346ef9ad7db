// Sparse rows on the wire, for tests: what is listed of dense rows.
#ifndef LOGITD_TESTS_SERVER_SPARSE_ROWS_H_
#define LOGITD_TESTS_SERVER_SPARSE_ROWS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "logitd/v1/logits.pb.h"

namespace logitd::server {

// A block, and its part of the payload.
struct SparseBlock {
  v1::LogitsBlock block;
  std::string payload;
};

template <typename T>
void AppendBytes(std::string& bytes, const std::vector<T>& values) {
  if (!values.empty()) bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

// f32 rows with ids of their own: of each row the ids whose values are not -inf, and `more_slots` more than the fullest
// row needs. The values of unused slots are NaN.
inline SparseBlock SparseRowsOf(const std::vector<std::vector<float>>& rows, int more_slots = 0) {
  std::vector<std::vector<int32_t>> ids(rows.size());
  size_t width = 1;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t id = 0; id < rows[r].size(); ++id) {
      if (rows[r][id] != -INFINITY) ids[r].push_back(static_cast<int32_t>(id));
    }
    width = std::max(width, ids[r].size());
  }
  width += static_cast<size_t>(more_slots);
  SparseBlock sparse;
  sparse.block.set_dtype(v1::LOGITS_DTYPE_F32);
  sparse.block.set_row_count(static_cast<int32_t>(rows.size()));
  sparse.block.set_width(static_cast<int32_t>(width));
  sparse.block.mutable_sparse()->set_rest(v1::SPARSE_REST_EXCLUDED);
  std::string id_bytes;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::vector<float> values;
    for (const int32_t id : ids[r]) values.push_back(rows[r][id]);
    values.resize(width, NAN);
    ids[r].resize(width, -1);
    AppendBytes(sparse.payload, values);
    AppendBytes(id_bytes, ids[r]);
  }
  sparse.payload += id_bytes;
  return sparse;
}

// f32 rows that share their ids, `ids`: ascending, and whatever has a value in any row.
inline SparseBlock SharedSparseRowsOf(const std::vector<std::vector<float>>& rows, const std::vector<int32_t>& ids) {
  SparseBlock sparse;
  sparse.block.set_dtype(v1::LOGITS_DTYPE_F32);
  sparse.block.set_row_count(static_cast<int32_t>(rows.size()));
  sparse.block.set_width(static_cast<int32_t>(ids.size()));
  sparse.block.mutable_sparse()->set_rest(v1::SPARSE_REST_EXCLUDED);
  sparse.block.mutable_sparse()->mutable_shared_token_ids()->Add(ids.begin(), ids.end());
  for (const std::vector<float>& row : rows) {
    std::vector<float> values;
    for (const int32_t id : ids) values.push_back(row[id]);
    AppendBytes(sparse.payload, values);
  }
  return sparse;
}

}  // namespace logitd::server

#endif  // LOGITD_TESTS_SERVER_SPARSE_ROWS_H_
