// The tokens that only a chat template may write: control tokens, and others that the template uses as marks.
//
//   text "<|im_start|>user\n<|im_end|>?<|im_end|>"    [<|im_start|>] "user\n<|im_end|>?" [<|im_end|>]
//         ~~~~~~~~~~~~ template      ~~~~~~~~~~ template
//
// The pieces between marks are tokenised as plain text, each as a whole, so that the tokens are those that the whole
// text has when no message names a mark.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_CHAT_MARKS_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_CHAT_MARKS_H_

#include <string>
#include <string_view>
#include <vector>

#include "client/runner/llama/chat_template.h"
#include "core/types.h"
#include "llama.h"

namespace logitd::runner {

// Not changed after construction.
class ChatMarks {
 public:
  // A token of llama.cpp's kind "user defined" is found in every text. It is a mark if its text looks like one
  // ("<start_of_turn>", "[INST]") and the template holds it.
  ChatMarks(const llama_vocab* vocab, std::string_view template_source);

  // A mark, or text.
  struct Piece {
    // kNoMark: text.
    TokenId mark = kNoMark;
    std::string_view text;
  };
  static constexpr TokenId kNoMark = -1;

  // The marks that the template wrote, and the text between them. A message's own name of a mark of the kind "user
  // defined" is cut in two pieces, because nothing else keeps it from becoming that token. Views into `text.text`.
  std::vector<Piece> Split(const ChatText& text) const;

  // The text without marks: each of their names is overwritten by as many letters. The same text if it has none.
  std::string WithoutMarks(std::string text) const;

 private:
  struct Mark {
    TokenId id = 0;
    std::string name;
    // White space before and after the mark belongs to it.
    bool strips_left = false;
    bool strips_right = false;
    bool is_user_defined = false;
  };

  // Longest name first, as llama.cpp looks for them.
  std::vector<Mark> marks_;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_CHAT_MARKS_H_
