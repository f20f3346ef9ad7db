// Where a stop string ends a completion, found the slow and plain way: the whole text is searched again for every end.
#ifndef LOGITD_TESTS_TESTING_STOP_REFERENCE_H_
#define LOGITD_TESTS_TESTING_STOP_REFERENCE_H_

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace logitd::testing {

struct StopReference {
  // The stop string; unset: none is in the text.
  std::optional<int> stop_index;
  // Bytes of the text before it; without one, all of it.
  std::string text;
  // The number of tokens that are returned, and of those that were needed to complete the stop string.
  int token_count = 0;
  int needed_count = 0;
  // Bytes of the last returned token behind the text.
  int cut_byte_count = 0;
};

// `tokens`: the bytes of each. A stop string that ends in one of the first `min_tokens` tokens does not count.
inline StopReference FindStop(std::span<const std::string> tokens, std::span<const std::string> stops, int min_tokens) {
  StopReference result;
  std::string so_far;
  std::optional<size_t> cut;
  for (size_t i = 0; i < tokens.size() && !cut; ++i) {
    ++result.needed_count;
    for (size_t b = 0; b < tokens[i].size() && !cut; ++b) {
      so_far.push_back(tokens[i][b]);
      if (static_cast<int>(i) < min_tokens) continue;
      for (size_t s = 0; s < stops.size(); ++s) {
        const bool is_longer = !result.stop_index || stops[s].size() > stops[*result.stop_index].size();
        if (so_far.ends_with(stops[s]) && is_longer) result.stop_index = static_cast<int>(s);
      }
      if (result.stop_index) cut = so_far.size() - stops[*result.stop_index].size();
    }
  }
  result.text = so_far.substr(0, cut.value_or(so_far.size()));
  size_t begin = 0;
  for (int i = 0; i < result.needed_count; ++i) {
    const size_t end = begin + tokens[i].size();
    const bool is_before = begin < result.text.size() || (begin == end && begin == result.text.size());
    if (!is_before) break;
    ++result.token_count;
    result.cut_byte_count = end > result.text.size() ? static_cast<int>(end - result.text.size()) : 0;
    begin = end;
  }
  return result;
}

// The number of last bytes of `text` that may yet become a stop string: its longest end that begins one.
inline size_t HeldReference(std::string_view text, std::span<const std::string> stops) {
  size_t held = 0;
  for (const std::string& stop : stops) {
    for (size_t length = 1; length < stop.size() && length <= text.size(); ++length) {
      if (text.ends_with(std::string_view(stop).substr(0, length)) && length > held) held = length;
    }
  }
  return held;
}

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_TESTING_STOP_REFERENCE_H_
