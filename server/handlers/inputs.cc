#include "server/handlers/inputs.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "core/errors.h"
#include "core/limits.h"
#include "core/status_macros.h"
#include "server/converters/sampling.h"
#include "server/converters/text.h"
#include "server/models/text_outcomes.h"
#include "server/models/token_bound.h"

namespace logitd::server {
namespace {

// Texts are tokenised in calls of bounded size.
constexpr size_t kTextsPerCall = 256;

std::string UpTo(int64_t limit) { return "[0, " + std::to_string(limit) + "]"; }

// Collects texts and tokenises all of them together.
class TokenizerBatch {
 public:
  explicit TokenizerBatch(TokenizationOptions options) : options_(std::move(options)) {}

  // The number of the text, for Tokens().
  size_t Add(std::string text) {
    bytes_ += static_cast<int64_t>(text.size());
    texts_.push_back(std::move(text));
    return texts_.size() - 1;
  }

  absl::Status Run(ServedModel& model, const RequestContext& context) {
    for (size_t begin = 0; begin < texts_.size(); begin += kTextsPerCall) {
      const size_t end = std::min(begin + kTextsPerCall, texts_.size());
      ASSIGN_OR_RETURN(auto lists, model.Tokenize({texts_.begin() + static_cast<ptrdiff_t>(begin),
                                                   texts_.begin() + static_cast<ptrdiff_t>(end)},
                                                  options_, context));
      std::move(lists.begin(), lists.end(), std::back_inserter(tokens_));
    }
    return absl::OkStatus();
  }

  int64_t bytes() const { return bytes_; }
  const std::vector<TokenId>& Tokens(size_t index) const { return tokens_[index]; }
  const std::string& Text(size_t index) const { return texts_[index]; }

