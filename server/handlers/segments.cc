#include "server/handlers/segments.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "server/converters/wire.h"
#include "server/handlers/prompt_input.h"
#include "server/handlers/spelling.h"
#include "server/models/token_bound.h"

namespace logitd::server {
namespace {

// One call of the tokenizer takes at most this much.
constexpr size_t kTextsPerCall = 256;
constexpr size_t kBytesPerCall = 1 << 20;

// A segment with text, and the way to tokenise it.
struct TextSegment {
  int index;
  TokenizationOptions options;
};

// The options that a call of the tokenizer has once.
std::pair<bool, bool> KeyOf(const TokenizationOptions& options) {
  return {options.continues_text, options.parse_special_tokens};
}

class Resolution {
 public:
  Resolution(const v1::Input& input, const std::string& field, const TokenizationOptions& options, ServedModel& model,
             TextOutcomes& outcomes, const RequestContext& context)
      : input_(input),
        field_(field + ".segments"),
        options_(options),
        model_(model),
        outcomes_(outcomes),
        context_(context),
        tokens_(static_cast<size_t>(input.segments_size())) {}

  absl::StatusOr<SegmentsInput> Run() {
    SegmentsInput out;
    out.status = Read();
    if (!out.status.ok()) return out;
    RETURN_IF_ERROR(Tokenize(out.status));
    if (!out.status.ok()) return out;
    RETURN_IF_ERROR(Report(out.report));
    const ModelDescription& description = model_.description();
    const bool adds_bos = description.bos_token_id && options_.add_special_tokens.value_or(description.adds_bos);
    if (begins_with_text_ && adds_bos) {
      out.token_ids.push_back(*description.bos_token_id);
      for (const std::vector<TokenId>& ids : tokens_) {
        if (ids.empty()) continue;
        out.report.set_doubled_bos(ids.front() == *description.bos_token_id);
        break;
      }
    }
    for (const std::vector<TokenId>& ids : tokens_) out.token_ids.insert(out.token_ids.end(), ids.begin(), ids.end());
    return out;
  }

 private:
  std::string FieldOf(int index) const { return Element(field_, index); }

  // Takes the segments apart.
  absl::Status Read() {
    if (input_.segments_size() > kMaxSegments) {
      return errors::AboveLimit(field_, input_.segments_size(), kMaxSegments, 1);
    }
    if (TextBytes(input_) > kMaxTextBytes) {
      return errors::AboveLimit(field_, TextBytes(input_), kMaxTextBytes, 0, "bytes of text");
    }
    bool has_begun = false;
    for (int i = 0; i < input_.segments_size(); ++i) {
      const v1::InputSegment& segment = input_.segments(i);
      if (segment.has_tokens()) {
        if (segment.has_parse_special_tokens()) {
          return errors::Exclusive(FieldOf(i) + ".parse_special_tokens", FieldOf(i) + ".tokens");
        }
        const auto& ids = segment.tokens().token_ids();
        RETURN_IF_ERROR(CheckTokenIds(ids, FieldOf(i) + ".tokens.token_ids", model_.description().vocab_size));
        tokens_[static_cast<size_t>(i)].assign(ids.begin(), ids.end());
        has_begun = has_begun || !ids.empty();
        continue;
      }
      if (!segment.has_text()) return errors::RequiredOneOf(FieldOf(i), "text or tokens");
      if (segment.text().empty()) continue;
      TextSegment& text = texts_.emplace_back(TextSegment{i, options_});
      // Run adds the BOS, because a tokenizer might add more tokens, even after the text.
      text.options.add_special_tokens = false;
      text.options.continues_text = has_begun;
      if (segment.has_parse_special_tokens()) text.options.parse_special_tokens = segment.parse_special_tokens();
      RETURN_IF_ERROR(CheckTextFits(FieldOf(i) + ".text", SizeOf(segment.text()), text.options, model_,
                                    model_.description().context_length));
      begins_with_text_ = begins_with_text_ || !has_begun;
      has_begun = true;
    }
    return absl::OkStatus();
  }

  // Tokenises the texts with equal options together. `failure`: the error of the first text, in order, without tokens.
  absl::Status Tokenize(absl::Status& failure) {
    std::map<std::pair<bool, bool>, std::vector<const TextSegment*>> calls;
    for (const TextSegment& text : texts_) calls[KeyOf(text.options)].push_back(&text);
    std::map<int, absl::Status> failures;
    for (const auto& [key, texts] : calls) {
      for (size_t begin = 0; begin < texts.size();) {
        std::vector<std::string> call;
        size_t bytes = 0;
        for (size_t at = begin; at < texts.size() && call.size() < kTextsPerCall; ++at) {
          const std::string& text = input_.segments(texts[at]->index).text();
          bytes += text.size();
          if (!call.empty() && bytes > kBytesPerCall) break;
          call.push_back(text);
        }
        ASSIGN_OR_RETURN(auto outcomes, outcomes_.Tokenize(call, texts[begin]->options));
        for (TextOutcome& outcome : outcomes) {
          const int index = texts[begin++]->index;
          if (outcome.ok()) {
            tokens_[static_cast<size_t>(index)] = *std::move(outcome);
          } else {
            failures[index] = WithField(outcome.status(), FieldOf(index) + ".text");
          }
        }
      }
    }
    if (!failures.empty()) failure = failures.begin()->second;
    return absl::OkStatus();
  }

  absl::Status Report(v1::TokenizationReport& report) {
    std::array<std::optional<Spelling>, 2> spellings;
    for (const TextSegment& text : texts_) {
      std::optional<Spelling>& spelling = spellings[text.options.parse_special_tokens ? 1 : 0];
      if (!spelling) {
        ASSIGN_OR_RETURN(spelling, Spelling::Of(model_, text.options, context_));
      }
      const std::vector<TokenId>& ids = tokens_[static_cast<size_t>(text.index)];
      RETURN_IF_ERROR(spelling->Learn(ids, context_));
      if (spelling->IsChanged(ids, input_.segments(text.index).text(), /*begins_text=*/!text.options.continues_text)) {
        report.set_text_changed(true);
      }
    }
    return absl::OkStatus();
  }

  const v1::Input& input_;
  const std::string field_;
  const TokenizationOptions& options_;
  ServedModel& model_;
  TextOutcomes& outcomes_;
  const RequestContext& context_;
  // The tokens of each segment.
  std::vector<std::vector<TokenId>> tokens_;
  std::vector<TextSegment> texts_;
  bool begins_with_text_ = false;
};

}  // namespace

absl::Status CheckForm(const v1::Input& input, const std::string& field) {
  if (input.segments().empty()) return absl::OkStatus();
  if (input.has_text()) return errors::Exclusive(field + ".segments", field + ".text");
  if (input.has_tokens()) return errors::Exclusive(field + ".segments", field + ".tokens");
  return absl::OkStatus();
}

int64_t TextBytes(const v1::Input& input) {
  auto bytes = static_cast<int64_t>(input.text().size());
  for (const v1::InputSegment& segment : input.segments()) bytes += static_cast<int64_t>(segment.text().size());
  return bytes;
}

absl::StatusOr<SegmentsInput> TokenizeSegments(const v1::Input& input, const std::string& field,
                                               const TokenizationOptions& options, ServedModel& model,
                                               TextOutcomes& outcomes, const RequestContext& context) {
  return Resolution(input, field, options, model, outcomes, context).Run();
}

}  // namespace logitd::server
