#include "core/errors.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "core/shown_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/matchers.h"

namespace logitd {
namespace {

using ::logitd::testing::HasReason;
using ::logitd::testing::StatusIs;
using ::testing::HasSubstr;

TEST(ErrorsTest, MessagesNameFieldValueAndBound) {
  EXPECT_EQ(errors::OutOfRange("temperature", -1.0, "0 or in [0.0001, 1e+06]").message(),
            "temperature must be 0 or in [0.0001, 1e+06], got -1");
  EXPECT_EQ(errors::OutOfRange("top_p", 1.5, "[0, 1]").message(), "top_p must be in [0, 1], got 1.5");
  EXPECT_EQ(errors::TokenIdOutOfRange("token_ids[3]", 49152, 49152).message(),
            "token_ids[3] must be in [0, 49152), got 49152");
  EXPECT_EQ(errors::NonFiniteLogit(7, std::nanf("")).message(), "logits[7] must be finite or -inf, got nan");
  EXPECT_EQ(errors::PositionGap(9, 4, 5).message(), "position must be 5 (or 4 again), got 9");
  EXPECT_EQ(errors::PositionGap(9, 5, 5).message(), "position must be 5, got 9");
  EXPECT_EQ(errors::RowLengthMismatch("payload", 12, 16, "bytes").message(), "payload must be 16 bytes, got 12");
}

TEST(ErrorsTest, NumbersAreShownInTheirShortestForm) {
  EXPECT_EQ(errors::Show(0.8), "0.8");
  EXPECT_EQ(errors::Show(-1), "-1");
  EXPECT_EQ(errors::Show(1e6), "1e+06");
  EXPECT_EQ(errors::Show(1e-4), "0.0001");
  EXPECT_EQ(errors::Show(-std::numeric_limits<double>::infinity()), "-inf");
  EXPECT_EQ(errors::Show(-std::nan("")), "nan");
  EXPECT_EQ(errors::Show(-std::numeric_limits<double>::denorm_min()), "-5e-324");
  EXPECT_EQ(errors::Show(-std::numeric_limits<double>::max()), "-1.7976931348623157e+308");
}

TEST(ErrorsTest, DetailSurvivesTheStatus) {
  ErrorDetail detail;
  detail.code = absl::StatusCode::kResourceExhausted;
  detail.reason = ErrorReason::kLimitExceeded;
  detail.message = "n must be in [1, 128], got 129";
  detail.field = "n;1:2";
  detail.value = "12:a;";
  detail.bound = "";
  detail.limit = "max_completions";
  detail.token_id = 0;
  detail.row = 7;
  const ErrorDetail read = DetailOf(ToStatus(detail));
  EXPECT_EQ(read.code, detail.code);
  EXPECT_EQ(read.reason, detail.reason);
  EXPECT_EQ(read.message, detail.message);
  EXPECT_EQ(read.field, detail.field);
  EXPECT_EQ(read.value, detail.value);
  EXPECT_EQ(read.bound, detail.bound);
  EXPECT_EQ(read.limit, detail.limit);
  EXPECT_EQ(read.token_id, 0);
  EXPECT_EQ(read.row, 7);
  EXPECT_EQ(read.retry_after_ms, std::nullopt);
}

TEST(ErrorsTest, ForeignStatusesGetTheNearestReason) {
  EXPECT_EQ(DetailOf(absl::UnavailableError("connection refused")).reason, ErrorReason::kModelUnavailable);
  EXPECT_EQ(DetailOf(absl::DeadlineExceededError("")).reason, ErrorReason::kDeadlineExceeded);
  EXPECT_EQ(DetailOf(absl::CancelledError("")).reason, ErrorReason::kCancelled);
  EXPECT_EQ(DetailOf(absl::UnknownError("?")).reason, ErrorReason::kInternal);
  const ErrorDetail detail = DetailOf(absl::InvalidArgumentError("no"));
  EXPECT_EQ(detail.reason, ErrorReason::kMalformedMessage);
  EXPECT_EQ(DetailOf(absl::OutOfRangeError("")).reason, ErrorReason::kFieldOutOfRange);
  EXPECT_EQ(DetailOf(absl::NotFoundError("")).reason, ErrorReason::kModelNotFound);
  EXPECT_EQ(DetailOf(absl::AlreadyExistsError("")).reason, ErrorReason::kSequenceAlreadyOpen);
  EXPECT_EQ(DetailOf(absl::FailedPreconditionError("")).reason, ErrorReason::kUnexpectedMessage);
  EXPECT_EQ(DetailOf(absl::AbortedError("")).reason, ErrorReason::kPositionConflict);
  EXPECT_EQ(DetailOf(absl::ResourceExhaustedError("")).reason, ErrorReason::kLimitExceeded);
  EXPECT_EQ(DetailOf(absl::InternalError("")).reason, ErrorReason::kInternal);
  EXPECT_EQ(detail.code, absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(detail.message, "no");
}

TEST(ErrorsTest, ALimitIsShownWithItsIntervalAndName) {
  const absl::Status status = errors::AboveLimit("items", 4097, kMaxItems, 1);
  EXPECT_EQ(status.message(), "items must be in [1, 4096], got 4097");
  EXPECT_EQ(DetailOf(status).bound, "[1, 4096]");
  EXPECT_EQ(DetailOf(status).value, "4097");
  EXPECT_EQ(DetailOf(status).limit, "max_items");
  EXPECT_EQ(DetailOf(errors::AboveLimit("f", 9, {"max_x", 8}, 0, "tokens")).bound, "[0, 8] tokens");
}

TEST(ErrorsTest, AResultIsPrefixedAsItsStatusIs) {
  EXPECT_EQ(In("a.", absl::StatusOr<int>(7)).value(), 7);
  const absl::StatusOr<int> failed = In("a.", absl::StatusOr<int>(errors::Required("b")));
  EXPECT_EQ(DetailOf(failed.status()).field, "a.b");
  EXPECT_EQ(DetailOf(In("a.", errors::Required(Element("b", 3, ".c")))).field, "a.b[3].c");
}

TEST(ErrorsTest, PrefixGoesBeforeFieldAndMessage) {
  const absl::Status status = In("batch.opens[3].sampling.", errors::OutOfRange("top_p", 2.0, "[0, 1]"));
  EXPECT_EQ(DetailOf(status).field, "batch.opens[3].sampling.top_p");
  EXPECT_EQ(status.message(), "batch.opens[3].sampling.top_p must be in [0, 1], got 2");
  EXPECT_THAT(status, HasReason(ErrorReason::kFieldOutOfRange));
  EXPECT_EQ(DetailOf(In("a.", errors::Cancelled())).field, "");
  EXPECT_TRUE(In("a.", absl::OkStatus()).ok());
}

TEST(ErrorsTest, RowIsAddedToWhatIsThere) {
  const absl::Status status = WithRow(errors::NonFiniteLogit(5, INFINITY), 2);
  EXPECT_EQ(DetailOf(status).row, 2);
  EXPECT_EQ(DetailOf(status).token_id, 5);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("row 2")));
  EXPECT_TRUE(WithRow(absl::OkStatus(), 1).ok());
}

TEST(ErrorsTest, PositionIsAddedWithItsRow) {
  const absl::Status status = WithPosition(errors::NonFiniteLogit(5, INFINITY), 2, 7, 130);
  EXPECT_EQ(DetailOf(status).row, 2);
  EXPECT_EQ(status.message(), "logits[5] must be finite or -inf, got inf (row 2: position 130 of sequence 7)");
  EXPECT_TRUE(WithPosition(absl::OkStatus(), 1, 1, 1).ok());
}

TEST(ErrorsTest, EveryConstructorHasTheReasonItSays) {
  const std::vector<std::pair<absl::Status, ErrorReason>> cases = {
      {errors::OutOfRange("f", int64_t{1}, "0"), ErrorReason::kFieldOutOfRange},
      {errors::Required("f"), ErrorReason::kFieldRequired},
      {errors::Exclusive("f", "g"), ErrorReason::kFieldsExclusive},
      {errors::UnknownField("f", 99), ErrorReason::kUnknownField},
      {errors::UnknownEnumValue("f", 99), ErrorReason::kUnknownEnumValue},
      {errors::MalformedMessage("f", "bad"), ErrorReason::kMalformedMessage},
      {errors::UnexpectedMessage("bad"), ErrorReason::kUnexpectedMessage},
      {errors::LimitExceeded("f", 2, "at most 1", "max_items"), ErrorReason::kLimitExceeded},
      {errors::AboveLimit("f", 2, {"max_items", 1}), ErrorReason::kLimitExceeded},
      {errors::Stalled({"max_stall_ms", 1}), ErrorReason::kLimitExceeded},
      {errors::Idle({"max_idle_ms", 1}), ErrorReason::kLimitExceeded},
      {errors::ConnectionFull({"max_streams_per_connection", 1}), ErrorReason::kLimitExceeded},
      {errors::OverloadedBytes(2, {"max_bytes_in_work", 1}, 50), ErrorReason::kOverloaded},
      {errors::NonFiniteLogit(1, INFINITY), ErrorReason::kNonFiniteLogit},
      {errors::NoFiniteLogit(), ErrorReason::kNoFiniteLogit},
      {errors::RowLengthMismatch("f", 1, 2, "bytes"), ErrorReason::kRowLengthMismatch},
      {errors::RowIndexOutOfRange("f", 1, 1), ErrorReason::kRowIndexOutOfRange},
      {errors::TokenIdOutOfRange("f", 1, 1), ErrorReason::kTokenIdOutOfRange},
      {errors::DuplicateTokenId("f", 1), ErrorReason::kDuplicateTokenId},
      {errors::EmptyTokenSet("f"), ErrorReason::kEmptyTokenSet},
      {errors::AllTokensExcluded(), ErrorReason::kAllTokensExcluded},
      {errors::SequenceAlreadyOpen(1), ErrorReason::kSequenceAlreadyOpen},
      {errors::SequenceNotOpen("f", 1), ErrorReason::kSequenceNotOpen},
      {errors::PositionGap(2, 0, 1), ErrorReason::kPositionGap},
      {errors::PositionTooOld(0, 1, 2), ErrorReason::kPositionTooOld},
      {errors::PositionConflict(0, 1, 2), ErrorReason::kPositionConflict},
      {errors::NumericsVersionMismatch(2), ErrorReason::kNumericsVersionMismatch},
      {errors::ModelNotFound("m"), ErrorReason::kModelNotFound},
      {errors::ModelAmbiguous(std::vector<std::string>{"a", "b"}), ErrorReason::kModelAmbiguous},
      {errors::ModelUnavailable("m"), ErrorReason::kModelUnavailable},
      {errors::RunnerLost("m"), ErrorReason::kRunnerLost},
      {errors::RunnerProtocol("bad"), ErrorReason::kRunnerProtocol},
      {errors::ModelOutputInvalid("bad"), ErrorReason::kModelOutputInvalid},
      {errors::TokenizerUnavailable("m"), ErrorReason::kTokenizerUnavailable},
      {errors::VocabularyUnavailable("m"), ErrorReason::kVocabularyUnavailable},
      {errors::NotReproducible("m", "why"), ErrorReason::kNotReproducible},
      {errors::HeadNotFound("head", "lm", "a, b"), ErrorReason::kHeadNotFound},
      {errors::HeadShapeMismatch("width", "3", "4", "d", "rows [1, 3] and head"), ErrorReason::kHeadShapeMismatch},
      {errors::ContextLengthExceeded("f", 2, 1), ErrorReason::kContextLengthExceeded},
      {errors::TextExceedsContext("f", 9, 3, 2), ErrorReason::kContextLengthExceeded},
      {errors::KvCacheFull(1, 1), ErrorReason::kKvCacheFull},
      {errors::ModelMismatch("bad"), ErrorReason::kModelMismatch},
      {errors::TokenizerFailed("prompt.text", 60000), ErrorReason::kTokenizerFailed},
      {errors::RunnerKilled("m", "SIGSEGV"), ErrorReason::kRunnerKilled},
      {errors::EmptyContinuation("f"), ErrorReason::kEmptyContinuation},
      {errors::EmptyPrompt("f"), ErrorReason::kEmptyPrompt},
      {errors::NoCandidates("f"), ErrorReason::kNoCandidates},
      {errors::BoundaryToken("f"), ErrorReason::kBoundaryToken},
      {errors::TargetCountMismatch("f", 2, 3), ErrorReason::kTargetCountMismatch},
      {errors::NormalizationUndefined("PER_BYTE", "byte_count"), ErrorReason::kNormalizationUndefined},
      {errors::OrderInvalid("order[1]", "[0, 2)", "2"), ErrorReason::kOrderInvalid},
      {errors::StrengthsUndefined("compare all items", "item 1 wins", "1"), ErrorReason::kStrengthsUndefined},
      {errors::Overloaded("calls are running", 1, {"max_calls", 1}, 50), ErrorReason::kOverloaded},
      {errors::Draining(), ErrorReason::kDraining},
      {errors::DeadlineExceeded(), ErrorReason::kDeadlineExceeded},
      {errors::Cancelled(), ErrorReason::kCancelled},
      {errors::Internal("bug"), ErrorReason::kInternal},
  };
  for (const auto& [status, reason] : cases) {
    SCOPED_TRACE(std::string(ReasonName(reason)));
    EXPECT_THAT(status, HasReason(reason));
    EXPECT_FALSE(status.message().empty());
    EXPECT_EQ(DetailOf(status).message, status.message());
  }
  EXPECT_EQ(DetailOf(errors::Overloaded("calls are running", 1, {"max_calls", 1}, 50)).retry_after_ms, 50);
  EXPECT_TRUE(DetailOf(errors::KvCacheFull(1, 1)).retry_after_ms);
  EXPECT_EQ(DetailOf(errors::LimitExceeded("f", 2, "at most 1", "max_items")).limit, "max_items");
}

// A hundred thousand bytes of what does harm where it is shown: escape sequences, line ends, quotation marks, bytes
// that are not UTF-8, characters that turn the direction of a line, and a character of four bytes at every cut.
std::string Hostile() {
  std::string text;
  while (text.size() < 100'000) text += "a\x1b[31m\n\r\t\"\\\x7f\xff\xc2\x9b\xe2\x80\xae\xf0\x9f\x98\x80\xed\xa0\x80";
  return text;
}

TEST(ErrorsTest, NoTextMakesAnErrorLongOrHarmful) {
  const std::string text = Hostile();
  std::vector<absl::Status> all = {
      errors::OutOfRange(text, 1.0, text),
      errors::OutOfRange(text, int64_t{1}, text),
      errors::OutOfRange(text, text, text),
      errors::Required(text),
      errors::MissingFrom(text, text),
      errors::Exclusive(text, text),
      errors::UnknownField(text, 1),
      errors::UnknownEnumValue(text, 1),
      errors::MalformedMessage(text, text),
      errors::MalformedMessage("", text),
      errors::UnexpectedMessage(text),
      errors::LimitExceeded(text, 1, text, text),
      errors::RowLengthMismatch(text, 1, 2, text),
      errors::RowIndexOutOfRange(text, 1, 1),
      errors::TokenIdOutOfRange(text, 1, 1),
      errors::DuplicateTokenId(text, 1),
      errors::EmptyTokenSet(text),
      errors::SequenceNotOpen(text, 1),
      errors::ModelNotFound(text),
      errors::ModelUnavailable(text),
      errors::RunnerLost(text),
      errors::RunnerProtocol(text),
      errors::ModelOutputInvalid(text),
      errors::TokenizerUnavailable(text),
      errors::VocabularyUnavailable(text),
      errors::NotReproducible(text, "why"),
      errors::HeadNotFound(text, text, text),
      errors::HeadShapeMismatch(text, text, text, text, text),
      errors::ContextLengthExceeded(text, 2, 1),
      errors::ModelMismatch(text),
      errors::TokenizerFailed(text, 1),
      errors::RunnerKilled(text, text),
      errors::EmptyContinuation(text),
      errors::EmptyPrompt(text),
      errors::NoCandidates(text),
      errors::BoundaryToken(text),
      errors::TargetCountMismatch(text, 1, 2),
      errors::NormalizationUndefined(text, text),
      errors::Internal(text),
      // One that was made elsewhere.
      absl::UnknownError(text),
      In(text, errors::Required("f")),
  };
  const size_t made = all.size();
  for (size_t i = 0; i < made; ++i) all.push_back(WithRow(WithPosition(In(text, all[i]), 1, 2, 3), 4));
  for (const absl::Status& status : all) {
    const ErrorDetail detail = DetailOf(status);
    SCOPED_TRACE(detail.message);
    EXPECT_LE(detail.message.size(), 640u);
    EXPECT_LE(detail.field.size(), 256u);
    EXPECT_LE(detail.value.size(), 64u);
    EXPECT_LE(detail.bound.size(), 256u);
    EXPECT_LE(detail.limit.size(), 64u);
    for (const std::string& shown : {detail.message, detail.field, detail.value, detail.bound, detail.limit}) {
      EXPECT_EQ(OnOneLine(shown, 1000), shown) << "something in it had to be escaped or replaced";
    }
  }
}

TEST(ErrorsTest, AValueIsQuotedWithItsLength) {
  const absl::Status status = errors::ModelNotFound(std::string(100'000, 'a'));
  EXPECT_EQ(status.message(),
            "model: no model \"" + std::string(64, 'a') + "...\" (100,000 bytes) is known to this server");
  EXPECT_EQ(DetailOf(errors::OutOfRange("f", "a\nb", "short")).value, "\"a\\nb\"");
}

}  // namespace
}  // namespace logitd