 private:
  const TokenizationOptions options_;
  std::vector<std::string> texts_;
  int64_t bytes_ = 0;
  std::vector<std::vector<TokenId>> tokens_;
};

// Where an item's texts stand in the tokenizer's batches.
struct PendingContinuation {
  std::optional<size_t> joint;  // with the context before it
  std::optional<size_t> alone;  // after a context of token ids
};

struct PendingItem {
  std::string context_text;
  int32_t moved_space_count = 0;
  std::optional<size_t> context;
  std::vector<PendingContinuation> continuations;
};

// Where text meets text: what the cut of the joint tokens did.
v1::BoundaryReport ReportBoundary(const ServedModel& model, const std::vector<TokenId>& context_ids,
                                  const std::vector<TokenId>& joint_ids, size_t context_bytes, size_t text_bytes,
                                  int32_t moved) {
  v1::BoundaryReport report;
  report.set_moved_space_count(moved);
  report.set_context_tokens_changed(joint_ids.size() < context_ids.size() ||
                                    !std::equal(context_ids.begin(), context_ids.end(), joint_ids.begin()));
  const Vocabulary& vocabulary = model.vocabulary();
  // Without the tokens' bytes nothing is known of the place of the boundary.
  if (vocabulary.offsets.empty()) return report;
  size_t piece_bytes = 0;
  for (const TokenId id : joint_ids) piece_bytes += vocabulary.TokenBytes(id).size();
  // Some tokenizers put a space in front of a text: the boundary lies so much later in the bytes of the tokens.
  if (piece_bytes > text_bytes) context_bytes += piece_bytes - text_bytes;
  size_t begin = 0;
  for (size_t i = 0; i < joint_ids.size(); ++i) {
    const size_t end = begin + vocabulary.TokenBytes(joint_ids[i]).size();
    if (begin < context_bytes && context_bytes < end) {
      report.set_token_spans_boundary(true);
      // The token counts as the continuation's if it comes after the cut, else as the context's.
      const bool is_continuation = i >= context_ids.size();
      report.set_spanning_bytes(static_cast<int32_t>(is_continuation ? context_bytes - begin : end - context_bytes));
    }
    begin = end;
  }
  return report;
}

// Bytes and characters that the length normalisations divide by.
absl::Status SetCounts(const v1::Continuation& message, const std::optional<std::string>& text,
                       ContinuationInput& continuation) {
  if (text) {
    const int32_t uncounted = message.uncounted_prefix_bytes();
    if (uncounted < 0 || static_cast<size_t>(uncounted) > text->size()) {
      return errors::OutOfRange("uncounted_prefix_bytes", int64_t{uncounted},
                                "in " + UpTo(static_cast<int64_t>(text->size())));
    }
    const std::string_view counted = std::string_view(*text).substr(static_cast<size_t>(uncounted));
    if (IsUtf8(*text) && !IsUtf8(counted)) {
      return errors::OutOfRange("uncounted_prefix_bytes", int64_t{uncounted}, "on a character border");
    }
    if (!counted.empty()) continuation.byte_count = static_cast<int64_t>(counted.size());
    if (!counted.empty()) continuation.character_count = CountCharacters(counted);
  } else if (message.uncounted_prefix_bytes() != 0) {
    return errors::OutOfRange("uncounted_prefix_bytes", int64_t{message.uncounted_prefix_bytes()},
                              "0 where the model's tokens have no bytes");
  }
  if (message.has_byte_count()) {
    if (message.byte_count() < 1) return errors::OutOfRange("byte_count", message.byte_count(), ">= 1");
    continuation.byte_count = message.byte_count();
  }
  if (message.has_character_count()) {
    if (message.character_count() < 1) return errors::OutOfRange("character_count", message.character_count(), ">= 1");
    continuation.character_count = message.character_count();
  }
  return absl::OkStatus();
}

// Reads the item's context; texts go to `with_special`, tokenised at the beginning of a text.
absl::Status BeginItem(const ItemRequest& request, const TokenizationOptions& options, const ServedModel& model,
                       TokenizerBatch& with_special, TokenizerBatch& without_special, ItemInput& item,
                       PendingItem& pending) {
  const ModelDescription& description = model.description();
  bool text_context = false;
  if (request.context != nullptr && request.context->has_text()) {
    pending.context_text = request.context->text();
    text_context = !pending.context_text.empty();
  } else if (request.context != nullptr && request.context->has_tokens()) {
    const auto& ids = request.context->tokens().token_ids();
    RETURN_IF_ERROR(CheckTokenIds({ids.data(), static_cast<size_t>(ids.size())}, "context.tokens.token_ids",
                                  description.vocab_size));
    item.context_token_ids.assign(ids.begin(), ids.end());
  }
  std::string moved;
  if (text_context && options.boundary == Boundary::kLmEval) {
    const size_t last = pending.context_text.find_last_not_of(" \t\n\r\f\v");
    const size_t kept = last == std::string::npos ? 0 : last + 1;
    // A context of nothing but spaces stays as it is: it must not become empty.
    if (kept > 0) moved = pending.context_text.substr(kept);
    pending.context_text.resize(pending.context_text.size() - moved.size());
    pending.moved_space_count = static_cast<int32_t>(moved.size());
  }
  if (text_context) pending.context = with_special.Add(pending.context_text);
  if (!text_context && item.context_token_ids.empty()) {
    if (description.bos_token_id) {
      item.implicit_context_token_id = description.bos_token_id;
    } else if (!description.eos_token_ids.empty()) {
      item.implicit_context_token_id = description.eos_token_ids.front();
    } else {
      return errors::EmptyPrompt("context");
    }
    item.context_token_ids = {*item.implicit_context_token_id};
  }
  for (const ItemRequest::Part& part : request.continuations) {
    PendingContinuation& continuation = pending.continuations.emplace_back();
    if (!part.continuation->input().has_text() || part.continuation->input().text().empty()) continue;
    const std::string text = moved + part.continuation->input().text();
    if (text_context) {
      continuation.joint = with_special.Add(pending.context_text + text);
    } else {
      continuation.alone = without_special.Add(text);
    }
  }
  return absl::OkStatus();
}

absl::Status FinishContinuation(const v1::Continuation& message, const PendingItem& pending,
                                const PendingContinuation& where, const TokenizerBatch& with_special,
                                const TokenizerBatch& without_special, const ServedModel& model, const ItemInput& item,
                                ContinuationInput& continuation) {
  const ModelDescription& description = model.description();
  const Vocabulary& vocabulary = model.vocabulary();
  std::optional<std::string> text;
  switch (message.input().input_case()) {
    case v1::Input::kTokens: {
      const auto& ids = message.input().tokens().token_ids();
      RETURN_IF_ERROR(CheckTokenIds({ids.data(), static_cast<size_t>(ids.size())}, "input.tokens.token_ids",
                                    description.vocab_size));
      continuation.token_ids.assign(ids.begin(), ids.end());
      if (continuation.token_ids.empty()) return errors::EmptyContinuation("input.tokens");
      if (!vocabulary.offsets.empty()) {
        text.emplace();
        for (const TokenId id : continuation.token_ids) text->append(vocabulary.TokenBytes(id));
      }
      break;
    }
    case v1::Input::kText:
      if (message.input().text().empty()) return errors::EmptyContinuation("input.text");
      // Spaces that came from the context never count.
      text = message.input().text();
      if (where.joint) {
        const std::vector<TokenId>& context_ids = with_special.Tokens(*pending.context);
        const std::vector<TokenId>& joint_ids = with_special.Tokens(*where.joint);
        continuation.boundary = ReportBoundary(model, context_ids, joint_ids, pending.context_text.size(),
                                               with_special.Text(*where.joint).size(), pending.moved_space_count);
        if (joint_ids.size() <= context_ids.size()) return errors::BoundaryToken("input.text");
        continuation.token_ids.assign(joint_ids.begin() + static_cast<ptrdiff_t>(context_ids.size()), joint_ids.end());
      } else {
        continuation.token_ids = without_special.Tokens(*where.alone);
        if (continuation.token_ids.empty()) return errors::EmptyContinuation("input.text");
      }
      break;
    case v1::Input::INPUT_NOT_SET:
      return errors::Required("input");
  }
  RETURN_IF_ERROR(SetCounts(message, text, continuation));
  const auto total = static_cast<int64_t>(item.context_token_ids.size() + continuation.token_ids.size());
  // The last token is not fed: its row is not needed.
  if (total > int64_t{description.context_length} + 1) {
    return errors::ContextLengthExceeded("input", total, int64_t{description.context_length} + 1);
  }
  return model.CheckFitsACache(total - 1, "input");
}

}  // namespace

absl::StatusOr<std::vector<TokenId>> PromptTokens(const v1::Input& prompt, const TokenizationOptions& options,
                                                  ServedModel& model, const RequestContext& context) {
  const ModelDescription& description = model.description();
  std::vector<TokenId> ids;
  switch (prompt.input_case()) {
    case v1::Input::kText: {
      // Whether or not a BOS would be added: a prompt says something.
      if (prompt.text().empty()) return errors::EmptyPrompt("prompt.text");
      if (static_cast<int64_t>(prompt.text().size()) > kMaxTextBytes) {
        return errors::LimitExceeded("prompt.text", static_cast<int64_t>(prompt.text().size()),
                                     UpTo(kMaxTextBytes) + " bytes", "max_text_bytes");
      }
      RETURN_IF_ERROR(CheckTextFits("prompt.text", static_cast<int64_t>(prompt.text().size()), options, model,
                                    description.context_length));
      ASSIGN_OR_RETURN(auto lists, TokenizeEach(model, {prompt.text()}, options, context));
      if (!lists[0]) return errors::TokenizerFailed("prompt.text", static_cast<int64_t>(prompt.text().size()));
      ids = *std::move(lists[0]);
      break;
    }
    case v1::Input::kTokens: {
      const auto& tokens = prompt.tokens().token_ids();
      RETURN_IF_ERROR(CheckTokenIds({tokens.data(), static_cast<size_t>(tokens.size())}, "prompt.tokens.token_ids",
                                    description.vocab_size));
      ids.assign(tokens.begin(), tokens.end());
      break;
    }
    case v1::Input::INPUT_NOT_SET:
      return errors::Required("prompt");
  }
  if (ids.empty()) return errors::EmptyPrompt("prompt");
  if (static_cast<int64_t>(ids.size()) > description.context_length) {
    return errors::ContextLengthExceeded("prompt", static_cast<int64_t>(ids.size()), description.context_length);
  }
  if (ids.size() > kMaxPromptTokens) {
    return errors::LimitExceeded("prompt", static_cast<int64_t>(ids.size()), UpTo(kMaxPromptTokens),
                                 "max_prompt_tokens");
  }
  return ids;
}

absl::StatusOr<std::vector<ItemInput>> ResolveItems(const std::vector<ItemRequest>& items,
                                                    const TokenizationOptions& options, ServedModel& model,
                                                    const RequestContext& context) {
  TokenizationOptions continues = options;
  continues.add_special_tokens = false;
  TokenizerBatch with_special(options);
  TokenizerBatch without_special(continues);
  std::vector<ItemInput> inputs(items.size());
  std::vector<PendingItem> pending(items.size());
  for (size_t i = 0; i < items.size(); ++i) {
    inputs[i].status =
        WithFieldPrefix(BeginItem(items[i], options, model, with_special, without_special, inputs[i], pending[i]),
                        items[i].field + ".");
  }
  const int64_t bytes = with_special.bytes() + without_special.bytes();
  if (bytes > kMaxTextBytes) {
    return errors::LimitExceeded("items", bytes, UpTo(kMaxTextBytes) + " bytes of text", "max_text_bytes");
  }
  RETURN_IF_ERROR(with_special.Run(model, context));
  RETURN_IF_ERROR(without_special.Run(model, context));

  int64_t token_count = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    ItemInput& item = inputs[i];
    if (!item.status.ok()) continue;
    if (pending[i].context) item.context_token_ids = with_special.Tokens(*pending[i].context);
    if (item.context_token_ids.empty()) {
      item.status = WithFieldPrefix(errors::EmptyPrompt("context"), items[i].field + ".");
      continue;
    }
    token_count += static_cast<int64_t>(item.context_token_ids.size());
    for (size_t j = 0; j < items[i].continuations.size(); ++j) {
      const ItemRequest::Part& part = items[i].continuations[j];
      ContinuationInput& continuation = item.continuations.emplace_back();
      continuation.status =
          WithFieldPrefix(FinishContinuation(*part.continuation, pending[i], pending[i].continuations[j], with_special,
                                             without_special, model, item, continuation),
                          items[i].field + "." + part.field + ".");
      token_count += static_cast<int64_t>(continuation.token_ids.size());
    }
  }
  if (token_count > kMaxScoreTokens) {
    return errors::LimitExceeded("items", token_count, UpTo(kMaxScoreTokens) + " tokens", "max_score_tokens");
  }
  return inputs;
}

}  // namespace logitd::server
