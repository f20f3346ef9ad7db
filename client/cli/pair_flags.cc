#include "client/cli/pair_flags.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
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
  std::vector<Flag> flags = {{"--context-tokens", "", "IDS", "the context as token ids, instead of CONTEXT"}};
  for (const std::string& name : continuation_flags) {
    // "--candidate-tokens" gives a candidate.
    const std::string noun = name.substr(2, name.rfind('-') - 2);
    flags.push_back({name, "", "IDS", absl::StrCat("one more ", noun, ", as token ids; repeatable"), true});
  }
  return flags;
}

bool ReadsItems(const Arguments& arguments, const std::vector<Flag>& pair_flags, const Environment& environment) {
  const std::vector<std::string>& texts = arguments.positionals();
  if (arguments.FirstOf(pair_flags) != nullptr) return false;
  return texts.empty() ? !environment.in_is_terminal : texts == std::vector<std::string>{"-"};
}

absl::Status NoItemsError(const std::string& message_name) {
  return UsageError("stdin", absl::StrCat("standard input holds no items: give one ", message_name,
                                          " a line, in JSON, or texts as arguments"));
}

std::string LabelOf(const v1::Continuation& continuation) { return LabelOfText(continuation); }
std::string LabelOf(const v1::Candidate& candidate) { return LabelOfText(candidate); }
std::string LabelOf(const v1::DecisionOption& option) { return LabelOfText(option); }

absl::StatusOr<Pair> PairFrom(const Arguments& arguments, const std::vector<Flag>& pair_flags,
                              const std::string& what) {
  Pair pair;
  const std::vector<std::string>& texts = arguments.positionals();
  const std::string& context_flag = pair_flags.front().name;
  ASSIGN_OR_RETURN(const auto context, arguments.Get<std::vector<int32_t>>(context_flag));
  if (context) {
    pair.context.mutable_tokens()->mutable_token_ids()->Add(context->begin(), context->end());
  } else if (!texts.empty()) {
    pair.context.set_text(texts[0]);
  } else {
    return UsageError("CONTEXT", absl::StrCat("CONTEXT is missing: give it as text or with ", context_flag));
  }
  for (size_t i = context ? 0 : 1; i < texts.size(); ++i) pair.continuations.emplace_back().set_text(texts[i]);
  for (size_t i = 1; i < pair_flags.size(); ++i) {
    for (const std::string& value : arguments.Values(pair_flags[i].name)) {
      std::vector<int32_t> ids;
      RETURN_IF_ERROR(ParseValue(pair_flags[i].name, value, ids));
      pair.continuations.emplace_back().mutable_tokens()->mutable_token_ids()->Add(ids.begin(), ids.end());
    }
  }
  if (pair.continuations.empty()) {
    return UsageError(what,
                      absl::StrCat(what, " is missing: give at least one after CONTEXT, or with ", pair_flags[1].name));
  }
  for (const v1::Continuation& continuation : pair.continuations) pair.labels.push_back(LabelOf(continuation));
  return pair;
}

}  // namespace logitd::cli
