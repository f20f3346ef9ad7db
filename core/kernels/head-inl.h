// The product of a softmax head, compiled once per target of Highway (vector_kernels.cc).
//
// A step takes at most 12 rows and 2 panels (AVX-512), or 6 rows and 1 panel, through one block of k; its sums stay in
// registers. All rows pass a block's weights before the next block, so that these come from memory once and then from a
// near cache. Meanwhile the steps fetch the next block's weights, each its share: a core can wait for two dozen lines.
#if defined(LOGITD_CORE_KERNELS_HEAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LOGITD_CORE_KERNELS_HEAD_INL_H_
#undef LOGITD_CORE_KERNELS_HEAD_INL_H_
#else
#define LOGITD_CORE_KERNELS_HEAD_INL_H_
#endif

#include "core/kernels/head_kernels.h"
#include "core/kernels/vector-inl.h"

#if LOGITD_HAVE_VECTORS
HWY_BEFORE_NAMESPACE();
namespace logitd::kernels::HWY_NAMESPACE {

constexpr size_t kPanelVectors = kPanelColumns / kFloatLanes;
// Most panels and rows of one step.
constexpr size_t kStepPanels = kFloatLanes == 16 ? 2 : 1;
constexpr size_t kStepRows = kFloatLanes == 16 ? 12 : 6;
// With so few rows the way of the weights from memory takes the time. A step then takes twice as many panels, for
// memory gives more to more streams; the sums still fit the registers.
constexpr size_t kFewRows = kFloatLanes == 16 ? 6 : 2;
static_assert(kGroupRows % kStepRows == 0 && kProductPanels % (2 * kStepPanels) == 0);

// One block of k for the rows and panels of a step.
struct HeadStep {
  // h[k] of row i is at hidden[k * 12 + i].
  const float* hidden;
  // w[k] of column j is at panels[k * 16 + j]; each further panel lies `panel_size` behind.
  const float* panels;
  size_t panel_size;
  size_t count;
  // This step's share of the next block's weights; for each k the step goes on by `fetch_step` bytes.
  const char* fetch;
  size_t fetch_step;
  // Nothing is in `out` yet.
  bool is_first;
  float* out;
};

template <size_t kRows, size_t kPanels>
HWY_NOINLINE void MultiplyBlock(const HeadStep& step) {
  const FloatTag d;
  constexpr size_t kVectors = kPanels * kPanelVectors;
  // The loops over rows and vectors are unrolled, so that these are registers.
  Floats sums[kRows][kVectors];
#pragma GCC unroll 16
  for (size_t i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) sums[i][v] = hn::Zero(d);
  }
  const float* hidden = step.hidden;
  const float* panels = step.panels;
  const char* fetch = step.fetch;
  for (size_t k = 0; k < step.count; ++k, hidden += kGroupRows, panels += kPanelColumns, fetch += step.fetch_step) {
    // Behind the last weights too: a prefetch of any address is harmless.
#pragma GCC unroll 4
    for (size_t p = 0; p < kPanels; ++p) __builtin_prefetch(fetch + p * step.panel_size * sizeof(float));
    Floats weights[kVectors];
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) {
      weights[v] = hn::LoadU(d, panels + v / kPanelVectors * step.panel_size + v % kPanelVectors * kFloatLanes);
    }
#pragma GCC unroll 16
    for (size_t i = 0; i < kRows; ++i) {
      const Floats h = hn::Set(d, hidden[i]);
#pragma GCC unroll 8
      for (size_t v = 0; v < kVectors; ++v) sums[i][v] = hn::MulAdd(h, weights[v], sums[i][v]);
    }
  }
  float* out = step.out;
  const bool is_first = step.is_first;
#pragma GCC unroll 16
  for (size_t i = 0; i < kRows; ++i, out += kProductColumns) {
#pragma GCC unroll 8
    for (size_t v = 0; v < kVectors; ++v) {
      float* lanes = out + v * kFloatLanes;
      hn::StoreU(is_first ? sums[i][v] : hn::Add(hn::LoadU(d, lanes), sums[i][v]), d, lanes);
    }
  }
}

