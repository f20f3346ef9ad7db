// Columns of a softmax head's weights, all of them or those of a vocabulary subset, and the logits that they give.
//
//   ASSIGN_OR_RETURN(const HeadColumns labels, head.columns().Select(token_ids));  // once per request
//   std::vector<float> logits(tile.row_count() * labels.size());
//   labels.ComputeLogits(tile, logits);  // row i, column j: of hidden state i and token_ids[j]
//
// Weights lie in panels of 16 columns, [panel][hidden_size][16]. Threads may share the work of one tile by panels.
// The logit of a token has the same bits whatever other tokens, rows, panels and threads there are, on every
// instruction set. An immutable value that shares its weights when copied; thread-safe.
//
// Source: docs/numerics.md, section 9, which fixes the order of additions.
#ifndef LOGITD_CORE_HEAD_COLUMNS_H_
#define LOGITD_CORE_HEAD_COLUMNS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "core/hidden_tile.h"
#include "core/types.h"

namespace logitd {

struct HeadPanels;

class HeadColumns {
 public:
  // 1,024 columns of 4,096 values.
  static constexpr size_t kMaxPackedBytes = size_t{16} << 20;

  // All columns of `panels`, in their order. (For SoftmaxHead; others use SoftmaxHead::columns.)
  explicit HeadColumns(std::shared_ptr<const HeadPanels> panels);

  // The columns of these tokens, in this order; column j of the result is token_ids[j].
  // - They are packed anew if that takes at most `max_packed_bytes`: then each costs one dot product for each row.
  // - Otherwise the result refers to this object's weights and computes every panel that holds one of the tokens. It
  //   takes 16 bytes for each id.
  // Errors: TOKEN_ID_OUT_OF_RANGE (field "token_ids[i]"), EMPTY_TOKEN_SET ("token_ids"), LIMIT_EXCEEDED ("token_ids":
  // the system gives no memory).
  // REQUIRES: this object has all columns of its head.
  absl::StatusOr<HeadColumns> Select(std::span<const TokenId> token_ids,
                                     size_t max_packed_bytes = kMaxPackedBytes) const;

  // Number of columns: the width of a row of logits.
  int32_t size() const { return size_; }
  int32_t hidden_size() const;
  // Parts of the work that threads can share.
  int32_t panel_count() const;
  // 1: none.
  float logit_scale() const;
  // 0: none.
  float soft_cap() const;
  // Of weights and biases that this object refers to, shared ones included.
  size_t bytes() const;

  // The logits of the tile's rows for the columns of panels [first_panel, last_panel); writes nothing else. Row i
  // begins at out + i * row_stride, floats, and there its column j is out[j], whatever first_panel is. A call should
  // have 64 panels or more where there are as many: few panels read their weights from memory too slowly. A logit that
  // overflows f32, before the soft-cap, is NaN: whoever reads the row reports NON_FINITE_LOGIT. Shapes: out
  // [tile.row_count(), row_stride], any alignment. Time: O(rows * columns * hidden_size). REQUIRES: tile.hidden_size()
  // == hidden_size(); 0 <= first_panel <= last_panel <= panel_count(); row_stride >= size().
  void ComputeLogits(const HiddenTile& tile, int32_t first_panel, int32_t last_panel, float* out,
                     size_t row_stride) const;
  // All columns, by this thread: logits [row_count, size]. REQUIRES: out.size() == row_count * size().
  void ComputeLogits(const HiddenTile& tile, std::span<float> out) const;

 private:
  // In a selection that is not packed: a panel of panels_, and where its columns begin in slots_.
  struct Source {
    int32_t panel;
    int32_t begin;
  };
  // A column's lane in its panel, and its place in the result.
  struct Slot {
    int32_t lane;
    int32_t column;
  };

  absl::StatusOr<HeadColumns> SelectPacked(std::span<const TokenId> token_ids) const;
  HeadColumns SelectByReference(std::span<const TokenId> token_ids) const;
  // How many panels from `panel` on, at most a product's, lie one after another. REQUIRES: panel < end.
  size_t RunFrom(size_t panel, size_t end) const;
  // Copies a row of the logits of `count` panels, [count][16], to their places in `row`, [size()].
  void Place(const float* logits, size_t panel, size_t count, float* row) const;

  std::shared_ptr<const HeadPanels> panels_;
  int32_t size_ = 0;
  // Of a selection that is not packed: its panels, with an end, and its columns, ordered by panel.
  std::vector<Source> sources_;
  std::vector<Slot> slots_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_HEAD_COLUMNS_H_
