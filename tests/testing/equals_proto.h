// EqualsProto: a protobuf message equals another, or one in text form; on failure the difference is shown.
//
//   EXPECT_THAT(response, EqualsProto("kept_count: 4"));
//   EXPECT_THAT(response, EqualsProtoApproximately(expected, 1e-6));  // floating-point fields within 1e-6
#ifndef LOGITD_TESTS_TESTING_EQUALS_PROTO_H_
#define LOGITD_TESTS_TESTING_EQUALS_PROTO_H_

#include <memory>
#include <string>

#include "gmock/gmock.h"
#include "google/protobuf/message.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/message_differencer.h"

namespace logitd::testing {

// The message's differences from `expected`, "" if there is none. `margin`: absolute, for floating-point fields.
inline std::string ProtoDifferences(const google::protobuf::Message& actual, const google::protobuf::Message& expected,
                                    double margin) {
  if (actual.GetDescriptor() != expected.GetDescriptor()) {
    return "is a " + actual.GetTypeName() + ", not a " + expected.GetTypeName();
  }
  google::protobuf::util::MessageDifferencer differencer;
  google::protobuf::util::DefaultFieldComparator comparator;
  comparator.set_treat_nan_as_equal(true);
  if (margin > 0) {
    comparator.set_float_comparison(google::protobuf::util::DefaultFieldComparator::APPROXIMATE);
    comparator.SetDefaultFractionAndMargin(0, margin);
  }
  differencer.set_field_comparator(&comparator);
  std::string differences;
  differencer.ReportDifferencesToString(&differences);
  if (differencer.Compare(expected, actual)) return "";
  return differences + "in full:\n" + actual.DebugString();
}

inline std::string ProtoDifferences(const google::protobuf::Message& actual, const std::string& expected_text,
                                    double margin) {
  std::unique_ptr<google::protobuf::Message> expected(actual.New());
  if (!google::protobuf::TextFormat::ParseFromString(expected_text, expected.get())) {
    return "cannot be compared: the expected text is no " + actual.GetTypeName();
  }
  return ProtoDifferences(actual, *expected, margin);
}

MATCHER_P(EqualsProto, expected, "equals the expected message") {
  const std::string differences = ProtoDifferences(arg, expected, 0);
  *result_listener << differences;
  return differences.empty();
}

MATCHER_P2(EqualsProtoApproximately, expected, margin, "equals the expected message up to a margin") {
  const std::string differences = ProtoDifferences(arg, expected, margin);
  *result_listener << differences;
  return differences.empty();
}

}  // namespace logitd::testing

#endif  // LOGITD_TESTS_TESTING_EQUALS_PROTO_H_
