#include "client/cli/json_lines.h"

#include <cmath>
#include <limits>
#include <sstream>

#include "gmock/gmock.h"
#include "logitd/v1/completion.pb.h"
#include "logitd/v1/decoding_service.pb.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(JsonLinesTest, DoublesReadBackWithTheSameBits) {
  v1::ComputeDistributionResponse response;
  for (const double value : {0.1, 1.0 / 3, 0.9452147739547233, 5e-324, 1.7976931348623157e308, -0.056343102949999996,
                             std::nextafter(1.0, 2.0), 1e-7, -13.999512345678901}) {
    response.add_sampling_log_probs(value);
  }
  v1::ComputeDistributionResponse read;
  ASSERT_FALSE(FromJson(ToJson(response), 1, &read).has_value());
  ASSERT_EQ(read.sampling_log_probs_size(), response.sampling_log_probs_size());
  for (int i = 0; i < read.sampling_log_probs_size(); ++i) {
    EXPECT_EQ(read.sampling_log_probs(i), response.sampling_log_probs(i)) << ToJson(response);
  }
}

TEST(JsonLinesTest, OneLineWithTheNamesOfTheContract) {
  v1::TokenRecord record;
  record.set_token_bytes("a\n\xff");
  record.set_model_log_prob(-std::numeric_limits<double>::infinity());
  const std::string json = ToJson(record);
  EXPECT_THAT(json, HasSubstr("\"token_id\":0"));
  EXPECT_THAT(json, HasSubstr("\"token_bytes\":\"YQr/\""));
  EXPECT_THAT(json, HasSubstr("\"model_log_prob\":\"-Infinity\""));
  EXPECT_THAT(json, Not(HasSubstr("\n")));
}

TEST(JsonLinesTest, WhatIsUnsetIsLeftOutAndNeverZero) {
  EXPECT_THAT(ToJson(v1::TokenRecord()), Not(HasSubstr("model_log_prob")));
  EXPECT_THAT(ToJson(v1::SequenceTotals()), Not(HasSubstr("cumulative")));
  v1::TokenRecord greedy;
  greedy.set_sampling_log_prob(0);
  EXPECT_THAT(ToJson(greedy), HasSubstr("\"sampling_log_prob\":0"));
}

TEST(JsonLinesTest, StringsAreEscaped) { EXPECT_EQ(ToJsonArray({"a", "b\"\n"}), "[\"a\",\"b\\\"\\n\"]"); }

TEST(JsonLinesTest, AFailureNamesTheLine) {
  v1::ScoreItem item;
  const auto error = FromJson("{\"contxt\": 1}", 17, &item);
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->reason(), v1::ERROR_REASON_MALFORMED_MESSAGE);
  EXPECT_THAT(error->message(), HasSubstr("line 17"));
  EXPECT_THAT(error->message(), HasSubstr("ScoreItem"));
  EXPECT_THAT(error->message(), HasSubstr("contxt"));
}

TEST(JsonLinesTest, WhatIsNoJsonIsSaidInOneLine) {
  const struct {
    const char* line;
    const char* end;
  } cases[] = {
      {"{\"context\" {}}", "Expected : between key:value pair, at \"{}}\""},
      {"nonsense", "Unexpected token, at \"nonsense\""},
      {"{\"context\": {", "at the end of the line"},
      {"[1]", "in JSON: Root element must be a message"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.line);
    v1::ScoreItem item;
    const auto error = FromJson(c.line, 3, &item);
    ASSERT_TRUE(error.has_value());
    EXPECT_THAT(error->message(), ::testing::EndsWith(c.end));
    EXPECT_THAT(error->message(), Not(HasSubstr("\n")));
  }
  v1::ScoreItem item;
  const auto error = FromJson("{\"" + std::string(100000, 'x') + "\": 1}", 3, &item);
  ASSERT_TRUE(error.has_value());
  EXPECT_LT(error->message().size(), 400u) << "what others wrote is quoted in part";
}

TEST(LineReaderTest, ChunksAreBoundedByLinesAndBytes) {
  std::istringstream in("aaaa\n\n  \r\nbbbb\ncccc\ndddd");
  LineReader reader(in);
  std::vector<InputLine> lines = reader.NextChunk(2, 1000);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[1].text, "bbbb");
  EXPECT_EQ(lines[1].number, 4) << "blank lines count";
  lines = reader.NextChunk(10, 4);
  ASSERT_EQ(lines.size(), 1u) << "one line already has 4 bytes";
  lines = reader.NextChunk(10, 1000);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].text, "dddd");
  EXPECT_TRUE(reader.NextChunk(10, 1000).empty());
}

TEST(LineReaderTest, AByteOrderMarkIsNoPartOfTheFirstLine) {
  std::istringstream in("\xEF\xBB\xBF{\"a\":1}\r\n\xEF\xBB\xBF{}\r\n");
  LineReader reader(in);
  const std::vector<InputLine> lines = reader.NextChunk(10, 1000);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].text, "{\"a\":1}\r");
  EXPECT_EQ(lines[1].text, "\xEF\xBB\xBF{}\r") << "it means something in front of a text alone";
  std::istringstream alone("\xEF\xBB\xBF\n{}\n");
  LineReader second(alone);
  EXPECT_EQ(second.NextChunk(10, 1000).at(0).number, 2);
}

TEST(LineReaderTest, ALineOfAnyLengthIsOneItem) {
  const std::string longest(kMaxLineBytes, 'x');
  std::istringstream in("a\n" + longest + "\n" + longest + "x\nb\n" + longest + "xyz");
  LineReader reader(in);
  std::vector<InputLine> lines;
  while (true) {
    std::vector<InputLine> chunk = reader.NextChunk(10, 1000);
    if (chunk.empty()) break;
    for (InputLine& line : chunk) lines.push_back(std::move(line));
  }
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[1].text.size(), longest.size());
  EXPECT_EQ(lines[2].text, "");
  EXPECT_EQ(lines[3].text, "b");
  EXPECT_EQ(lines[4].byte_count, kMaxLineBytes + 3);
  EXPECT_EQ(reader.byte_count(), 3 * kMaxLineBytes + 2 + 1 + 1 + 1 + 2 + 4);
  v1::ScoreItem item;
  const std::optional<v1::Error> error = FromLine(lines[2], &item);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->reason(), v1::ERROR_REASON_LIMIT_EXCEEDED);
  EXPECT_EQ(error->message(), "line 3 of standard input must have at most 67108864 bytes, got 67108865");
  EXPECT_EQ(error->value(), "67108865");
}

TEST(LineReaderTest, AnItemThatIsLargerThanItsLineIsRefusedToo) {
  // -1 takes three bytes of JSON and ten of a message.
  std::string ids = "-1";
  for (int i = 0; i < 7'000'000; ++i) ids += ",-1";
  v1::ScoreItem item;
  const std::string text = "{\"context\":{\"tokens\":{\"token_ids\":[" + ids + "]}}}";
  const std::optional<v1::Error> error =
      FromLine({.text = text, .number = 4, .byte_count = static_cast<int64_t>(text.size())}, &item);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->limit(), "max_message_bytes");
  EXPECT_THAT(error->message(), HasSubstr("line 4 of standard input must give a message of at most 66060288 bytes"));
}

}  // namespace
}  // namespace logitd::cli
