// SampleAsLlamaCpp of tests/testing/peer_samplers.h.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "tests/testing/logits_reference.h"
#include "tests/testing/peer_samplers.h"

namespace logitd::testing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Candidate {
  TokenId id = 0;
  double logit = 0;
  double p = 0;
};

// llama.cpp's array of candidates: cuts shorten it, and it may be in any order.
class Candidates {
 public:
  Candidates(LogitsView row, const SamplingParams& params, const StepContext& context)
      : params_(params), context_(context), vocab_size_(row.size()) {
    for (size_t t = 0; t < row.size(); ++t) {
      const TokenId id = static_cast<TokenId>(t);
      const bool allowed = params.subset == nullptr || params.subset->Contains(id);
      const bool excluded = std::ranges::find(context.excluded, id) != context.excluded.end();
      data_.push_back({id, allowed && !excluded ? double{row[t]} : -kInfinity});
    }
  }

  void LogitBias() {
    if (params_.lists == nullptr) return;
    for (const auto& bias : params_.lists->logit_biases) data_[bias.token_id].logit += bias.bias;
  }

  void Penalties() {
    std::vector<TokenId> last(context_.prompt.begin(), context_.prompt.end());
    last.insert(last.end(), context_.output.begin(), context_.output.end());
    const size_t window = params_.penalty_window.has_value() ? *params_.penalty_window : last.size();
    if (last.size() > window) last.erase(last.begin(), last.end() - static_cast<ptrdiff_t>(window));
    std::map<TokenId, int> counts;
    for (TokenId id : last) ++counts[id];
    for (Candidate& c : data_) {
      if (!counts.contains(c.id)) continue;
      if (c.logit <= 0) {
        c.logit *= params_.repetition_penalty;
      } else {
        c.logit /= params_.repetition_penalty;
      }
      c.logit -= counts[c.id] * params_.frequency_penalty + params_.presence_penalty;
    }
  }

  void Dry() {
    if (params_.lists == nullptr || params_.lists->dry.multiplier == 0) return;
    const DryPenalty& dry = params_.lists->dry;
    std::vector<TokenId> last(context_.prompt.begin(), context_.prompt.end());
    last.insert(last.end(), context_.output.begin(), context_.output.end());
    const int max_exponent = dry.base > 1.000001 ? static_cast<int>(88.7228391 / std::log(dry.base)) : 0;
    for (const auto& [id, length] : DryMatches(last, dry)) {
      int exponent = length - dry.allowed_length;
      if (max_exponent > 0 && exponent > max_exponent) exponent = max_exponent;
      data_[id].logit -= dry.multiplier * std::pow(dry.base, exponent);
    }
  }

  void TopNSigma() {
    if (!params_.top_n_sigma.has_value() || *params_.top_n_sigma <= 0 || data_.size() <= 1) return;
    double max = -kInfinity, sum = 0, squares = 0;
    int count = 0;
    for (const Candidate& c : data_) {
      if (c.logit == -kInfinity) continue;
      max = std::max(max, c.logit);
      sum += c.logit;
      ++count;
    }
    const double mean = count > 0 ? sum / count : 0;
    for (const Candidate& c : data_) {
      if (c.logit != -kInfinity) squares += std::pow(c.logit - mean, 2);
    }
    const double sigma = count > 0 ? std::sqrt(squares / count) : 0;
    const double bound = max - *params_.top_n_sigma * sigma;
    cuts_.push_back({.stage = Stage::kTopNSigma});
    for (Candidate& c : data_) {
      if (c.logit == -kInfinity) continue;
      if (c.logit != max) NearLogit(c.logit - bound, c);
      // Masked, not removed: the array keeps its length.
      if (c.logit < bound) c.logit = -kInfinity;
    }
  }

  void TopK() {
    if (params_.top_k <= 0) return;
    const size_t k = std::min<size_t>(params_.top_k, data_.size());
    Sort();
    cuts_.push_back({.stage = Stage::kTopK});
    if (k < data_.size() && data_[k].logit > -kInfinity) NearLogit(data_[k - 1].logit - data_[k].logit, data_[k]);
    data_.resize(k);
  }

