#include "client/cli/tokenization_notes.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace logitd::cli {
namespace {

std::string Bytes(int64_t count) { return absl::StrCat(count, count == 1 ? " byte" : " bytes"); }

// The notes on a continuation, candidate or option, a line each.
template <typename Part>
std::vector<std::string> SentencesOf(const Part& part) {
  const v1::BoundaryReport& boundary = part.boundary();
  std::vector<std::string> sentences;
  if (const int count = part.truncated_token_count(); count > 0) {
    sentences.push_back(absl::StrCat("the context lost its first ", count, count == 1 ? " token" : " tokens",
                                     ", because both together are too long (--truncation)"));
  }
  if (boundary.token_spans_boundary()) {
    sentences.push_back(boundary.rule() == v1::BOUNDARY_LM_EVAL
                            ? absl::StrCat("a token has bytes of context and continuation (",
                                           Bytes(boundary.spanning_bytes()), " on the other side)")
                            : absl::StrCat("the first token begins with ", Bytes(boundary.spanning_bytes()),
                                           " of the context, and counts whole"));
  }
  if (boundary.has_implicit_context_token_id()) {
    sentences.push_back(absl::StrCat("no token is left for the context: token ", boundary.implicit_context_token_id(),
                                     " stands for it"));
  }
  if (boundary.text_changed()) {
    sentences.push_back(boundary.rule() == v1::BOUNDARY_LM_EVAL && boundary.context_tokens_changed()
                            ? "the tokens scored do not spell context + continuation (--boundary joint does)"
                            : "the tokens scored do not spell context + continuation: the tokenizer changes the text");
  }
  return sentences;
}

class Notes {
 public:
  explicit Notes(const char* noun) : noun_(noun) {}

  // `labels`: the names of the parts; those without one are named by their place.
  template <typename Parts>
  void AddAll(const Parts& parts, const std::vector<std::string>& labels) {
    for (int i = 0; i < parts.size(); ++i) {
      const auto index = static_cast<size_t>(i);
      Add(index < labels.size() ? labels[index] : absl::StrCat(i), parts[i]);
    }
  }

  template <typename Part>
  void Add(const std::string& name, const Part& part) {
    for (std::string& sentence : SentencesOf(part)) {
      const auto same = [&](const auto& note) { return note.first == sentence; };
      auto at = std::find_if(notes_.begin(), notes_.end(), same);
      if (at == notes_.end()) at = notes_.insert(at, {std::move(sentence), {}});
      at->second.push_back(name);
    }
  }

  std::string Text() const {
    std::string out;
    for (const auto& [sentence, names] : notes_) {
      absl::StrAppend(&out, noun_, names.size() > 1 ? "s " : " ", absl::StrJoin(names, ", "), ": ", sentence, "\n");
    }
    return out;
  }

 private:
  const std::string noun_;
  std::vector<std::pair<std::string, std::vector<std::string>>> notes_;
};

}  // namespace

std::string TokenizationNote(const v1::TokenizationReport& report, const std::string& text) {
  std::string out;
  if (report.doubled_bos()) {
    absl::StrAppend(&out, text, " begins with BOS, and another BOS was put before it",
                    " (--add-special-tokens false leaves that out)\n");
  }
  if (report.text_changed()) {
    absl::StrAppend(&out, "the tokens of ", text, " do not spell it: the tokenizer changes the text\n");
  }
  return out;
}

std::string BoundaryNotes(const v1::ScoredItem& item) {
  Notes notes("continuation");
  notes.AddAll(item.continuations(), {});
  return absl::StrCat(TokenizationNote(item.tokenization(), "the context"), notes.Text());
}

std::string BoundaryNotes(const v1::RankedItem& item, const std::vector<std::string>& labels) {
  Notes notes("candidate");
  notes.AddAll(item.candidates(), labels);
  return absl::StrCat(TokenizationNote(item.tokenization(), "the context"), notes.Text());
}

std::string BoundaryNotes(const v1::DecidedItem& item, const std::vector<std::string>& labels) {
  Notes notes("option");
  notes.AddAll(item.options(), labels);
  return absl::StrCat(TokenizationNote(item.tokenization(), "the context"), notes.Text());
}

}  // namespace logitd::cli
