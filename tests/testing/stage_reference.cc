#include "tests/testing/stage_reference.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "tests/testing/logits_reference.h"

namespace logitd::testing {
namespace {

using enum Stage;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

const std::vector<Stage>& OrderOf(const SamplingParams& params) {
  static const std::vector<Stage> logitd = {kTokenSets,
                                            kSequenceBiases,
                                            kMinTokens,
                                            kLogitBiases,
                                            kRepetitionPenalty,
                                            kFrequencyPenalty,
                                            kPresencePenalty,
                                            kDry,
                                            kNoRepeatNgram,
                                            kTemperature,
                                            kTopK,
                                            kTopP,
                                            kMinP,
                                            kTypicalP,
                                            kEpsilon,
                                            kEta,
                                            kTopNSigma,
                                            kXtc};
  static const std::vector<Stage> hf = {
      kTokenSets, kLogitBiases, kSequenceBiases, kRepetitionPenalty, kNoRepeatNgram, kMinTokens, kTemperature,
      kTopK,      kTopP,        kMinP,           kTypicalP,          kEpsilon,       kEta};
  static const std::vector<Stage> vllm = {
      kTokenSets,   kSequenceBiases, kMinTokens, kLogitBiases, kRepetitionPenalty, kFrequencyPenalty, kPresencePenalty,
      kTemperature, kMinP,           kTopK,      kTopP};
  static const std::vector<Stage> llama_cpp = {kTokenSets,
                                               kMinTokens,
                                               kLogitBiases,
                                               kRepetitionPenalty,
                                               kFrequencyPenalty,
                                               kPresencePenalty,
                                               kDry,
                                               kTopNSigma,
                                               kTopK,
                                               kTypicalP,
                                               kTopP,
                                               kMinP,
                                               kXtc,
                                               kTemperature};
  static const std::vector<Stage> trt_llm = {kTokenSets,
                                             kLogitBiases,
                                             kTemperature,
                                             kRepetitionPenalty,
                                             kPresencePenalty,
                                             kFrequencyPenalty,
                                             kSequenceBiases,
                                             kNoRepeatNgram,
                                             kMinTokens,
                                             kTopK,
                                             kTopP,
                                             kMinP};
  if (!params.order.stages.empty()) return params.order.stages;
  switch (params.order.preset) {
    case StagePreset::kHf:
      return hf;
    case StagePreset::kVllm:
      return vllm;
    case StagePreset::kLlamaCpp:
      return llama_cpp;
    case StagePreset::kTrtLlm:
      return trt_llm;
    case StagePreset::kLogitd:
      break;
  }
  return logitd;
}

// The row on its way through the stages.
class Row {
 public:
  Row(LogitsView row, const SamplingParams& params, const StepContext& context, bool xtc_acts)
      : params_(params), context_(context), xtc_acts_(xtc_acts), logits_(row.begin(), row.end()), x_(logits_.size()) {}

  StageReference Run() {
    const std::vector<Stage>& order = OrderOf(params_);
    // It cannot be turned off: an order that does not name it has it first.
    if (std::ranges::find(order, kMinTokens) == order.end()) ApplyLogitsStage(kMinTokens, params_, context_, logits_);
    bool after_temperature = false;
    for (Stage stage : order) {
      if (stage == kTemperature) {
        after_temperature = true;
        if (!params_.greedy()) Divide();
      } else if (stage >= kMinTokens && stage <= kNoRepeatNgram) {
        if (stage != kMinTokens && !IsOn(params_, stage)) continue;
        ApplyLogitsStage(stage, params_, context_, logits_);
        is_cut_ = false;
      } else if (stage == kTokenSets) {
        if (params_.subset != nullptr) Exclude();
      } else if (IsOn(params_, stage) && !(params_.greedy() && after_temperature)) {
        Cut(stage);
      }
    }
    Settle();
    return Result();
  }

