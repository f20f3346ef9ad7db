// What the table of flags becomes besides parsing: docs/cli-flags.md, shell completion, suggestions.
#include <cstdio>
#include <fstream>
#include <iterator>

#include "base/suggestion.h"
#include "client/cli/completion.h"
#include "client/cli/help_text.h"
#include "client/cli/request_fields.h"
#include "gmock/gmock.h"
#include "tests/client/cli/command_rig.h"
#include "tests/client/logitd/npy_bytes.h"

namespace logitd::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(HelpTest, TheDocumentedFlagsAreTheProgramsOwn) {
  std::ifstream file(LOGITD_DOCS_DIR "/cli-flags.md");
  const std::string documented{std::istreambuf_iterator<char>(file), {}};
  CommandRig rig;
  ASSERT_EQ(rig.Run({"help", "--markdown"}), kExitOk);
  EXPECT_TRUE(rig.out() == documented) << "renew it: build/release/bin/logit help --markdown > docs/cli-flags.md";
}

TEST(HelpTest, EachFieldIsOneOfTheRequests) {
  for (const Command& command : AllCommands()) {
    for (const FlagGroup& group : command.groups) {
      for (const Flag& flag : group.flags) {
        if (flag.field.empty()) continue;
        ASSERT_NE(command.request, nullptr) << command.name << " " << flag.name;
        const google::protobuf::Descriptor* message = command.request;
        std::string path = flag.field;
        for (char& c : path) c = c == '=' ? '.' : c;
        std::istringstream names(path);
        for (std::string name; std::getline(names, name, '.');) {
          const auto* field = message->FindFieldByName(name);
          ASSERT_NE(field, nullptr) << command.name << " " << flag.name << ": " << name;
          if (field->message_type() != nullptr) message = field->message_type();
        }
      }
    }
  }
}

// The completions of `line`, whose last word is being typed, as bash itself gives them.
std::vector<std::string> Completions(const std::string& words) {
  const client::TemporaryFile script(BashCompletion(AllCommands()));
  const std::string command = "bash -c 'set -u; source " + script.path() + "; COMP_WORDS=(" + words +
                              "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _logit; printf \"%s\\n\" \"${COMPREPLY[@]}\"'";
  std::vector<std::string> out;
  FILE* pipe = popen(command.c_str(), "r");
  char line[4096];
  while (pipe != nullptr && fgets(line, sizeof(line), pipe) != nullptr) {
    out.push_back(line);
    out.back().pop_back();
  }
  EXPECT_EQ(pclose(pipe), 0) << words;
  if (out == std::vector<std::string>{""}) out.clear();
  return out;
}

TEST(CompletionTest, BashOffersCommandsFlagsAndValues) {
  EXPECT_THAT(Completions("logit s"), ElementsAre("score", "strengths"));
  EXPECT_THAT(Completions("logit co"), ElementsAre("complete", "compare", "completion"));
  EXPECT_THAT(Completions("logit completion \"\""), ElementsAre("bash"));
  EXPECT_THAT(Completions("logit --json score a --to"),
              ElementsAre("--top-k", "--top-p", "--top-n-sigma", "--top-n", "--top-k-ties", "--top-p-boundary"));
  EXPECT_THAT(Completions("logit rank --order-by per-"), ElementsAre("per-token", "per-byte", "per-character"));
  EXPECT_THAT(Completions("logit rank --order-by = s"), ElementsAre("sum"));
  EXPECT_THAT(Completions("logit rank --order-by ="),
              ElementsAre("sum", "per-token", "per-byte", "per-character", "gnmt", "pmi", "combined"));
  EXPECT_THAT(Completions("logit complete --stage-order h"), ElementsAre("hf"));
  EXPECT_THAT(Completions("logit complete --color n"), ElementsAre("never"));
  EXPECT_THAT(Completions("logit complete --add-special-tokens t"), ElementsAre("true"));
  // Numbers and text: bash's own default, names of files, is all there is.
  EXPECT_THAT(Completions("logit complete --top-k --to"), IsEmpty());
  EXPECT_THAT(Completions("logit complete Once"), IsEmpty());
}

TEST(CompletionTest, OtherShellsAreRefused) {
  for (const std::vector<std::string>& args :
       std::vector<std::vector<std::string>>{{"completion"}, {"completion", "tcsh"}}) {
    CommandRig rig;
    EXPECT_EQ(rig.Run(args), kExitUsage);
    EXPECT_THAT(rig.err(), HasSubstr("logit completion bash"));
  }
  CommandRig rig;
  EXPECT_EQ(rig.Run({"completion", "bash"}), kExitOk);
  EXPECT_THAT(rig.out(), HasSubstr("complete -o default -F _logit logit"));
}

TEST(SuggestionTest, CountsInsertionsDeletionsAndReplacements) {
  EXPECT_EQ(EditDistance("", ""), 0);
  EXPECT_EQ(EditDistance("abc", ""), 3);
  EXPECT_EQ(EditDistance("", "abc"), 3);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3);
  EXPECT_EQ(EditDistance("score", "score"), 0);
  EXPECT_EQ(EditDistance("scroe", "score"), 2);
}

TEST(SuggestionTest, OnlyANameThatIsNearIsSuggested) {
  const std::vector<std::string> names = {"--top-k", "--top-p", "--temperature"};
  EXPECT_EQ(DidYouMean("--tempratur", names), " (did you mean --temperature?)");
  EXPECT_EQ(DidYouMean("--top_p", names), " (did you mean --top-p?)");
  EXPECT_EQ(DidYouMean("--topk", names), " (did you mean --top-k?)");
  EXPECT_EQ(DidYouMean("--frequency", names), "");
  EXPECT_EQ(DidYouMean("", names), "");
}

}  // namespace
}  // namespace logitd::cli
