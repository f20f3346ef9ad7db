// One ScoreLogits call, message by message, without a server.
#ifndef LOGITD_TESTS_SERVER_HANDLERS_SCORE_LOGITS_SESSION_H_
#define LOGITD_TESTS_SERVER_HANDLERS_SCORE_LOGITS_SESSION_H_

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/errors.h"
#include "server/handlers/score_logits.h"
#include "tests/server/score_logits_messages.h"
#include "tests/testing/matchers.h"

namespace logitd::server {

inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline const std::vector<float> kRow = {6, 3, 0.5, 0.5};

// The replies of one call, by sequence.
class Replies {
 public:
  void Add(v1::ScoreLogitsResponse response) {
    const int32_t index = response.sequence_index();
    EXPECT_TRUE(replies_.emplace(index, std::move(response)).second) << "a second reply of sequence " << index;
  }
  const v1::ScoreLogitsResponse& of(int index) const { return replies_.at(index); }
  const v1::ScoredSequence& sequences(int index) const {
    EXPECT_FALSE(of(index).has_error()) << of(index).error().message();
    return of(index).score();
  }
  v1::ScoredSequence* mutable_sequences(int index) { return replies_.at(index).mutable_score(); }
  int sequences_size() const { return static_cast<int>(replies_.size()); }
  std::string SerializeAsString() const {
    std::string bytes;
    for (const auto& [index, reply] : replies_) bytes += reply.SerializeAsString();
    return bytes;
  }

 private:
  std::map<int32_t, v1::ScoreLogitsResponse> replies_;
};

class ScoreLogitsSessionTest : public ::testing::Test {
 protected:
  void Take(const v1::ScoreLogitsRequest& request) {
    const auto reply = session_.Take(request, {}, workspaces_);
    ASSERT_THAT(reply.status(), logitd::testing::IsOk());
    if (*reply) replies_.Add(**reply);
  }
  // Why the call ends, or why the message's sequence does.
  absl::Status Refused(const v1::ScoreLogitsRequest& request) {
    const auto reply = session_.Take(request, {}, workspaces_);
    if (!reply.ok() || !*reply || !(*reply)->has_error()) return reply.status();
    const v1::Error& error = (*reply)->error();
    EXPECT_FALSE((*reply)->has_score());
    ErrorDetail detail;
    detail.code = static_cast<absl::StatusCode>(error.code());
    detail.reason = static_cast<ErrorReason>(error.reason());
    detail.message = error.message();
    detail.field = error.field();
    detail.value = error.value();
    detail.bound = error.bound();
    detail.limit = error.limit();
    if (error.has_row()) detail.row = error.row();
    if (error.has_token_id()) detail.token_id = error.token_id();
    return ToStatus(detail);
  }
  std::string RefusedAs(const v1::ScoreLogitsRequest& request) {
    const absl::Status status = Refused(request);
    const ErrorDetail detail = DetailOf(status);
    EXPECT_FALSE(detail.message.empty());
    return status.ok() ? "OK" : std::string(ReasonName(detail.reason)) + " of " + detail.field;
  }
  // The replies that came before, and those of what is open.
  Replies Finish() {
    while (true) {
      const auto reply = session_.TakeNext();
      EXPECT_THAT(reply.status(), logitd::testing::IsOk());
      if (!reply.ok() || !*reply) return std::exchange(replies_, Replies());
      replies_.Add(**reply);
    }
  }
  void Restart(const std::string& config) {
    session_ = ScoreLogitsSession();
    replies_ = Replies();
    Take(Config(config));
  }

  ScoreLogitsSession session_;
  Replies replies_;
  StepWorkspaces workspaces_{1};
};

}  // namespace logitd::server

#endif  // LOGITD_TESTS_SERVER_HANDLERS_SCORE_LOGITS_SESSION_H_