 private:
  // What an earlier cut left may all be outside of the subset.
  void Exclude() {
    for (size_t t = 0; t < logits_.size(); ++t) {
      if (!params_.subset->Contains(static_cast<TokenId>(t))) logits_[t] = -kInfinity;
    }
    is_cut_ = false;
  }

  void Divide() {
    divisor_ = params_.temperature + (params_.order.preset == StagePreset::kTrtLlm ? 1e-6 : 0);
    for (double& logit : logits_) logit /= divisor_;
  }

  // The end of a run of stages that change logits: they are f32 again. Makes kept_ the order of what is left.
  void Settle() {
    constexpr double kMax = std::numeric_limits<float>::max();
    for (size_t t = 0; t < logits_.size(); ++t) {
      const double logit = logits_[t] * divisor_;
      x_[t] = static_cast<float>(logit == -kInfinity ? logit : std::clamp(logit, -kMax, kMax));
      logits_[t] = double{x_[t]} / divisor_;
    }
    std::vector<bool> was_kept(x_.size(), is_first_);
    for (TokenId t : kept_) was_kept[t] = true;
    std::vector<TokenId> kept;
    for (TokenId t = 0; t < static_cast<TokenId>(x_.size()); ++t) {
      if (was_kept[t] && x_[t] > -kInfinity) kept.push_back(t);
    }
    std::stable_sort(kept.begin(), kept.end(), [&](TokenId a, TokenId b) { return x_[a] > x_[b]; });
    kept_ = kept;
    is_first_ = false;
  }

  // ln p of kept_[i], over what is left.
  std::vector<double> LogProbs() const {
    const double max = logits_[kept_[0]];
    long double sum = 0;
    for (TokenId t : kept_) sum += std::exp(static_cast<long double>(logits_[t] - max));
    std::vector<double> log_probs;
    for (TokenId t : kept_) log_probs.push_back(static_cast<double>(logits_[t] - max - std::log(sum)));
    return log_probs;
  }

  static double EntropyOf(const std::vector<double>& log_probs) {
    long double entropy = 0;
    for (double log_prob : log_probs) entropy -= std::exp(static_cast<long double>(log_prob)) * log_prob;
    return static_cast<double>(entropy);
  }

  void Cut(Stage stage) {
    Settle();
    if (kept_.empty()) return;
    if (!is_cut_) FindSigma();
    is_cut_ = true;
    cuts_.push_back({.stage = stage});
    const std::vector<double> log_probs = LogProbs();
    switch (stage) {
      case kTopK:
        return TopK();
      case kTopP:
        return TopP(log_probs);
      case kMinP:
        return KeepAbove(logits_[kept_[0]] + std::log(params_.min_p));
      case kTypicalP:
        return Typical(log_probs);
      case kEpsilon:
        return KeepProbable(params_.epsilon_cutoff, log_probs);
      case kEta: {
        const double eta = params_.eta_cutoff;
        return KeepProbable(std::min(eta, std::sqrt(eta) * std::exp(-EntropyOf(log_probs))), log_probs);
      }
      case kTopNSigma:
        return TopNSigma();
      case kXtc:
        return Xtc(log_probs);
      default:
        return;
    }
  }

  void NearLogit(double distance, TokenId t) {
    CutDistance& cut = cuts_.back();
    const double ulp = std::nextafter(std::abs(x_[t]), std::numeric_limits<float>::infinity()) - std::abs(x_[t]);
    cut.nats = std::min(cut.nats, std::abs(distance));
    cut.ulps = std::min(cut.ulps, std::abs(distance) * divisor_ / ulp);
  }
  void NearMass(double distance) { cuts_.back().mass = std::min(cuts_.back().mass, std::abs(distance)); }

  void KeepFirst(size_t count) { kept_.resize(count); }

  // Whatever equals the last of the first `count` stays too.
  size_t WithTies(size_t count) const {
    while (count < kept_.size() && x_[kept_[count]] == x_[kept_[count - 1]]) ++count;
    return count;
  }

