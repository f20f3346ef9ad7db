// SampleAsTrtLlm of tests/testing/peer_samplers.h.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tests/testing/peer_samplers.h"

namespace logitd::testing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// What TensorRT-LLM's kernels do to one row, one after the other; a masked logit is -inf.
class TrtRow {
 public:
  TrtRow(LogitsView row, const SamplingParams& params, const StepContext& context)
      : params_(params), context_(context), logits_(row.begin(), row.end()) {
    // Temperature 0 is top-k 1 at temperature 1.
    divisor_ = (params.temperature == 0 ? 1 : params.temperature) + 1e-6;
    top_k_ = params.temperature == 0 ? 1 : params.top_k;
    // Its ids of the prompt and of the output lie one after the other.
    ids_.assign(context.prompt.begin(), context.prompt.end());
    ids_.insert(ids_.end(), context.output.begin(), context.output.end());
    // It has no set of allowed tokens: a caller masks the logits.
    for (size_t t = 0; t < logits_.size(); ++t) {
      if (params.subset != nullptr && !params.subset->Contains(static_cast<TokenId>(t))) logits_[t] = -kInfinity;
    }
  }

  // The penalty kernel: everything that happens to one logit, logit by logit.
  void Penalise() {
    std::vector<double> embedding_bias(logits_.size(), 0);
    if (params_.lists != nullptr) {
      for (const LogitBias& bias : params_.lists->logit_biases) embedding_bias[bias.token_id] += bias.bias;
    }
    std::vector<int> occurrences(logits_.size(), 0);
    for (TokenId id : ids_) ++occurrences[id];
    for (size_t t = 0; t < logits_.size(); ++t) {
      double logit = logits_[t];
      logit += embedding_bias[t];
      logit /= divisor_;
      if (occurrences[t] > 0) {
        logit = logit < 0 ? logit * params_.repetition_penalty : logit / params_.repetition_penalty;
        logit -= params_.presence_penalty;
        logit -= params_.frequency_penalty * occurrences[t];
      }
      logits_[t] = logit;
    }
    // Its minimum length masks the end id.
    for (TokenId id : context_.excluded) logits_[id] = -kInfinity;
  }

  // Each place of the ids at which the last n - 1 stand already; what came after them there is masked.
  void BanRepeatedNgrams() {
    const size_t n = params_.no_repeat_ngram_size;
    if (n == 0 || ids_.size() < n) return;
    for (size_t start = 0; start + n <= ids_.size(); ++start) {
      bool is_suffix = true;
      for (size_t i = 0; i + 1 < n; ++i) is_suffix = is_suffix && ids_[start + i] == ids_[ids_.size() + 1 - n + i];
      if (is_suffix) logits_[ids_[start + n - 1]] = -kInfinity;
    }
  }

  // Bad words; a sequence with a bias, which it does not have, gets it where bad words are masked.
  void BanBadWords() {
    if (params_.lists == nullptr) return;
    for (const SequenceBias& word : params_.lists->sequence_biases) {
      const size_t before = word.token_ids.size() - 1;
      bool is_suffix = before <= ids_.size();
      for (size_t i = 0; is_suffix && i < before; ++i) is_suffix = word.token_ids[i] == ids_[ids_.size() - before + i];
      if (is_suffix) logits_[word.token_ids[before]] += word.bias.value_or(-kInfinity);
    }
  }

  // The sampling layer: top-k, and top-p of the sum of those k. Min-p stands where the preset has it. Nothing is kept
  // if all is masked.
  PeerResult Sample() {
    std::vector<TokenId> ids;
    for (size_t t = 0; t < logits_.size(); ++t) {
      if (logits_[t] > -kInfinity) ids.push_back(static_cast<TokenId>(t));
    }
    std::ranges::stable_sort(ids, [&](TokenId a, TokenId b) { return logits_[a] > logits_[b]; });
    PeerResult result;
    result.probabilities.assign(logits_.size(), 0);
    if (ids.empty()) return result;
    TopK(ids, result);
    TopP(ids, result);
    MinP(ids, result);
    const double sum = SumOf(ids);
    for (TokenId id : ids) result.probabilities[id] = std::exp(logits_[id] - logits_[ids[0]]) / sum;
    result.kept = ids;
    std::ranges::sort(result.kept);
    return result;
  }

 private:
  double SumOf(const std::vector<TokenId>& ids) const {
    double sum = 0;
    for (TokenId id : ids) sum += std::exp(logits_[id] - logits_[ids[0]]);
    return sum;
  }

  void TopK(std::vector<TokenId>& ids, PeerResult& result) const {
    const size_t k = top_k_;
    if (k == 0 || k >= ids.size()) return;
    result.cuts.push_back({.stage = Stage::kTopK});
    NearLogit(logits_[ids[k - 1]] - logits_[ids[k]], ids[k], result.cuts.back());
    ids.resize(k);
  }

  // It draws a number up to p times the sum and goes down from the largest until that is used up: a token can come if
  // what is before it is less.
  void TopP(std::vector<TokenId>& ids, PeerResult& result) const {
    if (params_.top_p == 1) return;
    result.cuts.push_back({.stage = Stage::kTopP});
    CutDistance& cut = result.cuts.back();
    const double sum = SumOf(ids);
    double before = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (i > 0) cut.mass = std::min(cut.mass, std::abs(before / sum - params_.top_p));
      if (i > 0 && before >= params_.top_p * sum) {
        NearLogit(logits_[ids[i - 1]] - logits_[ids[i]], ids[i], cut);
        ids.resize(i);
        return;
      }
      before += std::exp(logits_[ids[i]] - logits_[ids[0]]);
    }
  }

  void MinP(std::vector<TokenId>& ids, PeerResult& result) const {
    if (params_.min_p == 0) return;
    result.cuts.push_back({.stage = Stage::kMinP});
    const double max = logits_[ids[0]];
    for (TokenId id : ids) {
      if (logits_[id] < max) NearLogit(logits_[id] - max - std::log(params_.min_p), id, result.cuts.back());
    }
    std::erase_if(ids, [&](TokenId id) { return std::exp(logits_[id] - max) < params_.min_p; });
  }

  void NearLogit(double distance, TokenId id, CutDistance& cut) const {
    const float x = static_cast<float>(std::abs(logits_[id] * divisor_));
    const double ulp = std::nextafter(x, std::numeric_limits<float>::infinity()) - x;
    cut.nats = std::min(cut.nats, std::abs(distance));
    cut.ulps = std::min(cut.ulps, std::abs(distance) * divisor_ / ulp);
  }

  const SamplingParams& params_;
  const StepContext& context_;
  double divisor_ = 1;
  int32_t top_k_ = 0;
  std::vector<TokenId> ids_;
  std::vector<double> logits_;
};

}  // namespace

PeerResult SampleAsTrtLlm(LogitsView row, const SamplingParams& params, const StepContext& context) {
  TrtRow logits(row, params, context);
  logits.Penalise();
  logits.BanRepeatedNgrams();
  logits.BanBadWords();
  return logits.Sample();
}

}  // namespace logitd::testing