  void Typical() {
    if (params_.typical_p >= 1) return;
    // Masked candidates would make its entropy NaN: here they have no share in it and come last.
    Softmax();
    double entropy = 0;
    for (const Candidate& c : data_) entropy += c.p > 0 ? -c.p * std::log(c.p) : 0;
    const auto shifted = [&](const Candidate& c) { return c.p > 0 ? std::abs(-std::log(c.p) - entropy) : kInfinity; };
    Sort();
    std::stable_sort(data_.begin(), data_.end(),
                     [&](const Candidate& a, const Candidate& b) { return shifted(a) < shifted(b); });
    cuts_.push_back({.stage = Stage::kTypicalP});
    size_t count = data_.size();
    double cumulative = 0;
    for (size_t i = 0; i < data_.size(); ++i) {
      cumulative += data_[i].p;
      NearMass(cumulative - params_.typical_p);
      if (cumulative > params_.typical_p) {
        count = i + 1;
        break;
      }
    }
    for (size_t i = 0; i < data_.size(); ++i) {
      if (i != count - 1 && data_[i].p > 0) NearLogit(shifted(data_[i]) - shifted(data_[count - 1]), data_[i]);
    }
    data_.resize(count);
  }

  void TopP() {
    if (params_.top_p >= 1) return;
    Softmax();
    Sort();
    cuts_.push_back({.stage = Stage::kTopP});
    size_t count = data_.size();
    double cumulative = 0;
    for (size_t i = 0; i < data_.size(); ++i) {
      cumulative += data_[i].p;
      NearMass(cumulative - params_.top_p);
      if (cumulative >= params_.top_p) {
        count = i + 1;
        break;
      }
    }
    if (count < data_.size()) NearLogit(data_[count - 1].logit - data_[count].logit, data_[count]);
    data_.resize(count);
  }

  void MinP() {
    if (params_.min_p <= 0) return;
    Sort();
    const double bound = data_[0].logit + std::log(params_.min_p);
    cuts_.push_back({.stage = Stage::kMinP});
    for (const Candidate& c : data_) {
      if (c.logit != data_[0].logit) NearLogit(c.logit - bound, c);
    }
    size_t count = 1;
    while (count < data_.size() && data_[count].logit >= bound) ++count;
    data_.resize(count);
  }

  void Xtc() {
    if (params_.xtc.probability <= 0 || params_.xtc.threshold > 0.5 || data_.size() < 2) return;
    Softmax();
    Sort();
    cuts_.push_back({.stage = Stage::kXtc});
    size_t last = 0;
    for (size_t i = 0; i < data_.size(); ++i) NearMass(data_[i].p - params_.xtc.threshold);
    while (last + 1 < data_.size() && data_[last + 1].p >= params_.xtc.threshold) ++last;
    if (data_[0].p < params_.xtc.threshold) last = 0;
    // Which of two equal ones is the last depends on the sort.
    if (last > 0) NearLogit(data_[last - 1].logit - data_[last].logit, data_[last]);
    data_.erase(data_.begin(), data_.begin() + static_cast<ptrdiff_t>(last));
  }

  void Temperature() {
    for (Candidate& c : data_) c.logit /= params_.temperature;
  }

  PeerResult Result() {
    Softmax();
    PeerResult result;
    result.probabilities.assign(vocab_size_, 0);
    result.cuts = cuts_;
    for (const Candidate& c : data_) {
      if (c.logit == -kInfinity) continue;
      result.kept.push_back(c.id);
      result.probabilities[c.id] = c.p;
    }
    std::ranges::sort(result.kept);
    return result;
  }

 private:
  void Softmax() {
    double max = -kInfinity, sum = 0;
    for (const Candidate& c : data_) max = std::max(max, c.logit);
    for (Candidate& c : data_) sum += c.p = std::exp(c.logit - max);
    for (Candidate& c : data_) c.p /= sum;
  }

  void Sort() {
    std::ranges::sort(data_, [](const Candidate& a, const Candidate& b) {
      return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
    });
  }

  void NearLogit(double distance, const Candidate& c) {
    const float x = static_cast<float>(std::abs(c.logit));
    const double ulp = std::nextafter(x, std::numeric_limits<float>::infinity()) - x;
    CutDistance& cut = cuts_.back();
    cut.nats = std::min(cut.nats, std::abs(distance));
    cut.ulps = std::min(cut.ulps, std::abs(distance) / ulp);
  }
  void NearMass(double distance) { cuts_.back().mass = std::min(cuts_.back().mass, std::abs(distance)); }

  const SamplingParams& params_;
  const StepContext& context_;
  const size_t vocab_size_;
  std::vector<Candidate> data_;
  std::vector<CutDistance> cuts_;
};

}  // namespace

PeerResult SampleAsLlamaCpp(LogitsView row, const SamplingParams& params, const StepContext& context) {
  Candidates candidates(row, params, context);
  candidates.LogitBias();
  candidates.Penalties();
  candidates.Dry();
  candidates.TopNSigma();
  candidates.TopK();
  candidates.Typical();
  candidates.TopP();
  candidates.MinP();
  candidates.Xtc();
  candidates.Temperature();
  return candidates.Result();
}

}  // namespace logitd::testing
