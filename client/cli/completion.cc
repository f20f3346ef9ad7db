#include "client/cli/completion.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/request_fields.h"

namespace logitd::cli {
namespace {

// The script's fixed part. bash splits words at "=", so `--flag=VALUE` comes as three words. Where nothing is offered
// (`-o default`), bash completes file names.
constexpr char kHead[] = R"(# bash completion for logit. Use: source <(logit completion bash)
_logit() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} command= flags= word
  [[ $current == = ]] && current=
  [[ $previous == = ]] && previous=${COMP_WORDS[COMP_CWORD - 2]}
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in
)";
constexpr char kTail[] = R"(  esac
  if [[ $current == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$current"))
  elif [[ -z $command ]]; then
    COMPREPLY=($(compgen -W "$commands" -- "$current"))
  else
    COMPREPLY=()
  fi
}
complete -o default -F _logit logit
)";

}  // namespace

std::string BashCompletion(const std::vector<Command>& commands) {
  std::vector<std::string> names;
  std::string flags;
  std::string values;
  for (const Command& command : commands) {
    names.push_back(command.name);
    std::vector<std::string> own;
    for (const FlagGroup& group : command.groups) {
      for (const Flag& flag : group.flags) {
        own.push_back(flag.name);
        if (flag.value.empty()) continue;
        const std::vector<std::string> choices = ChoicesOf(flag, command.request);
        // A flag with free values needs a row too: the word after it is its value, and no flag.
        absl::StrAppend(
            &values, "    ", command.name, ":", flag.name, ") COMPREPLY=(",
            choices.empty() ? "" : absl::StrCat("$(compgen -W \"", absl::StrJoin(choices, " "), "\" -- \"$current\")"),
            "); return ;;\n");
      }
    }
    absl::StrAppend(&flags, "    ", command.name, ") flags=\"", absl::StrJoin(own, " "), "\" ;;\n");
  }
  return absl::StrCat(
      kHead, "      ", absl::StrJoin(names, "|"),
      "|completion|help) command=$word; break ;;\n    esac\n  done\n  local commands=\"", absl::StrJoin(names, " "),
      " completion help\"\n  case $command:$previous in\n    completion:*) COMPREPLY=(bash); return ;;\n", values,
      "  esac\n  case $command in\n", flags, kTail);
}

}  // namespace logitd::cli
