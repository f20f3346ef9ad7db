#include "server/handlers/item_tokens.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string_view>
#include <utility>

#include "base/status_macros.h"
#include "base/utf8.h"
#include "core/errors.h"
#include "core/limits.h"
#include "server/converters/wire.h"
#include "server/handlers/boundary.h"
#include "server/handlers/continuation_counts.h"
#include "server/handlers/prompt_input.h"
#include "server/handlers/segments.h"
#include "server/handlers/spelling.h"
#include "server/models/text_outcomes.h"
#include "server/models/token_bound.h"

namespace logitd::server {
namespace {

// One call of the tokenizer takes at most this much; texts are joined for one call at a time.
constexpr size_t kTextsPerCall = 256;
constexpr size_t kBytesPerCall = 1 << 20;

// `bytes`: those of all texts of a request.
absl::Status CheckTextBytes(int64_t bytes) {
  if (bytes <= kMaxTextBytes) return absl::OkStatus();
  return errors::AboveLimit("items", bytes, kMaxTextBytes, 0, "bytes of text");
}

// How a continuation's tokens are made.
enum class Making {
  // No tokens: the continuation has an error.
  kNone,
  // The request gives them.
  kGiven,
  // The request gives them, so the context keeps the trailing spaces that LM_EVAL would move to a text.
  kGivenAfterSpaces,
  // The text begins, because the context is empty.
  kBeginning,
  // The text goes on after the context.
  kContinuing,
  // The context and the continuation are one text.
  kJoined,
};

std::string_view TextOf(const ContinuationRequest& request) {
  return request.text != nullptr ? std::string_view(*request.text) : std::string_view();
}

// The items of one request on their way from messages to tokens.
class Resolution {
 public:
  Resolution(const std::vector<ItemRequest>& items, const TokenizationOptions& options, ServedModel& model,
             const RequestContext& context)
      : items_(items),
        options_(options),
        model_(model),
        description_(model.description()),
        context_(context),
        outcomes_(model, context),
        inputs_(items.size()),
        pending_(items.size()) {}

  absl::StatusOr<std::vector<ItemInput>> Run();

 private:
  // The state of an item before its texts become tokens. Views point into the request.
  struct Pending {
    bool has_text_context = false;
    // A context in segments.
    std::optional<SegmentsInput> segments;
    // Under LM_EVAL without its trailing white space, which is `moved`.
    std::string_view context;
    std::string_view moved;
    TextSize whole_context_size;
    bool context_changed = false;
    std::vector<Making> continuations;
  };
  // One text to be tokenised.
  struct Place {
    size_t item = 0;
    // Unset: the context itself.
    std::optional<size_t> continuation;
  };

  absl::Status ReadContext(size_t item);
  absl::Status ReadContinuation(size_t item, size_t index);
  // Checks that any continuation can follow a context of these tokens.
  absl::Status CheckContextFits(const std::vector<TokenId>& ids, std::string_view field) const;
  // Checks before tokenising that a text may fit the model's context.
  absl::Status CheckFits(const Place& place) const;
  // Removes the places whose text does not fit, and those of failed items.
  void LeaveOut(std::vector<Place>& places);
  std::string TextAt(const Place& place) const;
  size_t BytesAt(const Place& place) const;
  // Tokenises the texts at all places and stores the tokens.
  absl::Status Tokenize(const std::vector<Place>& places, const TokenizationOptions& options);
  // Sets the status of the context or continuation at `place`.
  void SetStatus(const Place& place, const absl::Status& status);
  absl::Status TakeContext(size_t item, const std::string& text, std::vector<TokenId> tokens);
  absl::Status TakeContinuation(const Place& place, const std::string& text, std::vector<TokenId> tokens);
  // The last step for every continuation.
  absl::Status Finish(const ContinuationRequest& request, ItemInput& item, ContinuationInput& continuation);
  // Drops the tokens at the beginning of the context that are too many, if the request allows it.
  void Truncate(ContinuationInput& continuation);
  absl::Status CountTokens(size_t count);
  absl::StatusOr<TokenId> ImplicitContext() const { return ImplicitContextToken(description_, "context"); }
  bool IsJoined(const Place& place) const {
    const Making making = pending_[place.item].continuations[*place.continuation];
    return making == Making::kJoined || making == Making::kGivenAfterSpaces;
  }
  const ContinuationRequest& RequestAt(const Place& place) const {
    return items_[place.item].continuations[*place.continuation];
  }
  // The field of a continuation whose tokens the text gives: "tokens" if only the context's text was tokenised.
  std::string_view TextField(const Place& place) const { return RequestAt(place).text != nullptr ? "text" : "tokens"; }
  std::string FieldOf(const Place& place) const { return items_[place.item].field + "." + RequestAt(place).field; }

