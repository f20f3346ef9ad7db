// The calibration that a request of Score, Rank or Decide names, and its use on an item.
//
//   ASSIGN_OR_RETURN(const AppliedCalibration calibration, AppliedCalibration::Of(request.calibration(), env));
//   if (const absl::Status status = calibration.CheckCount("items[3].candidates", 4); !status.ok()) ...
//   calibration.Write(values, [&](size_t i) -> v1::RankedCandidate& { return *item.mutable_candidates(i); });
//
// Thread-compatible value; a view of the server's options.
#ifndef LOGITD_SERVER_HANDLERS_APPLIED_CALIBRATION_H_
#define LOGITD_SERVER_HANDLERS_APPLIED_CALIBRATION_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/exact_math.h"
#include "core/ranker.h"
#include "logitd/v1/completion.pb.h"
#include "server/converters/calibration.h"
#include "server/server_env.h"

namespace logitd::server {

class AppliedCalibration {
 public:
  // None.
  AppliedCalibration() = default;
  // `name` empty: none. Errors: CALIBRATION_NOT_FOUND.
  static absl::StatusOr<AppliedCalibration> Of(const std::string& name, const ServerEnv& env);

  bool is_set() const { return calibration_ != nullptr; }
  // REQUIRES: is_set().
  Normalization score() const { return calibration_->score; }
  // Checks that it was fitted to this score. Errors: CALIBRATION_MISMATCH of `field` or gnmt_alpha. OK if it is none.
  absl::Status CheckScore(const std::string& field, Normalization by, std::optional<double> gnmt_alpha) const;
  // Checks that an item has as many continuations (`field`) as it has labels. Errors: CALIBRATION_MISMATCH. OK if it is
  // none.
  absl::Status CheckCount(const std::string& field, int64_t count) const;

  // Sets calibrated_log_prob and calibrated_probability of message_at(i) for each i. Sets none if a value is not there.
  // REQUIRES: CheckCount is OK.
  template <typename MessageAt>
  void Write(std::span<const std::optional<double>> values, MessageAt message_at) const {
    const std::optional<std::vector<double>> log_probs = LogProbs(values);
    if (!log_probs) return;
    for (size_t i = 0; i < log_probs->size(); ++i) {
      auto& message = message_at(i);
      message.set_calibrated_log_prob((*log_probs)[i]);
      message.set_calibrated_probability(Exp((*log_probs)[i]));
    }
  }
  void Write(v1::Provenance& provenance) const {
    if (is_set()) provenance.set_calibration(name_);
  }

 private:
  std::optional<std::vector<double>> LogProbs(std::span<const std::optional<double>> values) const;

  std::string name_;
  const ServedCalibration* calibration_ = nullptr;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_HANDLERS_APPLIED_CALIBRATION_H_
