// `logit tokenize`: text to token ids, and back.
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/flags.h"
#include "client/cli/json_lines.h"
#include "client/cli/request_fields.h"
#include "client/cli/session.h"
#include "client/cli/table.h"
#include "client/cli/text_input.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

absl::StatusOr<std::string> TextFrom(const Arguments& arguments, Environment& environment) {
  const std::vector<std::string>& texts = arguments.positionals();
  if (arguments.Has("--file")) {
    if (!texts.empty()) return UsageError("TEXT", "TEXT does not go with --file, which holds the text");
    return TextOfFile("--file", arguments.Value("--file"));
  }
  if (texts.size() > 1) return UsageError("TEXT", texts[1], "one text", "tokenize takes one TEXT");
  if (texts.empty() && environment.in_is_terminal) {
    return UsageError("TEXT", "TEXT is missing: give a text, --file PATH, - for standard input, or --ids");
  }
  if (texts.empty() || texts[0] == "-") return TextOfInput("TEXT", environment);
  return texts[0];
}

absl::StatusOr<int> Detokenize(const Arguments& arguments, Session& session) {
  for (const char* other : {"--file", "--tokens", "--add-special-tokens", "--parse-special-tokens"}) {
    if (arguments.Has(other))
      return UsageError(other, absl::StrCat(other, " does not go with --ids, which gives text"));
  }
  if (!arguments.positionals().empty()) return UsageError("TEXT", "TEXT does not go with --ids");
  ASSIGN_OR_RETURN(const auto ids, arguments.Get<std::vector<int32_t>>("--ids"));
  v1::DetokenizeRequest request;
  request.set_model(arguments.Value("--model"));
  request.add_tokens()->mutable_token_ids()->Add(ids->begin(), ids->end());
  request.set_render_special_tokens(arguments.Has("--render-special-tokens"));
  ASSIGN_OR_RETURN(const v1::DetokenizeResponse response, session.client->Detokenize(request));
  if (response.texts_size() != 1) return absl::InternalError("the server answered without a text");
  if (session.json) {
    session.out() << ToJson(response) << "\n";
  } else {
    const v1::DetokenizedText& text = response.texts(0);
    session.out() << (text.has_raw_bytes() ? text.raw_bytes() : text.text()) << "\n";
  }
  return kExitOk;
}

absl::StatusOr<int> Run(const Arguments& arguments, Session& session) {
  if (arguments.Has("--ids")) return Detokenize(arguments, session);
  if (arguments.Has("--render-special-tokens")) {
    return UsageError("--render-special-tokens", "--render-special-tokens needs --ids");
  }
  v1::TokenizeRequest request;
  RETURN_IF_ERROR(SetFields(arguments, request));
  ASSIGN_OR_RETURN(std::string text, TextFrom(arguments, session.environment));
  request.add_texts(std::move(text));
  ASSIGN_OR_RETURN(const v1::TokenizeResponse response, session.client->Tokenize(request));
  if (response.texts_size() != 1) return absl::InternalError("the server answered without tokens");
  const v1::TokenizedText& tokens = response.texts(0);
  std::ostream& out = session.out();
  if (session.json) {
    out << ToJson(response) << "\n";
    return kExitOk;
  }
  if (request.token_bytes()) {
    Table table({{"position"}, {"token id"}, {"text", Table::kLeft}});
    for (int i = 0; i < tokens.token_ids_size(); ++i) {
      table.Add({{absl::StrCat(i)},
                 {absl::StrCat(tokens.token_ids(i))},
                 {ShowToken(i < tokens.token_bytes_size() ? tokens.token_bytes(i) : "")}});
    }
    out << table.Render(session.style()) << "tokens: " << tokens.token_ids_size() << "\n";
  } else {
    out << absl::StrJoin(tokens.token_ids(), ",") << "\n";
  }
  const v1::TokenizationReport& report = tokens.tokenization();
  if (report.text_changed()) session.environment.err << "the tokens do not spell the text\n";
  if (report.doubled_bos()) session.environment.err << "the text begins with BOS, and another one was put before it\n";
  return kExitOk;
}

}  // namespace

Command TokenizeCommand() {
  return {.name = "tokenize",
          .purpose = "text to token ids, and back with --ids",
          .positionals = "TEXT",
          .summary =
              "Prints the token ids of a text as 1,2,3, which other commands take. Without TEXT, or with -, reads "
              "standard input; a newline at its end counts. With --ids, prints the text of token ids.",
          .examples =
              "logit tokenize \"The capital of France is\"\n"
              "logit tokenize \"naïve\" --tokens\n"
              "logit tokenize --file prompt.txt --json\n"
              "logit tokenize --ids 504,2644\n",
          .groups = {{"Text to ids", Joined({{ModelFlag(),
                                              {"--file", "", "PATH", "the text of a file, instead of TEXT"},
                                              {"--tokens", "token_bytes", "", "list each token with its text"}},
                                             TokenizationFlags()})},
                     {"Ids to text",
                      {{"--ids", "", "IDS", "token ids, as 1,2,3"},
                       {"--render-special-tokens", "", "", "write the names of control tokens"}}}},
          .request = v1::TokenizeRequest::descriptor(),
          .run = Run};
}

}  // namespace logitd::cli