  const std::vector<ItemRequest>& items_;
  const TokenizationOptions& options_;
  ServedModel& model_;
  const ModelDescription& description_;
  const RequestContext& context_;
  TextOutcomes outcomes_;
  std::vector<ItemInput> inputs_;
  std::vector<Pending> pending_;
  // The rest of contexts that have lost that many tokens.
  std::map<std::pair<SharedTokens, int64_t>, SharedTokens> truncated_;
  std::optional<Spelling> spelling_;
  int64_t token_count_ = 0;
};

absl::Status Resolution::ReadContext(size_t item) {
  RETURN_IF_ERROR(CheckId(items_[item].id));
  RETURN_IF_ERROR(items_[item].status);
  const v1::Input* message = items_[item].context;
  Pending& pending = pending_[item];
  std::vector<TokenId> ids;
  if (message != nullptr) RETURN_IF_ERROR(CheckForm(*message, "context"));
  if (pending.segments) {
    RETURN_IF_ERROR(pending.segments->status);
    ids = std::move(pending.segments->token_ids);
    inputs_[item].report = std::move(pending.segments->report);
    RETURN_IF_ERROR(CheckContextFits(ids, "context.segments"));
  } else if (message != nullptr && message->has_text()) {
    pending.context = message->text();
    pending.has_text_context = !pending.context.empty();
    pending.whole_context_size = SizeOf(pending.context);
  } else if (message != nullptr && message->has_tokens()) {
    const auto& given = message->tokens().token_ids();
    RETURN_IF_ERROR(CheckTokenIds(given, "context.tokens.token_ids", description_.vocab_size));
    ids.assign(given.begin(), given.end());
    RETURN_IF_ERROR(CheckContextFits(ids, "context.tokens"));
  }
  if (pending.has_text_context) {
    const auto& parts = items_[item].continuations;
    const bool meets_text =
        std::any_of(parts.begin(), parts.end(), [](const ContinuationRequest& part) { return part.text != nullptr; });
    // LM_EVAL moves spaces to a text; before ids they stay.
    if (options_.boundary == Boundary::kLmEval && meets_text) {
      const size_t kept = StrippedSize(pending.context);
      pending.moved = pending.context.substr(kept);
      pending.context = pending.context.substr(0, kept);
    }
    return absl::OkStatus();
  }
  if (ids.empty()) {
    ASSIGN_OR_RETURN(inputs_[item].implicit_context_token_id, ImplicitContext());
    ids = {*inputs_[item].implicit_context_token_id};
  }
  inputs_[item].context = std::make_shared<const std::vector<TokenId>>(std::move(ids));
  return absl::OkStatus();
}

absl::Status Resolution::CheckContextFits(const std::vector<TokenId>& ids, std::string_view field) const {
  if (options_.truncates_context || std::ssize(ids) <= description_.context_length) return absl::OkStatus();
  return errors::ContextLengthExceeded(field, std::ssize(ids), description_.context_length,
                                       ", or tokenization.truncation must be CONTEXT_LEFT");
}

absl::Status Resolution::ReadContinuation(size_t item, size_t index) {
  const ContinuationRequest& request = items_[item].continuations[index];
  Making& making = pending_[item].continuations[index];
  if (request.tokens != nullptr) {
    const auto& ids = request.tokens->token_ids();
    RETURN_IF_ERROR(CheckTokenIds(ids, "tokens.token_ids", description_.vocab_size));
    if (ids.empty()) return errors::EmptyContinuation("tokens");
    making = pending_[item].moved.empty() ? Making::kGiven : Making::kGivenAfterSpaces;
  } else if (request.text != nullptr) {
    if (request.text->empty()) return errors::EmptyContinuation("text");
    if (pending_[item].has_text_context) {
      making = options_.boundary == Boundary::kSeparate ? Making::kContinuing : Making::kJoined;
    } else {
      making = inputs_[item].implicit_context_token_id ? Making::kBeginning : Making::kContinuing;
    }
  }
  // Run reports a continuation with neither.
  return absl::OkStatus();
}

absl::Status Resolution::CheckFits(const Place& place) const {
  const Pending& pending = pending_[place.item];
  const int64_t most = description_.context_length;
  if (options_.truncates_context && (!place.continuation || IsJoined(place))) return absl::OkStatus();
  if (!place.continuation) return CheckTextFits("context.text", SizeOf(pending.context), options_, model_, most);
  TextSize size = SizeOf(TextOf(RequestAt(place)));
  if (IsJoined(place)) size = size + pending.whole_context_size;
  // The last token is never fed.
  return CheckTextFits(TextField(place), size, options_, model_, most + 1);
}

void Resolution::LeaveOut(std::vector<Place>& places) {
  std::erase_if(places, [this](const Place& place) {
    if (!inputs_[place.item].status.ok()) return true;
    const absl::Status fits = CheckFits(place);
    if (!fits.ok()) SetStatus(place, fits);
    return !fits.ok();
  });
}

size_t Resolution::BytesAt(const Place& place) const {
  const Pending& pending = pending_[place.item];
  if (!place.continuation) return pending.context.size();
  // 0 for ids.
  const size_t own = TextOf(RequestAt(place)).size();
  return IsJoined(place) ? pending.context.size() + pending.moved.size() + own : own;
}

std::string Resolution::TextAt(const Place& place) const {
  const Pending& pending = pending_[place.item];
  if (!place.continuation) return std::string(pending.context);
  const std::string_view own = TextOf(RequestAt(place));
  if (!IsJoined(place)) return std::string(own);
  std::string text;
  text.reserve(BytesAt(place));
  return text.append(pending.context).append(pending.moved).append(own);
}

absl::Status Resolution::CountTokens(size_t count) {
  token_count_ += static_cast<int64_t>(count);
  if (token_count_ <= kMaxScoreTokens) return absl::OkStatus();
  return errors::AboveLimit("items", token_count_, kMaxScoreTokens, 0, "tokens");
}

absl::Status Resolution::Tokenize(const std::vector<Place>& places, const TokenizationOptions& options) {
  for (size_t begin = 0; begin < places.size();) {
    std::vector<std::string> texts;
    size_t bytes = 0;
    size_t end = begin;
    for (; end < places.size() && texts.size() < kTextsPerCall; ++end) {
      bytes += BytesAt(places[end]);
      if (end > begin && bytes > kBytesPerCall) break;
      texts.push_back(TextAt(places[end]));
    }
    ASSIGN_OR_RETURN(auto outcomes, outcomes_.Tokenize(texts, options));
    for (const TextOutcome& outcome : outcomes) {
      if (outcome.ok()) RETURN_IF_ERROR(spelling_->Learn(*outcome, context_));
    }
    for (size_t i = begin; i < end; ++i) {
      const Place& place = places[i];
      TextOutcome& outcome = outcomes[i - begin];
      if (!outcome.ok()) {
        SetStatus(place, WithField(outcome.status(), place.continuation ? TextField(place) : "context.text"));
        continue;
      }
      RETURN_IF_ERROR(place.continuation ? TakeContinuation(place, texts[i - begin], *std::move(outcome))
                                         : TakeContext(place.item, texts[i - begin], *std::move(outcome)));
    }
    begin = end;
  }
  return absl::OkStatus();
}

void Resolution::SetStatus(const Place& place, const absl::Status& status) {
  ItemInput& item = inputs_[place.item];
  if (place.continuation) {
    item.continuations[*place.continuation].status = status;
  } else {
    item.status = In(items_[place.item].field + ".", status);
  }
}

absl::Status Resolution::TakeContext(size_t item, const std::string& text, std::vector<TokenId> tokens) {
  ItemInput& input = inputs_[item];
  input.report = ReportText(*spelling_, description_, options_, text, tokens);
  pending_[item].context_changed = input.report.text_changed();
  input.context = std::make_shared<const std::vector<TokenId>>(std::move(tokens));
  // JOINT may use a shorter part of it.
  if (options_.boundary != Boundary::kJoint) {
    input.status = In(items_[item].field + ".", CheckContextFits(*input.context, "context.text"));
  }
  return CountTokens(input.context->size());
}

absl::Status Resolution::TakeContinuation(const Place& place, const std::string& text, std::vector<TokenId> tokens) {
  ItemInput& item = inputs_[place.item];
  ContinuationInput& continuation = item.continuations[*place.continuation];
  const Pending& pending = pending_[place.item];
  const bool is_lm_eval = options_.boundary == Boundary::kLmEval;
  JoinedTokens joined;
  switch (pending.continuations[*place.continuation]) {
    case Making::kNone:
    case Making::kGiven:
      return absl::OkStatus();
    case Making::kGivenAfterSpaces:
      continuation.context = std::make_shared<const std::vector<TokenId>>(std::move(tokens));
      // The item's report describes the context without its spaces.
      joined.report.set_rule(v1::BOUNDARY_SEPARATE);
      joined.report.set_context_tokens_changed(*continuation.context != *item.context);
      joined.report.set_text_changed(spelling_->IsChanged(*continuation.context, text));
      continuation.boundary = std::move(joined.report);
      return CountTokens(continuation.context->size());
    case Making::kJoined:
      joined = is_lm_eval ? CutAsLmEval(*spelling_, text, pending.context.size(), item.context, tokens)
                          : CutJoint(*spelling_, text, pending.context.size(), item.context, tokens);
      joined.report.set_moved_space_count(static_cast<int32_t>(CountCharacters(pending.moved).value_or(0)));
      break;
    case Making::kBeginning:
      joined = PutAfter(*spelling_, text, /*begins_text=*/true, item.context, false, std::move(tokens));
      if (!joined.token_ids.empty() && joined.token_ids.front() == *item.implicit_context_token_id) {
        // As in the harness, a continuation that brings its own BOS is scored after that one.
        if (is_lm_eval) {
          joined.token_ids.erase(joined.token_ids.begin());
        } else if (item.implicit_context_token_id == description_.bos_token_id) {
          item.report.set_doubled_bos(true);
        }
      }
      joined.report.set_rule(static_cast<v1::Boundary>(options_.boundary));
      break;
    case Making::kContinuing:
      joined =
          PutAfter(*spelling_, text, /*begins_text=*/false, item.context, pending.context_changed, std::move(tokens));
      break;
  }
  continuation.context = std::move(joined.context);
  continuation.token_ids = std::move(joined.token_ids);
  continuation.boundary = std::move(joined.report);
  // Count the tokens that are evaluated besides the item's own context.
  const auto ends = std::mismatch(item.context->begin(), item.context->end(), continuation.context->begin(),
                                  continuation.context->end());
  RETURN_IF_ERROR(
      CountTokens(static_cast<size_t>(continuation.context->end() - ends.second) + continuation.token_ids.size()));
  if (continuation.token_ids.empty()) {
    const bool is_swallowed = is_lm_eval && pending.continuations[*place.continuation] == Making::kJoined;
    continuation.status = is_swallowed ? errors::BoundaryToken("text") : errors::EmptyContinuation("text");
  }
  return absl::OkStatus();
}

void Resolution::Truncate(ContinuationInput& continuation) {
  const int64_t most = int64_t{description_.context_length} + 1 - std::ssize(continuation.token_ids);
  const int64_t surplus = std::ssize(*continuation.context) - most;
  // One that is too long by itself is refused with its own length.
  if (!options_.truncates_context || surplus <= 0 || most < 1) return;
  // Continuations of one length share what is left of their context.
  SharedTokens& rest = truncated_[{continuation.context, surplus}];
  if (rest == nullptr) {
    rest = std::make_shared<const std::vector<TokenId>>(continuation.context->begin() + surplus,
                                                        continuation.context->end());
  }
  continuation.context = rest;
  continuation.truncated_count = static_cast<int32_t>(surplus);
}

absl::Status Resolution::Finish(const ContinuationRequest& request, ItemInput& item, ContinuationInput& continuation) {
  RETURN_IF_ERROR(continuation.status);
  const Vocabulary& vocabulary = model_.vocabulary();
  std::optional<std::string> text;
  if (request.text != nullptr) {
    // Only its own text counts: neither spaces that came from the context, nor the context's part of a spanning token.
    text = *request.text;
  } else {
    const auto& ids = request.tokens->token_ids();
    if (continuation.context == nullptr) continuation.context = item.context;
    continuation.token_ids.assign(ids.begin(), ids.end());
    RETURN_IF_ERROR(CountTokens(continuation.token_ids.size()));
    if (!vocabulary.offsets.empty()) {
      text.emplace();
      for (const TokenId id : continuation.token_ids) text->append(vocabulary.TokenBytes(id));
    }
  }
  if (continuation.context->empty()) {
    ASSIGN_OR_RETURN(const TokenId implicit, ImplicitContext());
    continuation.context = std::make_shared<const std::vector<TokenId>>(std::vector<TokenId>{implicit});
    if (continuation.boundary) continuation.boundary->set_implicit_context_token_id(implicit);
  }
  Truncate(continuation);
  const auto context_token_count = static_cast<int32_t>(continuation.context->size());
  if (continuation.boundary) continuation.boundary->set_context_token_count(context_token_count);
  RETURN_IF_ERROR(SetCounts(request, text, continuation));
  if (request.named != nullptr) {
    ASSIGN_OR_RETURN(continuation.named,
                     NamedFromProto(*request.named, std::ssize(continuation.token_ids), description_.vocab_size));
  }
  const std::string kind = request.text != nullptr ? "text" : "tokens";
  const int64_t total = context_token_count + std::ssize(continuation.token_ids);
  // The last token is never fed, because nobody needs its row.
  if (total > int64_t{description_.context_length} + 1) {
    return errors::ContextLengthExceeded(
        kind, total, int64_t{description_.context_length} + 1,
        options_.truncates_context ? "" : ", or tokenization.truncation must be CONTEXT_LEFT");
  }
  return model_.CheckFitsACache(total - 1, kind);
}

absl::StatusOr<std::vector<ItemInput>> Resolution::Run() {
  std::vector<Place> contexts;
  std::vector<Place> joined;
  std::vector<Place> beginning;
  std::vector<Place> continuing;
  int64_t bytes = 0;
  for (const ItemRequest& item : items_) {
    if (item.context != nullptr && !item.context->segments().empty()) bytes += TextBytes(*item.context);
  }
  RETURN_IF_ERROR(CheckTextBytes(bytes));
  for (size_t i = 0; i < items_.size(); ++i) {
    const v1::Input* context = items_[i].context;
    if (context != nullptr && !context->segments().empty()) {
      ASSIGN_OR_RETURN(pending_[i].segments,
                       TokenizeSegments(*context, "context", options_, model_, outcomes_, context_));
    }
    inputs_[i].status = In(items_[i].field + ".", ReadContext(i));
    if (!inputs_[i].status.ok()) continue;
    if (pending_[i].has_text_context) contexts.push_back({i, std::nullopt});
    if (inputs_[i].context != nullptr) RETURN_IF_ERROR(CountTokens(inputs_[i].context->size()));
    inputs_[i].continuations.resize(items_[i].continuations.size());
    pending_[i].continuations.resize(items_[i].continuations.size(), Making::kNone);
    bytes += static_cast<int64_t>(pending_[i].has_text_context ? pending_[i].context.size() : 0);
    for (size_t j = 0; j < items_[i].continuations.size(); ++j) {
      const Place place{i, j};
      inputs_[i].continuations[j].status = ReadContinuation(i, j);
      const Making making = pending_[i].continuations[j];
      if (IsJoined(place)) joined.push_back(place);
      if (making == Making::kBeginning) beginning.push_back(place);
      if (making == Making::kContinuing) continuing.push_back(place);
      if (making != Making::kNone && making != Making::kGiven) bytes += static_cast<int64_t>(BytesAt(place));
    }
  }
  // Check before any text is copied.
  RETURN_IF_ERROR(CheckTextBytes(bytes));
  if (!contexts.empty() || !beginning.empty() || !continuing.empty()) {
    ASSIGN_OR_RETURN(spelling_, Spelling::Of(model_, options_, context_));
  }
  TokenizationOptions begins = options_;
  begins.add_special_tokens = false;
  TokenizationOptions continues = begins;
  continues.continues_text = true;
  LeaveOut(contexts);
  RETURN_IF_ERROR(Tokenize(contexts, options_));
  for (std::vector<Place>* places : {&joined, &beginning, &continuing}) LeaveOut(*places);
  RETURN_IF_ERROR(Tokenize(joined, options_));
  RETURN_IF_ERROR(Tokenize(beginning, begins));
  RETURN_IF_ERROR(Tokenize(continuing, continues));

  for (size_t i = 0; i < items_.size(); ++i) {
    ItemInput& item = inputs_[i];
    if (!item.status.ok()) {
      item.continuations.clear();
      continue;
    }
    for (size_t j = 0; j < item.continuations.size(); ++j) {
      ContinuationInput& continuation = item.continuations[j];
      const ContinuationRequest& request = items_[i].continuations[j];
      continuation.status = request.text == nullptr && request.tokens == nullptr
                                ? errors::RequiredOneOf(FieldOf({i, j}), "text or tokens")
                                : In(FieldOf({i, j}) + ".", Finish(request, item, continuation));
    }
    // The context's text made no token: the implicit token stands for it.
    if (!item.context->empty()) continue;
    const absl::StatusOr<TokenId> implicit = ImplicitContext();
    if (!implicit.ok()) {
      item.status = In(items_[i].field + ".", implicit.status());
      continue;
    }
    item.implicit_context_token_id = *implicit;
    item.context = std::make_shared<const std::vector<TokenId>>(std::vector<TokenId>{*implicit});
  }
  return std::move(inputs_);
}

}  // namespace

absl::Status CheckId(std::string_view id) {
  if (std::ssize(id) <= kMaxIdBytes) return absl::OkStatus();
  return errors::AboveLimit("id", std::ssize(id), kMaxIdBytes, 0, "bytes");
}

absl::StatusOr<std::vector<ItemInput>> ResolveItems(const std::vector<ItemRequest>& items,
                                                    const TokenizationOptions& options, ServedModel& model,
                                                    const RequestContext& context) {
  return Resolution(items, options, model, context).Run();
}

}  // namespace logitd::server
