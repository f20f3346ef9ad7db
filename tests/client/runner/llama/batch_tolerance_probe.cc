// What a model's log-probs really do over fifty batch shapes, beside what the runner states of them.
//
//   batch_tolerance_probe MODEL.gguf [--f32-cache] [--seconds 2] [--tokens 100] [--others 24]
//     ->   {"stated": 3.1e-05, "observed": 9.8e-06, "shapes": 50, "seconds": 1.9, "left_sequences": 0}
//   batch_tolerance_probe MODEL.gguf --seconds 0
//     ->   {"stated": null, "left_sequences": 0}
//
// `observed` is the largest difference of any token's log-prob above -20, over texts and shapes that the runner does
// not try: other tokens, 100 of them in parts of 1 to 100, 0 to 24 other sequences (all 51 evaluate some 60,000 tokens;
// fewer take less time). `seconds`: what the measurement took, of --seconds. `left_sequences`: those that it left in
// the context. libllama alone.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "client/runner/llama/batch_tolerance.h"
#include "client/runner/llama/context_params.h"
#include "llama.h"

namespace {

constexpr int kShapes = 50;
// Of the text, whose rows are compared.
constexpr int kRows = 12;

std::vector<double> LogSoftmax(const float* row, int size) {
  const double max = *std::max_element(row, row + size);
  double sum = 0;
  for (int i = 0; i < size; ++i) sum += std::exp(row[i] - max);
  std::vector<double> result(static_cast<size_t>(size));
  for (int i = 0; i < size; ++i) result[static_cast<size_t>(i)] = row[i] - max - std::log(sum);
  return result;
}

int Fail(const char* what) {
  std::fprintf(stderr, "batch_tolerance_probe: %s\n", what);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return Fail("usage: MODEL.gguf [--f32-cache] [--seconds S] [--tokens N] [--others N]");
  bool f32_cache = false;
  double seconds = 2;
  int token_count = 100;
  int most_others = 24;
  for (int i = 2; i < argc; ++i) {
    if (std::strcmp(argv[i], "--f32-cache") == 0) f32_cache = true;
    if (std::strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) seconds = std::atof(argv[++i]);
    if (std::strcmp(argv[i], "--tokens") == 0 && i + 1 < argc) token_count = std::atoi(argv[++i]);
    if (std::strcmp(argv[i], "--others") == 0 && i + 1 < argc) most_others = std::atoi(argv[++i]);
  }
  if (token_count < kRows || token_count > 100 || most_others < 0 || most_others > 24) {
    return Fail("--tokens must be in [12, 100], --others in [0, 24]");
  }
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  llama_model* model = llama_model_load_from_file(argv[1], llama_model_default_params());
  if (model == nullptr) return Fail("cannot load the model");
  // The runner's own context, so that its attention is measured. One by one, every other sequence is as long as the
  // text in the end.
  llama_context* context = llama_init_from_model(
      model, logitd::runner::ContextParams(model, {.cells = 4096, .sequences = 64, .f32 = f32_cache}, /*threads=*/1));
  if (context == nullptr) return Fail("no context");
  const auto budget = std::chrono::milliseconds(static_cast<int>(seconds * 1000));
  const auto begun = std::chrono::steady_clock::now();
  const auto stated = logitd::runner::MeasureBatchTolerance(context, budget);
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - begun;
  int left = 0;
  for (int sequence = 0; sequence < static_cast<int>(llama_n_seq_max(context)); ++sequence) {
    if (llama_memory_seq_pos_max(llama_get_memory(context), sequence) >= 0) ++left;
  }
  if (!stated) {
    std::printf("{\"stated\": null, \"left_sequences\": %d}\n", left);
    llama_free(context);
    llama_model_free(model);
    return 0;
  }

  const llama_vocab* vocab = llama_model_get_vocab(model);
  const int vocab_size = llama_vocab_n_tokens(vocab);
  std::mt19937 random(7);
  std::vector<int> tokens;
  while (static_cast<int>(tokens.size()) < token_count) {
    const int token = static_cast<int>(random() % static_cast<unsigned>(vocab_size));
    if (!llama_vocab_is_control(vocab, token)) tokens.push_back(token);
  }
  double observed = 0;
  std::vector<std::vector<double>> reference;
  llama_batch batch = llama_batch_init(128, 0, 1);
  for (int shape = 0; shape <= kShapes; ++shape) {
    // Shape 0 is the reference.
    // Half of the shapes are short parts, which are many.
    const int size = shape == 0 ? 1 : 1 + static_cast<int>(random() % (shape % 2 == 0 ? token_count : 12));
    const int others = shape == 0 ? 0 : static_cast<int>(random() % static_cast<unsigned>(most_others + 1));
    llama_memory_clear(llama_get_memory(context), false);
    for (int begin = 0, call = 0; begin < token_count; begin += size, ++call) {
      batch.n_tokens = 0;
      const auto add = [&](int token, int position, int sequence) {
        const int i = batch.n_tokens++;
        batch.token[i] = token;
        batch.pos[i] = position;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = sequence;
        batch.logits[i] = sequence == 0 && position < token_count - kRows ? 0 : 1;
      };
      const int end = std::min(begin + size, token_count);
      for (int i = begin; i < end; ++i) add(tokens[static_cast<size_t>(i)], i, 0);
      for (int other = 1; other <= others; ++other) add(tokens[random() % token_count], call, other);
      if (llama_decode(context, batch) != 0) return Fail("cannot evaluate a shape");
      for (int i = std::max(begin, token_count - kRows); i < end; ++i) {
        std::vector<double> row = LogSoftmax(llama_get_logits_ith(context, i - begin), vocab_size);
        if (shape == 0) {
          reference.push_back(std::move(row));
          continue;
        }
        for (size_t id = 0; id < row.size(); ++id) {
          const double expected = reference[static_cast<size_t>(i - (token_count - kRows))][id];
          if (expected > -20) observed = std::max(observed, std::abs(row[id] - expected));
        }
      }
    }
  }
  std::printf("{\"stated\": %.3g, \"observed\": %.3g, \"shapes\": %d, \"seconds\": %.2f, \"left_sequences\": %d}\n",
              *stated, observed, kShapes, taken.count(), left);
  llama_batch_free(batch);
  llama_free(context);
  llama_model_free(model);
}
