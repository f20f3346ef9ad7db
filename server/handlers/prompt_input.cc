#include "server/handlers/prompt_input.h"

#include <iterator>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/limits.h"
#include "server/converters/wire.h"
#include "server/handlers/segments.h"
#include "server/models/text_outcomes.h"
#include "server/models/token_bound.h"

namespace logitd::server {
namespace {

bool AddsBos(const TokenizationOptions& options, const ModelDescription& model) {
  return model.bos_token_id && options.add_special_tokens.value_or(model.adds_bos);
}

}  // namespace

absl::StatusOr<TokenId> ImplicitContextToken(const ModelDescription& model, std::string_view field) {
  if (model.bos_token_id) return *model.bos_token_id;
  if (model.eos_token_id) return *model.eos_token_id;
  // One of several end tokens would be a guess.
  if (model.end_token_ids.size() == 1) return model.end_token_ids.front();
  return errors::EmptyPrompt(field);
}

bool HasReport(const v1::TokenizationReport& report) { return report.text_changed() || report.doubled_bos(); }

v1::TokenizationReport ReportText(const Spelling& spelling, const ModelDescription& model,
                                  const TokenizationOptions& options, std::string_view text,
                                  const std::vector<TokenId>& token_ids) {
  v1::TokenizationReport report;
  report.set_text_changed(spelling.IsChanged(token_ids, text));
  report.set_doubled_bos(AddsBos(options, model) && token_ids.size() > 1 && token_ids[0] == *model.bos_token_id &&
                         token_ids[1] == *model.bos_token_id);
  return report;
}

absl::StatusOr<PromptInput> InputTokens(const v1::Input& prompt, const std::string& field, int64_t most_tokens,
                                        const TokenizationOptions& options, ServedModel& model,
                                        const RequestContext& context) {
  const ModelDescription& description = model.description();
  PromptInput input;
  std::vector<TokenId>& ids = input.token_ids;
  RETURN_IF_ERROR(CheckForm(prompt, field));
  if (!prompt.segments().empty()) {
    TextOutcomes outcomes(model, context);
    ASSIGN_OR_RETURN(SegmentsInput segments, TokenizeSegments(prompt, field, options, model, outcomes, context));
    RETURN_IF_ERROR(segments.status);
    input.token_ids = std::move(segments.token_ids);
    input.report = std::move(segments.report);
  }
  switch (prompt.input_case()) {
    case v1::Input::kText: {
      // Whether or not a BOS would be added: a prompt says something.
      if (prompt.text().empty()) return errors::EmptyPrompt(field + ".text");
      if (static_cast<int64_t>(prompt.text().size()) > kMaxTextBytes) {
        return errors::AboveLimit(field + ".text", prompt.text().size(), kMaxTextBytes, 0, "bytes");
      }
      RETURN_IF_ERROR(CheckTextFits(field + ".text", SizeOf(prompt.text()), options, model, most_tokens));
      ASSIGN_OR_RETURN(auto outcomes, TextOutcomes(model, context).Tokenize({prompt.text()}, options));
      if (!outcomes[0].ok()) return WithField(outcomes[0].status(), field + ".text");
      ids = *std::move(outcomes[0]);
      ASSIGN_OR_RETURN(Spelling spelling, Spelling::Of(model, options, context));
      RETURN_IF_ERROR(spelling.Learn(ids, context));
      input.report = ReportText(spelling, description, options, prompt.text(), ids);
      break;
    }
    case v1::Input::kTokens: {
      const auto& tokens = prompt.tokens().token_ids();
      RETURN_IF_ERROR(CheckTokenIds(tokens, field + ".tokens.token_ids", description.vocab_size));
      ids.assign(tokens.begin(), tokens.end());
      break;
    }
    case v1::Input::INPUT_NOT_SET:
      if (prompt.segments().empty()) return errors::Required(field);
      break;
  }
  if (ids.empty()) return errors::EmptyPrompt(field);
  return input;
}

absl::StatusOr<PromptInput> PromptTokens(const v1::Input& prompt, const TokenizationOptions& options,
                                         ServedModel& model, const RequestContext& context) {
  const int64_t most = model.description().context_length;
  ASSIGN_OR_RETURN(PromptInput input, InputTokens(prompt, "prompt", most, options, model, context));
  if (std::ssize(input.token_ids) > most) {
    return errors::ContextLengthExceeded("prompt", std::ssize(input.token_ids), most);
  }
  if (input.token_ids.size() > kMaxPromptTokens) {
    return errors::AboveLimit("prompt", input.token_ids.size(), kMaxPromptTokens);
  }
  return input;
}

}  // namespace logitd::server
