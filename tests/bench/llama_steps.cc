// llama.cpp's sampler chain as a contender. A caller has logits, and the chain wants candidates: they are filled anew
// at each step, because the chain reorders and shrinks them. Its buffer is kept.
#include <vector>

#include "llama.h"
#include "tests/bench/bench_step.h"

namespace logitd::bench {
namespace {

class LlamaStep : public BenchStep {
 public:
  explicit LlamaStep(const BenchSampler& sampler) {
    llama_sampler_chain_params params = llama_sampler_chain_default_params();
    params.no_perf = true;
    chain_ = llama_sampler_chain_init(params);
    if (sampler.temperature == 0) {
      llama_sampler_chain_add(chain_, llama_sampler_init_greedy());
      return;
    }
    // The temperature first, as logitd has it, so that both compute the same; it is off at 1, as in llama.cpp's tools.
    if (sampler.temperature != 1) {
      llama_sampler_chain_add(chain_, llama_sampler_init_temp(static_cast<float>(sampler.temperature)));
    }
    if (sampler.top_k > 0) llama_sampler_chain_add(chain_, llama_sampler_init_top_k(sampler.top_k));
    if (sampler.top_p < 1) {
      llama_sampler_chain_add(chain_, llama_sampler_init_top_p(static_cast<float>(sampler.top_p), 1));
    }
    if (sampler.min_p > 0) {
      llama_sampler_chain_add(chain_, llama_sampler_init_min_p(static_cast<float>(sampler.min_p), 1));
    }
    llama_sampler_chain_add(chain_, llama_sampler_init_dist(1));
  }
  ~LlamaStep() override { llama_sampler_free(chain_); }
  LlamaStep(const LlamaStep&) = delete;
  LlamaStep& operator=(const LlamaStep&) = delete;

  void Run(LogitsView row, BenchResult& result) override {
    candidates_.resize(row.size());
    for (size_t t = 0; t < row.size(); ++t) candidates_[t] = {static_cast<llama_token>(t), row[t], 0.0f};
    llama_token_data_array array = {candidates_.data(), candidates_.size(), -1, false};
    llama_sampler_apply(chain_, &array);
    if (array.selected < 0) return;
    result.token_id = array.data[array.selected].id;
    kept_count_ = static_cast<int32_t>(array.size);
  }
  int32_t KeptCount() override { return kept_count_; }

 private:
  llama_sampler* chain_;
  std::vector<llama_token_data> candidates_;
  int32_t kept_count_ = -1;
};

}  // namespace

std::unique_ptr<BenchStep> NewLlamaStep(const BenchSampler& sampler) { return std::make_unique<LlamaStep>(sampler); }

}  // namespace logitd::bench
