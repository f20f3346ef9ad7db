// `logit vocabulary`: every token of a model.
#include <cstdint>
#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/flags.h"
#include "client/cli/json_lines.h"
#include "client/cli/record_table.h"
#include "client/cli/request_fields.h"
#include "client/cli/session.h"
#include "client/cli/token_text.h"

namespace logitd::cli {
namespace {

// `    50256  control  ends a text  "<|endoftext|>"`. Columns of fixed widths: a million tokens are printed as they
// come.
std::string Line(const v1::VocabularyToken& token, int id_width) {
  const std::string& shown = token.kind() == v1::TOKEN_KIND_CONTROL ? token.name() : token.token_bytes();
  std::string line =
      absl::StrFormat("%*d  %-7s  %-11s", id_width, token.token_id(),
                      ShowEnum(*v1::TokenKind_descriptor(), token.kind()), token.ends_text() ? "ends a text" : "");
  if (!shown.empty()) return absl::StrCat(line, "  \"", EscapeText(shown), "\"\n");
  line.erase(line.find_last_not_of(' ') + 1);
  return absl::StrCat(line, "\n");
}

absl::StatusOr<int> Run(const Arguments& arguments, Session& session) {
  v1::GetVocabularyRequest request;
  RETURN_IF_ERROR(SetFields(arguments, request));
  std::ostream& out = session.out();
  bool is_first = true;
  const absl::Status status = session.client->GetVocabulary(request, [&](const v1::GetVocabularyResponse& response) {
    const int id_width = static_cast<int>(absl::StrCat(response.vocab_size()).size());
    if (is_first && session.json) {
      // {"model": ..., "vocab_size": ..., "vocab_fingerprint": ..., "tokens": []}, then a line for each token.
      v1::GetVocabularyResponse head;
      head.set_model(response.model());
      head.set_vocab_size(response.vocab_size());
      head.set_vocab_fingerprint(response.vocab_fingerprint());
      out << ToJson(head) << "\n";
    }
    is_first = false;
    for (const v1::VocabularyToken& token : response.tokens()) {
      out << (session.json ? absl::StrCat(ToJson(token), "\n") : Line(token, id_width));
    }
    // Stop if nobody reads any more: `| head`.
    return out.good();
  });
  if (!out.good()) return kExitOk;
  RETURN_IF_ERROR(status);
  return kExitOk;
}

}  // namespace

Command VocabularyCommand() {
  return {.name = "vocabulary",
          .purpose = "every token of a model: its bytes, its name, its kind",
          .summary = "Prints every token of a model: its id, its kind, and its bytes or its name.",
          .examples = "logit vocabulary | grep control\nlogit vocabulary --json > tokens.jsonl\n",
          .groups = {{"Request", {ModelFlag()}}},
          .request = v1::GetVocabularyRequest::descriptor(),
          .run = Run};
}

}  // namespace logitd::cli