  void TopK() {
    size_t count = std::min<size_t>(params_.top_k, kept_.size());
    TieRule rule = params_.order.top_k_ties;
    const StagePreset preset = params_.order.preset;
    if (rule == TieRule::kDefault && (preset == StagePreset::kHf || preset == StagePreset::kVllm)) {
      rule = TieRule::kKeepAll;
    }
    if (rule == TieRule::kKeepAll) count = WithTies(count);
    KeepFirst(count);
  }

  void TopP(const std::vector<double>& log_probs) {
    TopPBoundary boundary = params_.order.top_p_boundary;
    const StagePreset preset = params_.order.preset;
    if (boundary == TopPBoundary::kDefault) {
      const bool ascending = preset == StagePreset::kHf || preset == StagePreset::kVllm;
      boundary = ascending ? TopPBoundary::kAscending : TopPBoundary::kReached;
    }
    double p = params_.top_p;
    size_t count = 0;
    if (boundary == TopPBoundary::kAscending) {
      // From the smallest on, removed while what is removed is at most 1 - p.
      count = kept_.size();
      double removed = 0;
      while (count > 1) {
        const double with_next = removed + std::exp(log_probs[count - 1]);
        NearMass(with_next - (1 - p));
        if (with_next > 1 - p) break;
        removed = with_next;
        --count;
      }
    } else {
      if (boundary != TopPBoundary::kExceeded) p *= 1 - 0x1p-40;
      double mass = 0;
      while (count < kept_.size()) {
        if (count > 0 && (boundary == TopPBoundary::kExceeded ? mass > p : mass >= p)) break;
        mass += std::exp(log_probs[count++]);
        NearMass(mass - p);
      }
      if (boundary == TopPBoundary::kMassAbove) count = WithTies(count);
    }
    KeepFirst(count);
  }

  // Keeps logits, divided by the temperature if it came before, of at least `bound`; never less than the first token.
  void KeepAbove(double bound) {
    std::vector<TokenId> kept = {kept_[0]};
    for (size_t i = 1; i < kept_.size(); ++i) {
      const TokenId t = kept_[i];
      const double logit = logits_[t];
      // Where the first one is below the bound it stays alone, and what equals it is cut at no distance.
      if (x_[t] != x_[kept_[0]]) {
        NearLogit(logit - bound, t);
      } else if (logit < bound) {
        NearLogit(0, t);
      }
      if (logit >= bound) kept.push_back(t);
    }
    kept_ = kept;
  }

  void KeepProbable(double bound, const std::vector<double>& log_probs) {
    for (size_t i = 0; i < kept_.size(); ++i) {
      if (x_[kept_[i]] != x_[kept_[0]]) NearMass(std::exp(log_probs[i]) - bound);
    }
    // ln p >= ln bound, as logits.
    KeepAbove(logits_[kept_[0]] - log_probs[0] + std::log(bound));
  }