// MultiplyBlock for `rows` in [1, kRows].
template <size_t kRows, size_t kPanels>
HWY_INLINE void MultiplyRows(size_t rows, const HeadStep& step) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return MultiplyRows<kRows - 1, kPanels>(rows, step);
  }
  MultiplyBlock<kRows, kPanels>(step);
}

// All rows and kPanels panels, in steps of at most kRows rows.
template <size_t kRows, size_t kPanels>
HWY_INLINE void MultiplyPanels(const HeadProduct& product, size_t panel) {
  HeadStep step;
  step.panel_size = product.hidden_size * kPanelColumns;
  const size_t step_count = (product.row_count + kRows - 1) / kRows;
  const float* const panels = product.panels + panel * step.panel_size;
  for (size_t k = 0; k < product.hidden_size; k += kHeadBlock) {
    step.count = HWY_MIN(kHeadBlock, product.hidden_size - k);
    step.is_first = k == 0;
    step.panels = panels + k * kPanelColumns;
    // The next block: behind this one, or the first of the next panels.
    const bool is_last = product.hidden_size - k <= kHeadBlock;
    const float* const next = is_last ? panels + kPanels * step.panel_size : step.panels + kHeadBlock * kPanelColumns;
    const size_t next_bytes =
        HWY_MIN(kHeadBlock, product.hidden_size - (is_last ? 0 : k + kHeadBlock)) * kPanelColumns * sizeof(float);
    const size_t fetches = step.count * step_count;
    step.fetch = reinterpret_cast<const char*>(next);
    step.fetch_step = (next_bytes + fetches - 1) / fetches;
    for (size_t row = 0; row < product.row_count; row += kRows) {
      const size_t group = row / kGroupRows * kGroupRows;
      step.hidden = product.groups + group * product.hidden_size + k * kGroupRows + (row - group);
      step.out = product.out + row * kProductColumns + panel * kPanelColumns;
      MultiplyRows<kRows, kPanels>(HWY_MIN(kRows, product.row_count - row), step);
      step.fetch += step.count * step.fetch_step;
    }
  }
}

inline void FinishLogits(const HeadProduct& product) {
  const FloatTag d;
  const Floats scale = hn::Set(d, product.scale);
  const Floats nan = hn::BitCast(d, hn::Set(BitsTag(), 0x7FC00000));
  for (size_t i = 0; i < product.row_count; ++i) {
    float* row = product.out + i * kProductColumns;
    for (size_t j = 0; j < product.panel_count * kPanelColumns; j += kFloatLanes) {
      Floats x = hn::LoadU(d, row + j);
      if (product.bias != nullptr) x = hn::Add(x, hn::LoadU(d, product.bias + j));
      x = hn::Mul(x, scale);
      hn::StoreU(hn::IfThenElse(hn::IsFinite(x), x, nan), d, row + j);
    }
  }
}

inline void ComputeLogits(const HeadProduct& product) {
  size_t panel = 0;
  if (product.row_count <= kFewRows) {
    for (; panel + 2 * kStepPanels <= product.panel_count; panel += 2 * kStepPanels) {
      MultiplyPanels<kFewRows, 2 * kStepPanels>(product, panel);
    }
  }
  for (; panel + kStepPanels <= product.panel_count; panel += kStepPanels) {
    MultiplyPanels<kStepRows, kStepPanels>(product, panel);
  }
  if constexpr (kStepPanels > 1) {
    if (panel < product.panel_count) MultiplyPanels<kStepRows, 1>(product, panel);
  }
  FinishLogits(product);
}

}  // namespace logitd::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // LOGITD_HAVE_VECTORS

#endif  // LOGITD_CORE_KERNELS_HEAD_INL_H_
