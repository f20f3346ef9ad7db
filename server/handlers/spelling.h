// Whether tokens spell a text, and which token holds a given byte of it.
//
// A tokenizer may put something before a text that is not in it (SentencePiece: a space), may have tokens without bytes
// of their own that stand for a name in the text (control tokens), and may change the text (lower case, UNK for what
// it has no token for). So the bytes of the tokens are matched against the text, token by token:
//
//   text "<s>ab c", tokens [<s>] [▁a] [b▁] [c], prefix " "      [<s>] is its name; then a text begins: its prefix may
//        0  3   6              3    4   6   7  <- end of each    stand there; byte 4 ("b") lies in token 2
//
// A control token may be one that the tokenizer added, or one that it found by its name. Added ones stand before the
// text (BOS), and some tokenizers add one behind it, so that a name in the text belongs to the earliest token that it
// can.
//
// Nothing is guessed from differences of lengths: what does not match is said not to.
#ifndef LOGITD_SERVER_HANDLERS_SPELLING_H_
#define LOGITD_SERVER_HANDLERS_SPELLING_H_

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/types.h"
#include "core/vocabulary.h"
#include "server/models/served_model.h"
#include "server/models/tokenization.h"
#include "server/request_context.h"

namespace logitd::server {

// Where a text's byte lies in its tokens.
struct TextCut {
  // The first token that ends after the byte: as many tokens come before it. The number of tokens, if there is none.
  size_t token_index = 0;
  // Bytes of that token before the byte, and from it on. `before` > 0: the token spans the place.
  size_t bytes_before = 0;
  size_t bytes_after = 0;
  // The tokenizer put its prefix into the midst of the text: the tokens do not spell the text.
  bool has_inner_prefix = false;
};

// One request's knowledge of a model's tokens. One thread.
class Spelling {
 public:
  // REQUIRES: the model outlives it. Errors: as ServedModel::Tokenize.
  static absl::StatusOr<Spelling> Of(ServedModel& model, const TokenizationOptions& options,
                                     const RequestContext& context);

  // Learns the names of control tokens among `tokens`, where the text may hold them. Before Find.
  absl::Status Learn(std::span<const TokenId> tokens, const RequestContext& context);

  // False: the model's tokens have no bytes that are known, so nothing can be said.
  bool is_known() const { return !vocabulary_->offsets.empty(); }

  // Matches all of `tokens` with all of `text`; unset: they do not spell it. `begins_text`: the tokenizer may have put
  // its prefix before the text. Time: linear.
  std::optional<TextCut> Find(std::span<const TokenId> tokens, std::string_view text, size_t byte,
                              bool begins_text = true) const;

  // The token stands for no text that is known: unknown characters, or a control token.
  bool IsUnspelled(TokenId id) const { return vocabulary_->TokenBytes(id).empty() && !names_.contains(id); }

  // Whether it is known that the tokens do not spell the text.
  bool IsChanged(std::span<const TokenId> tokens, std::string_view text, bool begins_text = true) const;

 private:
  Spelling(ServedModel& model, const TokenizationOptions& options, std::string prefix);

  std::optional<TextCut> Match(std::span<const TokenId> tokens, std::string_view text, size_t byte, bool begins_text,
                               bool prefix_anywhere) const;

  ServedModel* model_;
  const Vocabulary* vocabulary_;
  // Names of control tokens in the text are control tokens.
  bool has_names_;
  // The token that the tokenizer puts before a text, if any: as the text's first, it stands for nothing.
  std::optional<TokenId> added_token_id_;
  // What the tokenizer puts before a text.
  std::string prefix_;
  std::map<TokenId, std::string> names_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_SPELLING_H_
