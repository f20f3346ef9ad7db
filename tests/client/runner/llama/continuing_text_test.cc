#include "client/runner/llama/continuing_text.h"

#include <map>
#include <string>

#include "core/errors.h"
#include "gmock/gmock.h"
#include "tests/testing/matchers.h"

namespace logitd::runner {
namespace {

using logitd::testing::IsOkAndHolds;
using ::testing::ElementsAre;

// The longest token that fits, with a space before every text; what has no token is an error.
class Tokenizer {
 public:
  explicit Tokenizer(std::map<std::string, TokenId> tokens) : tokens_(std::move(tokens)) {}

  absl::StatusOr<std::vector<TokenId>> operator()(const std::string& text) {
    ++calls;
    const std::string whole = (text.empty() ? "" : " ") + text;
    std::vector<TokenId> ids;
    for (size_t at = 0; at < whole.size();) {
      size_t size = whole.size() - at;
      while (size > 0 && !tokens_.contains(whole.substr(at, size))) --size;
      if (size == 0) return errors::MalformedMessage("texts", "no token");
      ids.push_back(tokens_[whole.substr(at, size)]);
      at += size;
    }
    return ids;
  }
  std::string Piece(TokenId id) const {
    for (const auto& [text, token] : tokens_) {
      if (token == id) return text;
    }
    return "";
  }
  absl::StatusOr<std::vector<TokenId>> Continuing(const std::string& text) {
    return TokenizeContinuing(
        text, [this](const std::string& part) { return (*this)(part); }, [this](TokenId id) { return Piece(id); });
  }

  int calls = 0;

 private:
  std::map<std::string, TokenId> tokens_;
};

TEST(ContinuingTextTest, NothingIsPutBeforeTheText) {
  Tokenizer tokenizer({{" ", 1}, {".", 2}, {" .", 3}, {"a", 4}, {" a", 5}, {"ab", 6}, {"b", 7}});
  EXPECT_THAT(tokenizer("."), IsOkAndHolds(ElementsAre(3)));
  EXPECT_THAT(tokenizer.Continuing("."), IsOkAndHolds(ElementsAre(2)));
  EXPECT_THAT(tokenizer.Continuing("ab"), IsOkAndHolds(ElementsAre(6)));
  EXPECT_THAT(tokenizer.Continuing(" a"), IsOkAndHolds(ElementsAre(5)));
  EXPECT_THAT(tokenizer.Continuing(""), IsOkAndHolds(ElementsAre()));
}

TEST(ContinuingTextTest, LeadThatMergesWithTheTextIsNotTaken) {
  // ".a" is one token: the next lead has to do.
  Tokenizer tokenizer({{" ", 1}, {".", 2}, {" .", 3}, {"a", 4}, {" a", 5}, {".a", 6}, {" .a", 7}, {"x", 8}});
  EXPECT_THAT(tokenizer.Continuing("a"), IsOkAndHolds(ElementsAre(4)));
}

TEST(ContinuingTextTest, WithoutALeadTheTextIsTokenisedByItself) {
  Tokenizer tokenizer({{" ", 1}, {"a", 4}, {" a", 5}});
  EXPECT_THAT(tokenizer.Continuing("a"), IsOkAndHolds(ElementsAre(5)));
}

}  // namespace
}  // namespace logitd::runner
