#include "server/handlers/spelling.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/status_macros.h"

namespace logitd::server {
namespace {

// The most matches that are followed at once: with and without the prefix, at the beginning and after a control token.
constexpr size_t kMaxStates = 16;

// A match of the tokens so far.
struct State {
  // The spelled bytes of the text.
  size_t position = 0;
  // The spelled bytes of the prefix; all of them if no prefix is expected.
  size_t prefix = 0;
  // No token with bytes so far, so a prefix is still the leading one.
  bool is_leading = true;
  bool has_inner_prefix = false;
  // The byte that is searched lies behind.
  bool is_cut = false;
  TextCut cut;
};

void Add(const State& state, std::vector<State>& states) {
  const bool is_known = std::any_of(states.begin(), states.end(), [&state](const State& other) {
    return other.position == state.position && other.prefix == state.prefix;
  });
  if (!is_known && states.size() < kMaxStates) states.push_back(state);
}

// A text may begin here, with or without the prefix.
void AddBegin(State state, const std::string& prefix, std::vector<State>& states) {
  state.prefix = prefix.size();
  Add(state, states);
  if (prefix.empty()) return;
  state.prefix = 0;
  Add(state, states);
}

// Matches `bytes` of token `index` with the rest of the prefix, then with the text. False: they differ.
bool Spell(std::string_view bytes, size_t index, std::string_view prefix, std::string_view text, size_t byte,
           State& state) {
  const std::string_view of_prefix = bytes.substr(0, std::min(bytes.size(), prefix.size() - state.prefix));
  if (prefix.substr(state.prefix, of_prefix.size()) != of_prefix) return false;
  const std::string_view of_text = bytes.substr(of_prefix.size());
  if (text.substr(state.position, of_text.size()) != of_text) return false;
  if (!of_prefix.empty() && !state.is_leading) state.has_inner_prefix = true;
  const size_t begin = state.position;
  state.prefix += of_prefix.size();
  state.position += of_text.size();
  if (!state.is_cut && state.position > byte) {
    state.is_cut = true;
    state.cut.token_index = index;
    state.cut.bytes_before = byte - begin;
    state.cut.bytes_after = state.position - byte;
  }
  return true;
}

}  // namespace

absl::StatusOr<Spelling> Spelling::Of(ServedModel& model, const TokenizationOptions& options,
                                      const RequestContext& context) {
  std::string prefix;
  if (!model.vocabulary().offsets.empty()) {
    ASSIGN_OR_RETURN(prefix, model.TextPrefix(context));
  }
  return Spelling(model, options, std::move(prefix));
}

Spelling::Spelling(ServedModel& model, const TokenizationOptions& options, std::string prefix)
    : model_(&model),
      vocabulary_(&model.vocabulary()),
      has_names_(options.parse_special_tokens),
      prefix_(std::move(prefix)) {
  if (options.add_special_tokens.value_or(model.description().adds_bos)) {
    added_token_id_ = model.description().bos_token_id;
  }
}

absl::Status Spelling::Learn(std::span<const TokenId> tokens, const RequestContext& context) {
  if (!has_names_ || !is_known()) return absl::OkStatus();
  std::vector<TokenId> unknown;
  for (const TokenId id : tokens) {
    if (!vocabulary_->TokenBytes(id).empty() || !names_.emplace(id, "").second) continue;
    unknown.push_back(id);
  }
  if (unknown.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::vector<std::string> names, model_->TokenNames(unknown, context));
  for (size_t i = 0; i < unknown.size(); ++i) names_[unknown[i]] = std::move(names[i]);
  return absl::OkStatus();
}

std::optional<TextCut> Spelling::Find(std::span<const TokenId> tokens, std::string_view text, size_t byte,
                                      bool begins_text) const {
  if (!is_known()) return std::nullopt;
  std::optional<TextCut> cut = Match(tokens, text, byte, begins_text, /*prefix_anywhere=*/false);
  // Some tokenizers take any token that is found by its name for the end of a text, also one that has bytes.
  if (!cut && !prefix_.empty()) cut = Match(tokens, text, byte, begins_text, /*prefix_anywhere=*/true);
  return cut;
}

bool Spelling::IsChanged(std::span<const TokenId> tokens, std::string_view text, bool begins_text) const {
  if (!is_known()) return false;
  const std::optional<TextCut> cut = Find(tokens, text, text.size(), begins_text);
  return !cut || cut->has_inner_prefix;
}

std::optional<TextCut> Spelling::Match(std::span<const TokenId> tokens, std::string_view text, size_t byte,
                                       bool begins_text, bool prefix_anywhere) const {
  std::vector<State> states;
  std::vector<State> next;
  if (begins_text) {
    AddBegin(State(), prefix_, states);
  } else {
    State& state = states.emplace_back();
    state.prefix = prefix_.size();
    state.is_leading = false;
  }
  for (size_t i = 0; i < tokens.size() && !states.empty(); ++i) {
    const std::string_view bytes = vocabulary_->TokenBytes(tokens[i]);
    next.clear();
    for (State state : states) {
      if (!bytes.empty()) {
        if (!Spell(bytes, i, prefix_, text, byte, state)) continue;
        state.is_leading = false;
        const bool is_whole = state.prefix == prefix_.size();
        if (is_whole && prefix_anywhere) {
          AddBegin(state, prefix_, next);
        } else {
          Add(state, next);
        }
        continue;
      }
      // Within the prefix no control token stands. An untouched prefix is one that was not put.
      if (state.prefix != prefix_.size()) continue;
      // One that the tokenizer added stands for nothing, one that it found for its name. The first one in `next` is
      // preferred among ways that spell as much.
      const State added = state;
      const bool is_added_first = begins_text && i == 0 && tokens[i] == added_token_id_;
      if (is_added_first) AddBegin(added, prefix_, next);
      const auto name = names_.find(tokens[i]);
      const bool has_name = name != names_.end() && !name->second.empty();
      if (has_name && Spell(name->second, i, prefix_, text, byte, state)) AddBegin(state, prefix_, next);
      if (!is_added_first) AddBegin(added, prefix_, next);
    }
    std::swap(states, next);
  }
  for (const State& state : states) {
    if (state.position != text.size() || state.prefix != prefix_.size()) continue;
    TextCut cut = state.cut;
    if (!state.is_cut) cut = TextCut{.token_index = tokens.size()};
    cut.has_inner_prefix = state.has_inner_prefix;
    return cut;
  }
  return std::nullopt;
}

}  // namespace logitd::server
