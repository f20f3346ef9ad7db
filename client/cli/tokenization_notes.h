// Notes below a table on how texts became tokens, a line each. Empty if there is nothing to note.
#ifndef LOGITD_CLIENT_CLI_TOKENIZATION_NOTES_H_
#define LOGITD_CLIENT_CLI_TOKENIZATION_NOTES_H_

#include <string>
#include <vector>

#include "logitd/v1/completion.pb.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::cli {

// `text` names the text, for example "the prompt".
std::string TokenizationNote(const v1::TokenizationReport& report, const std::string& text);

// Notes on a context and its continuations. Continuations with the same note share a line: "continuations 0, 2: ...".
std::string BoundaryNotes(const v1::ScoredItem& item);
// The same for candidates: "candidates " a", " b": ...". `labels` has one entry for each candidate.
std::string BoundaryNotes(const v1::RankedItem& item, const std::vector<std::string>& labels);
// The same for options.
std::string BoundaryNotes(const v1::DecidedItem& item, const std::vector<std::string>& labels);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_TOKENIZATION_NOTES_H_
