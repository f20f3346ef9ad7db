#include "client/http/compatibility.h"

#include "client/http/chat_fields.h"
#include "client/http/completion_fields.h"
#include "client/http/decisions_route.h"
#include "client/http/fields.h"
#include "client/http/generation_fields.h"
#include "client/http/generative_scoring_route.h"
#include "client/http/label_score_route.h"
#include "client/http/systemone_route.h"
#include "client/http/tokenizer_routes.h"

namespace logitd::http {
namespace {

struct Table {
  const char* heading;
  FieldTable fields;
};

void Append(const Table& table, std::string& out) {
  out += std::string("### ") + table.heading + "\n\n| field | | |\n| --- | --- | --- |\n";
  for (const Field& field : table.fields) {
    out += std::string("| `") + field.name + "` | " + UseName(field.use) + " | " + field.note;
    const std::string neutral = field.neutral;
    if (field.use == Use::kRefused && neutral != "[]") {
      out += "; accepted: `" + neutral.substr(1, neutral.size() - 2) + "`";
    }
    out += " |\n";
  }
  out += "\n";
}

}  // namespace

std::string CompatibilityTables() {
  std::string out;
  for (const Table& table :
       {Table{"POST /v1/completions", CompletionFields()}, Table{"POST /v1/chat/completions", ChatFields()},
        Table{"A message of /v1/chat/completions", ChatMessageFields()},
        Table{"A part of a message's content", ChatPartFields()}, Table{"`stream_options`", StreamOptionFields()},
        Table{"`logitd`: extensions", ExtensionFields()}, Table{"POST /v1/score", LabelScoreFields()},
        Table{"POST /generative_scoring", GenerativeScoringFields()}, Table{"POST /v1/decisions", DecisionFields()},
        Table{"A question of /v1/decisions", DecisionQuestionFields()}, Table{"POST /v1/systemone", SystemoneFields()},
        Table{"A question of /v1/systemone", SystemoneQuestionFields()}, Table{"POST /tokenize", TokenizeFields()},
        Table{"POST /detokenize", DetokenizeFields()}}) {
    Append(table, out);
  }
  return out;
}

}  // namespace logitd::http
