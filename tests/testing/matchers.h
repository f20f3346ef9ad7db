// Matchers for absl::Status and absl::StatusOr: Debian's Abseil has none.
//
//   EXPECT_THAT(Validate(params), IsOk());
//   EXPECT_THAT(Validate(params), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("top_p")));
//   EXPECT_THAT(subset, IsOkAndHolds(Property(&VocabSubset::size, 2)));
//   EXPECT_THAT(status, HasReason(ErrorReason::kFieldOutOfRange));
//   ASSERT_OK_AND_ASSIGN(Step step, decoder.Advance(0, row, distribution));
//
// For protobuf messages: tests/testing/equals_proto.h.
#ifndef LOGITD_TESTS_TESTING_MATCHERS_H_
#define LOGITD_TESTS_TESTING_MATCHERS_H_

#include <ostream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/errors.h"
#include "core/logits_row.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd::testing {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// "INVALID_ARGUMENT FIELD_OUT_OF_RANGE: top_p must be ...", for failure messages.
std::string Describe(const absl::Status& status);

MATCHER(IsOk, negation ? "is an error" : "is OK") {
  *result_listener << Describe(StatusOf(arg));
  return StatusOf(arg).ok();
}

MATCHER_P(StatusIs, code, "is " + absl::StatusCodeToString(code)) {
  *result_listener << Describe(StatusOf(arg));
  return StatusOf(arg).code() == code;
}

MATCHER_P2(StatusIs, code, message,
           "is " + absl::StatusCodeToString(code) + " with a message that " +
               ::testing::DescribeMatcher<std::string>(message)) {
  *result_listener << Describe(StatusOf(arg));
  return StatusOf(arg).code() == code && ::testing::Matches(::testing::SafeMatcherCast<const std::string&>(message))(
                                             std::string(StatusOf(arg).message()));
}

// The status carries this reason, and the code that goes with it.
MATCHER_P(HasReason, reason, "has reason " + std::string(ReasonName(reason))) {
  *result_listener << Describe(StatusOf(arg));
  return !StatusOf(arg).ok() && DetailOf(StatusOf(arg)).reason == reason && StatusOf(arg).code() == CodeOf(reason);
}

MATCHER_P(IsOkAndHolds, value, "is OK and holds what is wanted") {
  if (!arg.ok()) {
    *result_listener << Describe(arg.status());
    return false;
  }
  return ::testing::ExplainMatchResult(value, *arg, result_listener);
}

// [vocab_size]: the logits of all tokens.
inline std::vector<float> DenseOf(const LogitsRow& row) {
  std::vector<float> dense;
  for (TokenId token_id = 0; token_id < row.vocab_size(); ++token_id) dense.push_back(row[token_id]);
  return dense;
}

// Matches a LogitsRow whose logits, those of all tokens, match `matcher`.
template <typename Matcher>
auto IsRow(const Matcher& matcher) {
  return ::testing::ResultOf("logits of all tokens", DenseOf, matcher);
}

}  // namespace logitd::testing

#define LOGITD_TEST_CONCAT_INNER(a, b) a##b
#define LOGITD_TEST_CONCAT(a, b) LOGITD_TEST_CONCAT_INNER(a, b)
// Declares or assigns `lhs` from an absl::StatusOr, or fails the test here. In functions that return void.
#define ASSERT_OK_AND_ASSIGN(lhs, rexpr) \
  LOGITD_TEST_ASSIGN(LOGITD_TEST_CONCAT(logitd_test_result_, __LINE__), lhs, rexpr)
#define LOGITD_TEST_ASSIGN(result, lhs, rexpr)    \
  auto result = (rexpr);                          \
  ASSERT_THAT(result, ::logitd::testing::IsOk()); \
  lhs = *std::move(result)

#endif  // LOGITD_TESTS_TESTING_MATCHERS_H_
