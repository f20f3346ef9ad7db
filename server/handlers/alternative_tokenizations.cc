#include "server/handlers/alternative_tokenizations.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <span>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "core/errors.h"
#include "core/ranker.h"
#include "core/shown_text.h"
#include "server/converters/wire.h"
#include "server/handlers/closed_sets.h"

namespace logitd::server {
namespace {

// The bytes of tokens, and the tokens without bytes at their places among these. Two sequences that spell the same and
// differ are never both the beginning of one text's tokens.
struct Spelled {
  std::string bytes;
  std::vector<std::pair<size_t, TokenId>> without_bytes;

  bool operator==(const Spelled&) const = default;
};

Spelled Spell(std::span<const TokenId> tokens, const Vocabulary& vocabulary) {
  Spelled spelled;
  for (const TokenId id : tokens) {
    const std::string_view bytes = vocabulary.TokenBytes(id);
    if (bytes.empty()) spelled.without_bytes.emplace_back(spelled.bytes.size(), id);
    spelled.bytes += bytes;
  }
  return spelled;
}

}  // namespace

absl::Status AddAlternatives(const v1::Candidate& candidate, const ContinuationInput& own, const ServedModel& model,
                             std::vector<ContinuationInput>& added) {
  const auto& lists = candidate.alternative_tokenizations();
  if (lists.empty()) return absl::OkStatus();
  const Vocabulary& vocabulary = model.vocabulary();
  const ModelDescription& description = model.description();
  if (vocabulary.offsets.empty()) return errors::VocabularyUnavailable(description.name);
  const Spelled expected = Spell(own.token_ids, vocabulary);
  std::vector<ContinuationInput> alternatives;
  for (int i = 0; i < lists.size(); ++i) {
    const std::string list = Element("alternative_tokenizations", i);
    const std::string field = list + ".token_ids";
    RETURN_IF_ERROR(CheckTokenIds(lists[i].token_ids(), field, description.vocab_size));
    if (lists[i].token_ids().empty()) return errors::EmptyContinuation(list);
    ContinuationInput& alternative = alternatives.emplace_back();
    alternative.context = own.context;
    alternative.token_ids.assign(lists[i].token_ids().begin(), lists[i].token_ids().end());
    const Spelled spelled = Spell(alternative.token_ids, vocabulary);
    if (spelled != expected) {
      return errors::OutOfRange(field, spelled.bytes,
                                "tokens that spell " + Quoted(expected.bytes) + ", with the same control tokens");
    }
    const int64_t fed = std::ssize(*own.context) + std::ssize(alternative.token_ids) - 1;
    alternative.status = fed > description.context_length
                             ? errors::ContextLengthExceeded(field, fed + 1, int64_t{description.context_length} + 1)
                             : model.CheckFitsACache(fed, field);
  }
  added.insert(added.end(), alternatives.begin(), alternatives.end());
  return absl::OkStatus();
}

std::optional<double> TakeAlternatives(const ItemInput& input, const std::vector<ContinuationScore>& scores, size_t own,
                                       size_t first, size_t count, v1::RankedCandidate& candidate) {
  bool is_whole = true;
  std::map<std::vector<TokenId>, double> distinct = {{input.continuations[own].token_ids, LogProbOf(scores[own])}};
  for (size_t i = first; i < first + count; ++i) {
    v1::AlternativeTokenization& message = *candidate.add_alternative_tokenizations();
    if (!scores[i].status.ok()) {
      is_whole = false;
      *message.mutable_error() = ToProto(scores[i].status);
      continue;
    }
    const double log_prob = LogProbOf(scores[i]);
    if (std::isfinite(log_prob)) message.set_sum(log_prob);
    distinct.emplace(input.continuations[i].token_ids, log_prob);
  }
  if (!is_whole) return std::nullopt;
  std::vector<double> log_probs;
  for (const auto& [tokens, log_prob] : distinct) log_probs.push_back(log_prob);
  // Each log-prob may be off by its rounding.
  const double combined = std::min(LogSumExp(log_probs), 0.0);
  if (!std::isfinite(combined)) return std::nullopt;
  candidate.set_combined_log_prob(combined);
  return combined;
}

}  // namespace logitd::server
