#include "server/models/line_splitter.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd::server {
namespace {

using ::testing::ElementsAre;

TEST(LineSplitterTest, LinesAreTheSameHoweverTheBytesCome) {
  const std::string bytes = "ab\n\nabcd\r\nabcde\nabcdefgh\nend";
  for (size_t step = 1; step <= bytes.size(); ++step) {
    SCOPED_TRACE(step);
    std::vector<std::string> lines;
    LineSplitter splitter(5, [&](std::string line) { lines.push_back(std::move(line)); });
    for (size_t i = 0; i < bytes.size(); i += step) splitter.Append(bytes.substr(i, step));
    splitter.Finish();
    EXPECT_THAT(lines, ElementsAre("ab", "abcd", "abcde", "abcde [3 bytes more]", "end"));
  }
}

TEST(LineSplitterTest, OneByteMore) {
  std::vector<std::string> lines;
  LineSplitter splitter(2, [&](std::string line) { lines.push_back(std::move(line)); });
  splitter.Append("abc\nab\n");
  splitter.Finish();
  EXPECT_THAT(lines, ElementsAre("ab [1 byte more]", "ab"));
}

}  // namespace
}  // namespace logitd::server
