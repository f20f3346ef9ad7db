#include "client/cli/pair_flags.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/request_flags.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

template <typename Message>
std::string LabelOfText(const Message& message) {
  if (!message.has_tokens()) return absl::StrCat("\"", EscapeText(message.text()), "\"");
  return absl::StrCat("[", absl::StrJoin(message.tokens().token_ids(), ","), "]");
}

}  // namespace

std::vector<Flag> PairFlags(const std::vector<std::string>& continuation_flags) {
  std::vector<Flag> flags = {{"--context-tokens", "IDS", "the context as token ids, instead of CONTEXT"}};
  for (const std::string& name : continuation_flags) {
    flags.push_back({name, "IDS", "one more of them, as token ids; repeatable", /*repeatable=*/true});
  }
  return flags;
}

bool ReadsItems(const Arguments& arguments, const std::vector<std::string>& continuation_flags,
                const Environment& environment) {
  const std::vector<std::string>& texts = arguments.positionals();
  bool has_tokens = arguments.Has("--context-tokens");
  for (const std::string& name : continuation_flags) has_tokens = has_tokens || arguments.Has(name);
  if (has_tokens) return false;
  if (texts.size() == 1 && texts[0] == "-") return true;
  return texts.empty() && !environment.in_is_terminal;
}

absl::Status NoItemsError(const std::string& message_name) {
  return UsageError("stdin", absl::StrCat("standard input holds no items: give one ", message_name,
                                          " a line, in JSON, or texts as arguments"));
}

std::string LabelOf(const v1::Continuation& continuation) { return LabelOfText(continuation); }
std::string LabelOf(const v1::Candidate& candidate) { return LabelOfText(candidate); }

absl::StatusOr<Pair> PairFrom(const Arguments& arguments, const std::vector<std::string>& continuation_flags,
                              const std::string& what) {
  Pair pair;
  const std::vector<std::string>& texts = arguments.positionals();
  const absl::StatusOr<std::optional<std::vector<int32_t>>> context = arguments.TokenIds("--context-tokens");
  if (!context.ok()) return context.status();
  size_t first_continuation = 0;
  if (context->has_value()) {
    pair.context = TokensInput(**context);
  } else if (!texts.empty()) {
    pair.context = TextInput(texts[0]);
    first_continuation = 1;
  } else {
    return UsageError("CONTEXT", "CONTEXT is missing: give it as text or with --context-tokens");
  }
  for (size_t i = first_continuation; i < texts.size(); ++i) pair.continuations.emplace_back().set_text(texts[i]);
  for (const std::string& name : continuation_flags) {
    for (const std::string& value : arguments.Values(name)) {
      const absl::StatusOr<std::vector<int32_t>> ids = ParseTokenIds(name, value);
      if (!ids.ok()) return ids.status();
      pair.continuations.emplace_back().mutable_tokens()->mutable_token_ids()->Add(ids->begin(), ids->end());
    }
  }
  if (pair.continuations.empty()) {
    return UsageError(
        what, absl::StrCat(what, " is missing: give at least one after CONTEXT, or with ", continuation_flags.front()));
  }
  for (const v1::Continuation& continuation : pair.continuations) pair.labels.push_back(LabelOf(continuation));
  return pair;
}

}  // namespace logitd::cli
