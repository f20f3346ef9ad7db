#include "client/http/json_writer.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "client/http/strict_json.h"
#include "gmock/gmock.h"

namespace logitd::http {
namespace {

TEST(JsonWriterTest, ADoubleReadsBackWithTheSameBitsAndIsNeverAnInteger) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 200'000; ++i) {
    // Half of them any bits, half of them like log-probs.
    double value = std::bit_cast<double>(random());
    if (i % 2 == 0) value = -std::ldexp(static_cast<double>(random() >> 11), -50);
    if (!std::isfinite(value)) continue;
    const std::string text = ShortestText(value);
    EXPECT_EQ(std::bit_cast<uint64_t>(std::strtod(text.c_str(), nullptr)), std::bit_cast<uint64_t>(value)) << text;
    EXPECT_NE(text.find_first_of(".e"), std::string::npos) << text;
  }
}

TEST(JsonWriterTest, TheShortestDigitsAreWritten) {
  EXPECT_EQ(ShortestText(0.1), "0.1");
  EXPECT_EQ(ShortestText(-0.056343102949999994), "-0.056343102949999994");
  EXPECT_EQ(ShortestText(0), "0.0");
  EXPECT_EQ(ShortestText(-0.0), "-0.0");
  EXPECT_EQ(ShortestText(-7), "-7.0");
  EXPECT_EQ(ShortestText(5e-324), "5e-324");
}

TEST(JsonWriterTest, WhatJsonCannotSayIsNull) {
  JsonWriter out;
  out.BeginArray();
  out.Double(-std::numeric_limits<double>::infinity());
  out.Double(std::numeric_limits<double>::quiet_NaN());
  out.Double(std::nullopt);
  out.Double(-1.5);
  out.EndArray();
  EXPECT_EQ(out.Take(), "[null,null,null,-1.5]");
}

TEST(JsonWriterTest, CommasStandBetweenValues) {
  JsonWriter out;
  out.BeginObject();
  out.Field("a", 1);
  out.Key("b");
  out.BeginArray();
  out.BeginObject();
  out.EndObject();
  out.Raw("[2]");
  out.EndArray();
  out.NullField("c");
  out.Field("d", true);
  out.Field("e", "x");
  out.EndObject();
  EXPECT_EQ(out.Take(), R"({"a":1,"b":[{},[2]],"c":null,"d":true,"e":"x"})");
}

TEST(JsonWriterTest, StringsReadBackAsTheyWere) {
  std::string every;
  for (int c = 0; c < 0x80; ++c) every += static_cast<char>(c);
  every += "\u00fc\u20ac\U0001F600\u2028";
  JsonWriter out;
  out.String(every);
  const auto read = ParseJson(out.Take());
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->get<std::string>(), every);
}

TEST(JsonWriterTest, BytesThatAreNotUtf8AreReplaced) {
  JsonWriter out;
  out.String("a\xe2\x82");
  EXPECT_EQ(out.Take(), "\"a\ufffd\"");
}

}  // namespace
}  // namespace logitd::http
