#include "server/converters/api_version.h"

#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd::server {
namespace {

using std::string_literals::operator""s;

absl::Status Check(const std::string& bytes, int block_size = -1) {
  google::protobuf::io::ArrayInputStream stream(bytes.data(), static_cast<int>(bytes.size()), block_size);
  return CheckHelloVersion(stream, static_cast<int64_t>(bytes.size()));
}

std::string MessageOf(const std::string& bytes) { return std::string(Check(bytes).message()); }

TEST(ApiVersionTest, IsReadWhateverIsAroundIt) {
  // hello { 1: 1, 2: 3 }; the same behind other fields of hello and of the message.
  EXPECT_TRUE(Check("\x0a\x04\x08\x01\x10\x03"s).ok());
  EXPECT_TRUE(Check("\x0a\x02\x08\x01"s).ok());
  EXPECT_TRUE(Check("\x0a\x09\x1a\x03\xff\xff\xff\x08\x01\x10\x03"s).ok());
  EXPECT_TRUE(Check("\x10\x05\x0a\x02\x08\x01"s).ok());
  for (int block_size = 1; block_size < 8; ++block_size) {
    EXPECT_TRUE(Check("\x10\x05\x0a\x09\x1a\x03\xff\xff\xff\x08\x01\x10\x03"s, block_size).ok());
  }
}

TEST(ApiVersionTest, OfAnotherMajorVersionIsRefused) {
  EXPECT_THAT(MessageOf("\x0a\x00"s), ::testing::StartsWith("the runner has API version 0 (its hello has none) and"));
  EXPECT_THAT(MessageOf("\x0a\x02\x10\x03"s),
              ::testing::StartsWith("the runner has API version 0 (its hello has none)"));
  EXPECT_THAT(MessageOf("\x0a\x04\x08\x02\x10\x05"s), ::testing::StartsWith("the runner has API version 2.5 and"));
  // Numbers of version 1 with other types, a text that is not UTF-8, a group, and an end in the middle of a field.
  EXPECT_THAT(MessageOf("\x0a\x0f\x18\x01\x22\x02\xff\xfe\x2b\x08\x01\x2c\x08\x02\x10\x05"s),
              ::testing::StartsWith("the runner has API version 2.5 and"));
  EXPECT_THAT(MessageOf("\x0a\x06\x08\x02\x10\x05\x12\x7f"s),
              ::testing::StartsWith("the runner has API version 2.5 and"));
  // The version as a text.
  EXPECT_THAT(MessageOf("\x0a\x03\x0a\x01\x01"s), ::testing::StartsWith("the runner has API version 0"));
  // -1 has ten bytes.
  EXPECT_THAT(MessageOf("\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"s),
              ::testing::StartsWith("the runner has API version 18446744073709551615.0 and"));
}

TEST(ApiVersionTest, WhatIsNoHelloIsForOthersToJudge) {
  for (const std::string& bytes : {""s, "\x12\x00"s, "\x0a"s, "\xff"s, "\x42\x00"s, "\x08\x01"s}) {
    EXPECT_TRUE(Check(bytes).ok());
  }
}

TEST(ApiVersionTest, AnyBytesAreRead) {
  std::mt19937_64 random(12);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes(random() % 40, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    if (i % 2 == 0) bytes.insert(0, "\x0a\x20"s);
    const absl::Status status = Check(bytes);
    EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kFailedPrecondition);
  }
}

}  // namespace
}  // namespace logitd::server
