// What a reader should know about how texts became tokens: lines below a table. Empty where there is nothing to say.
#ifndef LOGITD_CLIENT_CLI_TOKENIZATION_NOTES_H_
#define LOGITD_CLIENT_CLI_TOKENIZATION_NOTES_H_

#include <string>
#include <vector>

#include "logitd/v1/completion.pb.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::cli {

// `text`: whose tokens they are, e.g. "the prompt".
std::string TokenizationNote(const v1::TokenizationReport& report, const std::string& text);

// Of a context and its continuations; those of one kind share a line: "continuations 0, 2: ...".
std::string BoundaryNotes(const v1::ScoredItem& item);
// The same of candidates: "candidates " a", " b": ...". `labels`: as many as candidates.
std::string BoundaryNotes(const v1::RankedItem& item, const std::vector<std::string>& labels);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_TOKENIZATION_NOTES_H_
