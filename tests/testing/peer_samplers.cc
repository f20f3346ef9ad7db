#include "tests/testing/peer_samplers.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "tests/testing/logits_reference.h"

namespace logitd::testing {
namespace {

using Scores = std::vector<double>;
using Tokens = std::vector<TokenId>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Scores Softmax(const Scores& scores) {
  const double max = *std::ranges::max_element(scores);
  Scores p;
  for (double score : scores) p.push_back(std::exp(score - max));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& value : p) value /= sum;
  return p;
}

// torch.sort: places, by value.
std::vector<size_t> SortedPlaces(const Scores& values) {
  std::vector<size_t> places(values.size());
  std::iota(places.begin(), places.end(), 0);
  std::stable_sort(places.begin(), places.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  return places;
}

// The smallest of the k largest.
double KthLargest(Scores scores, int64_t k) {
  const size_t place = static_cast<size_t>(std::min<int64_t>(k, static_cast<int64_t>(scores.size()))) - 1;
  std::ranges::sort(scores, std::greater<>());
  return scores[place];
}

double UlpOf(double logit) {
  const float x = static_cast<float>(std::abs(logit));
  return std::nextafter(x, std::numeric_limits<float>::infinity()) - x;
}

Tokens Joined(const StepContext& context) {
  Tokens tokens(context.prompt.begin(), context.prompt.end());
  tokens.insert(tokens.end(), context.output.begin(), context.output.end());
  return tokens;
}

// The scores of one row on their way through a list of processors; removed tokens are -inf, as in torch.
class TorchRow {
 public:
  TorchRow(LogitsView row, const SamplingParams& params, const StepContext& context)
      : scores_(row.begin(), row.end()), params_(params), context_(context) {
    if (params.subset == nullptr) return;
    for (size_t t = 0; t < scores_.size(); ++t) {
      if (!params.subset->Contains(static_cast<TokenId>(t))) scores_[t] = -kInfinity;
    }
  }

  void AddLogitBias() {
    if (params_.lists == nullptr) return;
    for (const LogitBias& bias : params_.lists->logit_biases) scores_[bias.token_id] += bias.bias;
  }

  // Sequence biases and bad words, compared with `tokens`.
  void AddSequenceBias(const Tokens& tokens) {
    if (params_.lists == nullptr) return;
    for (const SequenceBias& bias : params_.lists->sequence_biases) {
      const Tokens& ids = bias.token_ids;
      if (ids.size() - 1 > tokens.size()) continue;
      if (!std::equal(ids.begin(), ids.end() - 1, tokens.end() - static_cast<ptrdiff_t>(ids.size() - 1))) continue;
      scores_[ids.back()] += bias.bias.value_or(-kInfinity);
    }
  }

  void PenaliseRepetition() {
    const Tokens tokens = Joined(context_);
    for (TokenId t : std::set<TokenId>(tokens.begin(), tokens.end())) {
      scores_[t] = scores_[t] < 0 ? scores_[t] * params_.repetition_penalty : scores_[t] / params_.repetition_penalty;
    }
  }

  // vLLM: a count of every token of the output, then both penalties from the counts.
  void PenaliseOccurrences() {
    Scores counts(scores_.size(), 0);
    for (TokenId t : context_.output) counts[t] += 1;
    for (size_t t = 0; t < scores_.size(); ++t) {
      scores_[t] -= params_.frequency_penalty * counts[t];
      scores_[t] -= params_.presence_penalty * (counts[t] > 0 ? 1 : 0);
    }
  }

  void BanNgrams() {
    const int64_t n = params_.no_repeat_ngram_size;
    const Tokens tokens = Joined(context_);
    const int64_t size = static_cast<int64_t>(tokens.size());
    if (n == 0 || size < n) return;
    const Tokens prefix(tokens.begin() + (size + 1 - n), tokens.end());
    std::map<Tokens, Tokens> next;
    for (int64_t i = 0; i + n <= size; ++i) {
      next[Tokens(tokens.begin() + i, tokens.begin() + i + n - 1)].push_back(tokens[i + n - 1]);
    }
    for (TokenId t : next[prefix]) scores_[t] = -kInfinity;
  }

  void BanUntilMinTokens() {
    for (TokenId t : context_.excluded) scores_[t] = -kInfinity;
  }

  void Divide() {
    for (double& score : scores_) score /= params_.temperature;
  }

  void TopK() {
    if (params_.top_k == 0) return;
    KeepAtLeast(Stage::kTopK, KthLargest(scores_, params_.top_k));
  }

  void TopP() {
    if (params_.top_p == 1) return;
    const std::vector<size_t> places = SortedPlaces(scores_);
    const Scores p = Softmax(scores_);
    CutDistance cut{.stage = Stage::kTopP};
    double cumulative = 0;
    for (size_t i = 0; i + 1 < places.size(); ++i) {
      cumulative += p[places[i]];
      if (scores_[places[i]] == -kInfinity) continue;
      cut.mass = std::min(cut.mass, std::abs(cumulative - (1 - params_.top_p)));
      // Which of two equal ones is removed depends on the sort.
      const bool removed = cumulative <= 1 - params_.top_p;
      const double next = cumulative + p[places[i + 1]];
      if (removed && (next > 1 - params_.top_p || i + 2 == places.size())) {
        NearLogit(scores_[places[i + 1]] - scores_[places[i]], places[i], cut);
      }
    }
    cumulative = 0;
    for (size_t i = 0; i + 1 < places.size(); ++i) {
      cumulative += p[places[i]];
      if (cumulative <= 1 - params_.top_p) scores_[places[i]] = -kInfinity;
    }
    cuts_.push_back(cut);
  }

  void MinP() {
    if (params_.min_p == 0) return;
    const Scores p = Softmax(scores_);
    const double bound = params_.min_p * *std::ranges::max_element(p);
    CutDistance cut{.stage = Stage::kMinP};
    for (size_t t = 0; t < p.size(); ++t) {
      if (p[t] > 0) NearLogit(std::log(p[t] / bound), t, cut);
    }
    for (size_t t = 0; t < p.size(); ++t) {
      if (p[t] < bound) scores_[t] = -kInfinity;
    }
    cuts_.push_back(cut);
  }

  void Typical() {
    if (params_.typical_p == 1) return;
    const Scores p = Softmax(scores_);
    double entropy = 0;
    for (double value : p) entropy -= value > 0 ? value * std::log(value) : 0;
    Scores shifted;
    for (double value : p) shifted.push_back(value > 0 ? std::abs(-std::log(value) - entropy) : kInfinity);
    const std::vector<size_t> places = SortedPlaces(shifted);
    CutDistance cut{.stage = Stage::kTypicalP};
    double cumulative = 0;
    size_t last = 0;
    for (size_t place : places) {
      cumulative += p[place];
      cut.mass = std::min(cut.mass, std::abs(cumulative - params_.typical_p));
      if (cumulative < params_.typical_p) ++last;
    }
    last = std::min(last, places.size() - 1);
    const double bound = shifted[places[last]];
    for (size_t t = 0; t < p.size(); ++t) {
      if (p[t] > 0 && shifted[t] != bound) NearLogit(shifted[t] - bound, t, cut);
    }
    for (size_t t = 0; t < p.size(); ++t) {
      if (shifted[t] > bound) scores_[t] = -kInfinity;
    }
    cuts_.push_back(cut);
  }

  void Epsilon() {
    if (params_.epsilon_cutoff > 0) KeepProbable(Stage::kEpsilon, params_.epsilon_cutoff);
  }

  void Eta() {
    if (params_.eta_cutoff == 0) return;
    double entropy = 0;
    for (double value : Softmax(scores_)) entropy -= value > 0 ? value * std::log(value) : 0;
    KeepProbable(Stage::kEta, std::min(params_.eta_cutoff, std::sqrt(params_.eta_cutoff) * std::exp(-entropy)));
  }

  PeerResult Result() {
    PeerResult result;
    result.probabilities = Softmax(scores_);
    result.cuts = cuts_;
    for (size_t t = 0; t < scores_.size(); ++t) {
      if (scores_[t] > -kInfinity) result.kept.push_back(static_cast<TokenId>(t));
    }
    return result;
  }

 private:
  void NearLogit(double distance, size_t t, CutDistance& cut) const {
    cut.nats = std::min(cut.nats, std::abs(distance));
    cut.ulps = std::min(cut.ulps, std::abs(distance) / UlpOf(scores_[t]));
  }

  void KeepAtLeast(Stage stage, double bound) {
    CutDistance cut{.stage = stage};
    for (size_t t = 0; t < scores_.size(); ++t) {
      // Equal ones stay: where they are equal no rounding tells them apart.
      if (scores_[t] > -kInfinity && scores_[t] != bound) NearLogit(scores_[t] - bound, t, cut);
      if (scores_[t] < bound) scores_[t] = -kInfinity;
    }
    cuts_.push_back(cut);
  }

  void KeepProbable(Stage stage, double bound) {
    const Scores p = Softmax(scores_);
    const double max = *std::ranges::max_element(scores_);
    CutDistance cut{.stage = stage};
    for (size_t t = 0; t < p.size(); ++t) {
      if (scores_[t] < max && p[t] > 0) cut.mass = std::min(cut.mass, std::abs(p[t] - bound));
    }
    // With the maximum below the bound all that equal it stay, where the preset keeps the first: a cut among equal
    // ones.
    if (*std::ranges::max_element(p) < bound && std::ranges::count(scores_, max) > 1) cut.ulps = 0;
    for (size_t t = 0; t < p.size(); ++t) {
      if (p[t] < bound && scores_[t] < max) scores_[t] = -kInfinity;
    }
    cuts_.push_back(cut);
  }

  Scores scores_;
  const SamplingParams& params_;
  const StepContext& context_;
  std::vector<CutDistance> cuts_;
};

}  // namespace

PeerResult SampleAsTransformers(LogitsView row, const SamplingParams& params, const StepContext& context) {
  TorchRow scores(row, params, context);
  scores.AddLogitBias();
  scores.AddSequenceBias(Joined(context));
  scores.PenaliseRepetition();
  scores.BanNgrams();
  scores.BanUntilMinTokens();
  scores.Divide();
  scores.TopK();
  scores.TopP();
  scores.MinP();
  scores.Typical();
  scores.Epsilon();
  scores.Eta();
  return scores.Result();
}

PeerResult SampleAsVllm(LogitsView row, const SamplingParams& params, const StepContext& context) {
  TorchRow scores(row, params, context);
  scores.AddSequenceBias(Tokens(context.output.begin(), context.output.end()));
  scores.BanUntilMinTokens();
  scores.AddLogitBias();
  scores.PenaliseRepetition();
  scores.PenaliseOccurrences();
  scores.Divide();
  scores.MinP();
  scores.TopK();
  scores.TopP();
  return scores.Result();
}

}  // namespace logitd::testing
