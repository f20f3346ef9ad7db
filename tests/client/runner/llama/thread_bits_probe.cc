// Whether a model's rows depend on the number of threads: every batch shape with one thread against several.
//
//   thread_bits_probe MODEL.gguf [--f32] [--prefix 40] [--sizes 64] [--threads 3]
//     ->   {"shapes": 256, "differing": 0, "largest": 0}
//
// Shapes: 1 to --sizes tokens of one sequence, and one token of as many sequences, after a prefix that they share, with
// 2 to
// --threads threads. `differing`: those in which a row has another bit. `largest`: the largest difference of a
// log-prob above -20 then, in nats. --f32: what context_params.h has for weights in f32. libllama alone.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "client/runner/llama/context_params.h"
#include "llama.h"

namespace {

using Rows = std::vector<std::vector<float>>;

int Fail(const char* what) {
  std::fprintf(stderr, "thread_bits_probe: %s\n", what);
  return 1;
}

// The rows of `size` tokens after the prefix: of one sequence, or of as many. Empty: they could not be evaluated.
Rows RowsOf(llama_context* context, const std::vector<int>& prefix, const std::vector<int>& tokens, int size,
            bool is_one_sequence, int vocab_size) {
  llama_memory_t memory = llama_get_memory(context);
  llama_memory_clear(memory, false);
  const int length = static_cast<int>(prefix.size());
  llama_batch batch = llama_batch_init(std::max(length, size), 0, 1);
  const auto add = [&](int token, int position, int sequence, bool wants_row) {
    const int i = batch.n_tokens++;
    batch.token[i] = token;
    batch.pos[i] = position;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = sequence;
    batch.logits[i] = wants_row ? 1 : 0;
  };
  // In chunks, as the runner evaluates a prompt.
  Rows rows;
  bool is_ok = true;
  for (int i = 0; i < length && is_ok; i += logitd::runner::kChunkTokens) {
    batch.n_tokens = 0;
    for (int k = i; k < std::min(length, i + logitd::runner::kChunkTokens); ++k) {
      add(prefix[static_cast<size_t>(k)], k, 0, false);
    }
    is_ok = llama_decode(context, batch) == 0;
  }
  batch.n_tokens = 0;
  for (int i = 0; i < size && is_ok; ++i) {
    if (!is_one_sequence && i > 0) llama_memory_seq_cp(memory, 0, i, -1, -1);
  }
  for (int i = 0; i < size; ++i) {
    add(tokens[static_cast<size_t>(i)], is_one_sequence ? length + i : length, is_one_sequence ? 0 : i, true);
  }
  if (is_ok && llama_decode(context, batch) == 0) {
    for (int i = 0; i < size; ++i) {
      const float* row = llama_get_logits_ith(context, i);
      rows.emplace_back(row, row + vocab_size);
    }
  }
  llama_batch_free(batch);
  return rows;
}

double LogSumExp(const std::vector<float>& row) {
  const double max = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (const float logit : row) sum += std::exp(logit - max);
  return max + std::log(sum);
}

double LargestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  const double sum_a = LogSumExp(a);
  const double sum_b = LogSumExp(b);
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] - sum_a > -20) largest = std::max(largest, std::abs((a[i] - sum_a) - (b[i] - sum_b)));
  }
  return largest;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return Fail("usage: MODEL.gguf [--f32] [--prefix N] [--sizes N] [--threads N]");
  bool f32 = false;
  int prefix_size = 40;
  int sizes = 64;
  int most_threads = 3;
  for (int i = 2; i < argc; ++i) {
    if (std::strcmp(argv[i], "--f32") == 0) f32 = true;
    if (std::strcmp(argv[i], "--prefix") == 0 && i + 1 < argc) prefix_size = std::atoi(argv[++i]);
    if (std::strcmp(argv[i], "--sizes") == 0 && i + 1 < argc) sizes = std::atoi(argv[++i]);
    if (std::strcmp(argv[i], "--threads") == 0 && i + 1 < argc) most_threads = std::atoi(argv[++i]);
  }
  if (prefix_size < 1 || prefix_size > 2000 || sizes < 1 || sizes > 64 || most_threads < 2) {
    return Fail("--prefix must be in [1, 2000], --sizes in [1, 64], --threads at least 2");
  }
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  llama_model* model = llama_model_load_from_file(argv[1], llama_model_default_params());
  if (model == nullptr) return Fail("cannot load the model");
  llama_context* context =
      llama_init_from_model(model, logitd::runner::ContextParams(model, {4096, 64, f32}, most_threads));
  if (context == nullptr) return Fail("no context");
  const int vocab_size = llama_vocab_n_tokens(llama_model_get_vocab(model));
  std::mt19937 random(7);
  std::vector<int> prefix, tokens;
  while (static_cast<int>(prefix.size()) < prefix_size) prefix.push_back(100 + static_cast<int>(random() % 1000));
  while (static_cast<int>(tokens.size()) < sizes) tokens.push_back(100 + static_cast<int>(random() % 1000));
  int shapes = 0;
  int differing = 0;
  double largest = 0;
  for (int size = 1; size <= sizes; ++size) {
    for (const bool is_one_sequence : {true, false}) {
      llama_set_n_threads(context, 1, 1);
      const Rows expected = RowsOf(context, prefix, tokens, size, is_one_sequence, vocab_size);
      if (expected.empty()) return Fail("cannot evaluate a shape");
      for (int threads = 2; threads <= most_threads; ++threads) {
        llama_set_n_threads(context, threads, threads);
        const Rows rows = RowsOf(context, prefix, tokens, size, is_one_sequence, vocab_size);
        if (rows.size() != expected.size()) return Fail("cannot evaluate a shape");
        ++shapes;
        bool differs = false;
        for (size_t i = 0; i < rows.size(); ++i) {
          if (std::memcmp(rows[i].data(), expected[i].data(), rows[i].size() * sizeof(float)) == 0) continue;
          differs = true;
          largest = std::max(largest, LargestDifference(expected[i], rows[i]));
        }
        differing += differs;
      }
    }
  }
  std::printf("{\"shapes\": %d, \"differing\": %d, \"largest\": %.3g}\n", shapes, differing, largest);
  llama_free(context);
  llama_model_free(model);
}
