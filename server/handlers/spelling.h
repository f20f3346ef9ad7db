// Finds out whether tokens spell a text, and which token holds a given byte of it.
//
// A tokenizer may put a prefix before a text (SentencePiece: a space). It may have tokens without bytes that stand for
// a name in the text (control tokens). It may change the text (lower case, UNK for missing tokens). So this matches the
// bytes of the tokens with the text, token by token:
//
//   text "<s>ab c", tokens [<s>] [▁a] [b▁] [c], prefix " "      [<s>] stands for its name; a text begins after it, so a
//        0  3   6              3    4   6   7  <- end of each    prefix may stand there; byte 4 ("b") lies in token 2
//
// - The tokenizer may have added a control token, or found it by its name. It adds them before the text (BOS), and some
//   add one behind it, so a name in the text belongs to the earliest possible token.
// - Nothing is guessed from differences of lengths: tokens that do not match do not spell the text.
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

// The place of a text's byte in its tokens.
struct TextCut {
  // The index of the first token that ends after the byte; the number of tokens if none does.
  size_t token_index = 0;
  // Bytes of that token before the byte, and from the byte on. `before` > 0: the token spans the place.
  size_t bytes_before = 0;
  size_t bytes_after = 0;
  // The tokenizer put its prefix inside the text, so the tokens do not spell it.
  bool has_inner_prefix = false;
};

// A request's knowledge of a model's tokens. For one thread.
class Spelling {
 public:
  // Errors: as ServedModel::Tokenize. REQUIRES: the model outlives the result.
  static absl::StatusOr<Spelling> Of(ServedModel& model, const TokenizationOptions& options,
                                     const RequestContext& context);

  // Learns the names of the control tokens among `tokens`, if a text may hold them. Call it before Find.
  absl::Status Learn(std::span<const TokenId> tokens, const RequestContext& context);

  // False: the bytes of the model's tokens are unknown, so nothing is known about spelling.
  bool is_known() const { return !vocabulary_->offsets.empty(); }

  // Matches all of `tokens` with all of `text`. Unset: they do not spell it. `begins_text`: the tokenizer may have put
  // its prefix before the text. Time: linear.
  std::optional<TextCut> Find(std::span<const TokenId> tokens, std::string_view text, size_t byte,
                              bool begins_text = true) const;

  // Whether the token stands for no known text: it is UNK or a control token.
  bool IsUnspelled(TokenId id) const { return vocabulary_->TokenBytes(id).empty() && !names_.contains(id); }

  // Whether it is known that the tokens do not spell the text.
  bool IsChanged(std::span<const TokenId> tokens, std::string_view text, bool begins_text = true) const;

 private:
  Spelling(ServedModel& model, const TokenizationOptions& options, std::string prefix);

  std::optional<TextCut> Match(std::span<const TokenId> tokens, std::string_view text, size_t byte, bool begins_text,
                               bool prefix_anywhere) const;

  ServedModel* model_;
  const Vocabulary* vocabulary_;
  // The tokenizer turns the names of control tokens in a text into control tokens.
  bool has_names_;
  // The token that the tokenizer puts before a text, if any. As the first token it stands for no text.
  std::optional<TokenId> added_token_id_;
  // The bytes that the tokenizer puts before a text.
  std::string prefix_;
  std::map<TokenId, std::string> names_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_SPELLING_H_
