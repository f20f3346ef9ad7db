// The stop strings of a request as one automaton (Aho and Corasick), which reads a text byte by byte and finds every
// stop string in it, wherever they overlap.
//
//   const StopStrings stops({"\nUser:", "END"});
//   StopStrings::State state = StopStrings::kStart;
//   for (char byte : text) state = stops.Next(state, byte);
//   stops.MatchAt(state);    // the longest stop string that ends with the last byte
//   stops.HeldBytes(state);  // 3 after "... EN" would be too many: "EN" are 2 bytes that may yet become "END"
//
// Thread-safe once made.
#ifndef LOGITD_CORE_STOP_STRINGS_H_
#define LOGITD_CORE_STOP_STRINGS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace logitd {

class StopStrings {
 public:
  // REQUIRES: each has at least one byte. Any bytes, any number, equal ones too. Takes time and memory in proportion to
  // their bytes: 24 for each.
  explicit StopStrings(const std::vector<std::string>& strings);

  // A place in the text. Values mean nothing outside of this object.
  using State = int32_t;
  static constexpr State kStart = 0;

  // The state after one more byte. A text of n bytes takes O(n log s) time, where s is the number of strings, whatever
  // they are.
  State Next(State state, char byte) const;

  struct Match {
    // The place in the list that the constructor got; of equal strings the lowest.
    int32_t index = 0;
    // Bytes.
    int32_t length = 0;
  };
  // The longest string that ends here. Unset: none does.
  std::optional<Match> MatchAt(State state) const;

  // The number of last bytes that may yet become a stop string, or the beginning of one. It grows by at most 1 with a
  // byte.
  int32_t HeldBytes(State state) const { return nodes_[static_cast<size_t>(state)].held_bytes; }

 private:
  // The node of a prefix of some strings. The children of a node follow each other, by byte.
  struct Node {
    int32_t first_child = 0;
    // The node of the longest proper suffix of its prefix that is a prefix of a string too.
    int32_t fallback = 0;
    // -1: none.
    int32_t match_index = -1;
    int32_t match_length = 0;
    int32_t held_bytes = 0;
    uint16_t child_count = 0;
    unsigned char byte = 0;
  };

  // -1: none.
  State Child(State state, unsigned char byte) const;

  std::vector<Node> nodes_;
};

}  // namespace logitd

#endif  // LOGITD_CORE_STOP_STRINGS_H_
