// The text of a completion as its tokens come: where a stop string ends it, and how much of it is certain by now.
//
//   CompletionText text(std::make_shared<const StopStrings>(std::vector<std::string>{"END"}));
//   text.Append("a E", sums1);   // token_count() 1, TakeText() "a ": "E" may become "END"
//   text.Append("ven", sums2);   // token_count() 2, TakeText() "Even"
//   text.Append(" EN", sums3);
//   text.Append("D.", sums4);    // the stop string 0, with 2 bytes cut off: the text is "a Even ", of 3 tokens
//
// The rules are those of StopCriteria.stop_strings in the contract; docs/stop-strings.md explains them. Tokens, bytes
// and sums are cut at one place:
//
//   tokens    | a E | ven |  EN | D. |        bytes of the stop string: E N D
//   text      |--- a Even --|                 cut at its first byte
//   returned  |-----|-----|-----|             every token that begins before the cut; of the third, 2 bytes are cut off
//   sums      those after the third token, bit for bit
//
// Time is linear in the bytes, whatever the stop strings are. Thread-compatible.
#ifndef LOGITD_CORE_COMPLETION_TEXT_H_
#define LOGITD_CORE_COMPLETION_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "core/sequence.h"
#include "core/stop_strings.h"

namespace logitd {

class CompletionText {
 public:
  // Null: no stop strings. Then every token is certain at once.
  explicit CompletionText(std::shared_ptr<const StopStrings> stops = nullptr) : stops_(std::move(stops)) {}

  // A stop string that ends the text.
  struct Stop {
    // Its place in the list.
    int32_t index = 0;
    // Bytes of the last token that are not in the text; 0: the stop string begins with a token.
    int32_t cut_byte_count = 0;
  };

  // Adds a token. `bytes`: its own in the text, none for a control token or a stop token. `sums`: those after it.
  // `looks`: whether a stop string that ends in this token ends the text (min_tokens). Set: one does; the text has
  // ended and is cut. REQUIRES: !has_ended().
  std::optional<Stop> Append(std::string_view bytes, const SequenceSums& sums, bool looks = true);

  // No token follows. All that was held back is certain now.
  void End();

  bool has_ended() const { return has_ended_; }
  // The number of tokens that are certain: they will be returned, whatever follows. It never falls.
  int32_t token_count() const { return token_count_; }
  // The sums after these tokens.
  const SequenceSums& sums() const { return sums_; }
  // All bytes so far; after the end, exactly those of the text.
  const std::string& bytes() const { return bytes_; }
  // The text that has become certain since the last call, in whole characters (base/utf8.h, ToUtf8). All that it ever
  // returned is ToUtf8 of the final bytes().
  std::string TakeText();

 private:
  // A token that may yet be cut off.
  struct Held {
    size_t begin = 0;
    size_t end = 0;
    SequenceSums sums;
  };

  // Ends the text with its first `cut` bytes. Returns the number of bytes that the last token has behind them.
  size_t CutAt(size_t cut);
  // The first `settled` bytes are certain.
  void Settle(size_t settled);

  std::shared_ptr<const StopStrings> stops_;
  StopStrings::State state_ = StopStrings::kStart;
  std::string bytes_;
  size_t settled_ = 0;
  size_t taken_ = 0;
  std::deque<Held> held_;
  int32_t token_count_ = 0;
  SequenceSums sums_;
  // The end of the last certain token, which may lie behind the settled bytes.
  size_t last_end_ = 0;
  bool has_ended_ = false;
};

}  // namespace logitd

#endif  // LOGITD_CORE_COMPLETION_TEXT_H_
