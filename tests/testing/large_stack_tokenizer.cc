// llama.cpp's tokenizer by itself, on a stack of 8 GiB: what logitd's tokens of hostile texts are compared with, and
// what kStackPerTextByte (client/runner/llama/vocabulary_process.h) was measured with.
//
//   large_stack_tokenizer --vocab ggml-vocab-deepseek-llm.gguf [--pre tekken] FILE
//
// FILE holds the text. Standard output: the ids, one a line. Standard error: bytes, the deepest stack, CPU seconds.
// --pre: another pre-tokenizer on the same vocabulary, by its name in tokenizer.ggml.pre. Exit code 1: it failed.
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "llama.h"

namespace {

constexpr size_t kStackBytes = size_t{8} << 30;
constexpr size_t kPageBytes = 4096;

struct Job {
  const llama_vocab* vocab;
  std::string text;
  std::vector<llama_token> ids;
  int32_t count = -1;
  double cpu_seconds = 0;
};

void* Run(void* argument) {
  Job& job = *static_cast<Job*>(argument);
  job.ids.resize(2 * job.text.size() + 64);
  try {
    job.count = llama_tokenize(job.vocab, job.text.data(), static_cast<int32_t>(job.text.size()), job.ids.data(),
                               static_cast<int32_t>(job.ids.size()), /*add_special=*/false, /*parse_special=*/false);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  job.cpu_seconds = static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  return nullptr;
}

// How far from its upper end the stack was ever touched.
size_t DeepestTouched(char* stack) {
  std::vector<unsigned char> resident(kStackBytes / kPageBytes);
  mincore(stack, kStackBytes, resident.data());
  for (size_t page = 0; page < resident.size(); ++page) {
    if (resident[page] & 1) return kStackBytes - page * kPageBytes;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string vocab_file, pre, text_file;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--vocab" && i + 1 < argc) {
      vocab_file = argv[++i];
    } else if (argument == "--pre" && i + 1 < argc) {
      pre = argv[++i];
    } else {
      text_file = argument;
    }
  }
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  llama_model_kv_override overrides[2] = {};
  if (!pre.empty()) {
    overrides[0].tag = LLAMA_KV_OVERRIDE_TYPE_STR;
    std::snprintf(overrides[0].key, sizeof(overrides[0].key), "tokenizer.ggml.pre");
    std::snprintf(overrides[0].val_str, sizeof(overrides[0].val_str), "%s", pre.c_str());
    params.kv_overrides = overrides;
  }
  const std::unique_ptr<llama_model, decltype(&llama_model_free)> model(
      llama_model_load_from_file(vocab_file.c_str(), params), &llama_model_free);
  std::ifstream file(text_file, std::ios::binary);
  if (model == nullptr || !file) {
    std::fprintf(stderr, "cannot read %s\n", model == nullptr ? vocab_file.c_str() : text_file.c_str());
    return 1;
  }
  Job job{.vocab = llama_model_get_vocab(model.get()),
          .text = std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>())};
  void* map = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) return 1;
  madvise(map, kStackBytes, MADV_NOHUGEPAGE);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstack(&attributes, map, kStackBytes);
  pthread_t thread;
  if (pthread_create(&thread, &attributes, Run, &job) != 0) return 1;
  pthread_join(thread, nullptr);
  if (job.count < 0) return 1;
  for (int32_t i = 0; i < job.count; ++i) std::printf("%d\n", job.ids[static_cast<size_t>(i)]);
  const size_t deepest = DeepestTouched(static_cast<char*>(map));
  std::fprintf(stderr, "%zu bytes, stack %zu bytes (%.1f a byte), %.3f s\n", job.text.size(), deepest,
               static_cast<double>(deepest) / static_cast<double>(job.text.empty() ? 1 : job.text.size()),
               job.cpu_seconds);
  return 0;
}
