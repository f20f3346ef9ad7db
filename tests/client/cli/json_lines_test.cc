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
  v1::DistributionResponse response;
  for (const double value : {0.1, 1.0 / 3, 0.9452147739547233, 5e-324, 1.7976931348623157e308, -0.056343102949999996,
                             std::nextafter(1.0, 2.0), 1e-7, -13.999512345678901}) {
    response.add_sampling_log_probs(value);
  }
  v1::DistributionResponse read;
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
  EXPECT_THAT(ToJson(v1::TokenRecord()), Not(HasSubstr("log_prob")));
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

}  // namespace
}  // namespace logitd::cli
