#include "client/cli/tokenization_notes.h"

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"

namespace logitd::cli {
namespace {

template <typename Message>
Message Parse(const char* text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

TEST(TokenizationNotesTest, ContinuationsOfOneKindShareALine) {
  const auto item = Parse<v1::ScoredItem>(R"pb(
    continuations { boundary { rule: BOUNDARY_JOINT token_spans_boundary: true spanning_bytes: 1 } }
    continuations { boundary { rule: BOUNDARY_JOINT context_tokens_changed: true } }
    continuations { boundary { rule: BOUNDARY_JOINT token_spans_boundary: true spanning_bytes: 1 } }
    continuations {
      boundary { rule: BOUNDARY_JOINT token_spans_boundary: true spanning_bytes: 2 implicit_context_token_id: 7 }
    }
  )pb");
  EXPECT_EQ(BoundaryNotes(item),
            "continuations 0, 2: the first token begins with 1 byte of the context, and counts whole\n"
            "continuation 3: the first token begins with 2 bytes of the context, and counts whole\n"
            "continuation 3: no token is left for the context: token 7 stands for it\n");
}

TEST(TokenizationNotesTest, ATextThatIsAnotherIsNamedWithItsCause) {
  const auto item = Parse<v1::RankedItem>(R"pb(
    tokenization { text_changed: true doubled_bos: true }
    candidates {
      boundary {
        rule: BOUNDARY_LM_EVAL
        token_spans_boundary: true
        spanning_bytes: 3
        context_tokens_changed: true
        text_changed: true
      }
    }
    candidates { boundary { rule: BOUNDARY_SEPARATE text_changed: true } }
  )pb");
  EXPECT_EQ(
      BoundaryNotes(item, {"\"a\"", "\"b\""}),
      "the context begins with BOS, and another BOS was put before it (--add-special-tokens false leaves that out)\n"
      "the tokens of the context do not spell it: the tokenizer changes the text\n"
      "candidate \"a\": a token has bytes of context and continuation (3 bytes on the other side)\n"
      "candidate \"a\": the tokens scored do not spell context + continuation (--boundary joint does)\n"
      "candidate \"b\": the tokens scored do not spell context + continuation: the tokenizer changes the text\n");
}

TEST(TokenizationNotesTest, NothingToSayIsNoLine) {
  EXPECT_EQ(BoundaryNotes(Parse<v1::ScoredItem>("continuations { boundary { rule: BOUNDARY_JOINT } }")), "");
  EXPECT_EQ(TokenizationNote({}, "the prompt"), "");
}

}  // namespace
}  // namespace logitd::cli