  void Typical(const std::vector<double>& log_probs) {
    const double entropy = EntropyOf(log_probs);
    std::vector<double> key(kept_.size());
    std::vector<size_t> by_key(kept_.size());
    for (size_t i = 0; i < kept_.size(); ++i) {
      key[i] = std::abs(-log_probs[i] - entropy);
      by_key[i] = i;
    }
    // Stable: by key, then in the order of kept_, which is logit descending, id ascending.
    std::stable_sort(by_key.begin(), by_key.end(), [&](size_t a, size_t b) { return key[a] < key[b]; });
    const bool exceeded = params_.order.preset == StagePreset::kLlamaCpp;
    // The same factor as in top-p: a fraction that is meant is reached.
    const double p = exceeded ? params_.typical_p : params_.typical_p * (1 - 0x1p-40);
    size_t count = 0;
    double mass = 0;
    while (count < by_key.size() && (count == 0 || (exceeded ? mass <= p : mass < p))) {
      mass += std::exp(log_probs[by_key[count++]]);
      NearMass(mass - p);
    }
    TieRule rule = params_.order.typical_ties;
    if (rule == TieRule::kDefault && params_.order.preset == StagePreset::kHf) rule = TieRule::kKeepAll;
    const size_t last = by_key[count - 1];
    // Tokens on both sides of the entropy: an error of it moves their keys apart.
    for (size_t i = 0; i < kept_.size(); ++i) {
      if ((-log_probs[i] < entropy) != (-log_probs[last] < entropy)) NearLogit(key[i] - key[last], kept_[i]);
    }
    if (rule == TieRule::kKeepAll) {
      while (count < by_key.size() && key[by_key[count]] == key[last]) ++count;
    }
    by_key.resize(count);
    std::ranges::sort(by_key);
    std::vector<TokenId> kept;
    for (size_t i : by_key) kept.push_back(kept_[i]);
    kept_ = kept;
  }

  // Of what is left when the first cut comes, cuts after it see the same; in the unit of the row.
  void FindSigma() {
    long double sum = 0, squares = 0;
    const long double count = kept_.size();
    for (TokenId t : kept_) sum += x_[t];
    for (TokenId t : kept_) squares += (x_[t] - sum / count) * (x_[t] - sum / count);
    sigma_ = static_cast<double>(std::sqrt(squares / count));
    sigma_max_ = x_[kept_[0]];
  }

  void TopNSigma() {
    if (params_.order.preset == StagePreset::kLlamaCpp && *params_.top_n_sigma == 0) return;
    KeepAbove((sigma_max_ - *params_.top_n_sigma * sigma_) / divisor_);
  }

  void Xtc(const std::vector<double>& log_probs) {
    if (!xtc_acts_) return;
    size_t last = 0;
    for (size_t i = 0; i < kept_.size(); ++i) {
      NearMass(std::exp(log_probs[i]) - params_.xtc.threshold);
      if (std::exp(log_probs[i]) >= params_.xtc.threshold) last = i;
    }
    kept_.erase(kept_.begin(), kept_.begin() + static_cast<ptrdiff_t>(last));
  }

  StageReference Result() {
    StageReference result;
    if (params_.greedy() && !kept_.empty()) kept_.resize(1);
    result.kept = kept_;
    result.log_probs.assign(x_.size(), -kInfinity);
    result.logits = x_;
    result.cuts = cuts_;
    if (kept_.empty()) return result;
    const std::vector<double> log_probs = LogProbs();
    for (size_t i = 0; i < kept_.size(); ++i) result.log_probs[kept_[i]] = log_probs[i];
    return result;
  }

  const SamplingParams& params_;
  const StepContext& context_;
  const bool xtc_acts_;
  // Divided by divisor_; f64 within a run of stages that change them. -inf: banned.
  std::vector<double> logits_;
  double divisor_ = 1;
  // The same after the last run, rounded, in the unit of the row.
  std::vector<float> x_;
  bool is_first_ = true;
  // Whether a cut came after the last stage that changes logits.
  bool is_cut_ = false;
  double sigma_ = 0;
  double sigma_max_ = 0;
  std::vector<TokenId> kept_;
  std::vector<CutDistance> cuts_;
};

}  // namespace

bool TooNear(std::span<const CutDistance> cuts, const NearLimits& limits) {
  return std::ranges::any_of(cuts, [&](const CutDistance& cut) {
    const bool of_a_sum = cut.stage == kTypicalP || cut.stage == kTopNSigma;
    return cut.mass < limits.mass || cut.ulps < limits.ulps || (of_a_sum && cut.nats < limits.nats);
  });
}

StageReference ReferenceOfStages(LogitsView row, const SamplingParams& params, const StepContext& context,
                                 bool xtc_acts) {
  return Row(row, params, context, xtc_acts).Run();
}

}  // namespace logitd::testing
