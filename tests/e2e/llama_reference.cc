// What libllama itself says, without a line of logitd.
//
//   llama_reference MODEL.gguf --tokens 504,2644,3315   ->   {"log_probs": [-13.99, -8.91]}
//   llama_reference MODEL.gguf --hidden 504,2644,3315   ->   the same, and "hidden": [[...], ...], the state of each
//                                                              token behind the output norm, which the head multiplies
//   llama_reference MODEL.gguf --lines < LINES          ->   one line for each:
//     tokens 504,2644,3315   ->   {"log_probs": [-13.99, -8.91]}: of each token after the first
//     text 612062            ->   {"tokens": [84, 331], "bytes": ["61", "2062"]}: of a text in hex, nothing added
//     marked 3c2f733e        ->   the same, and names of control tokens in the text are parsed
//
// One sequence, one batch, the file's weights as they are (give it an f32 file to compare with f32), f32 cache, no
// flash attention, log-softmax in double.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "llama.h"

namespace {

double LogProb(const float* row, int vocab_size, int token) {
  const double max = *std::max_element(row, row + vocab_size);
  double sum = 0;
  for (int i = 0; i < vocab_size; ++i) sum += std::exp(row[i] - max);
  return row[token] - max - std::log(sum);
}

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "llama_reference: %s\n", what);
  std::exit(1);
}

std::vector<llama_token> ParseTokens(const char* list) {
  std::vector<llama_token> tokens;
  for (const char* next = list; *next != '\0';) {
    char* end = nullptr;
    tokens.push_back(static_cast<llama_token>(std::strtol(next, &end, 10)));
    if (end == next) Fail("tokens must be numbers and commas");
    next = *end == ',' ? end + 1 : end;
  }
  return tokens;
}

std::string ParseHex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

void PrintLogProbs(llama_model* model, const std::vector<llama_token>& tokens, bool with_hidden = false) {
  const int vocab_size = llama_vocab_n_tokens(llama_model_get_vocab(model));
  llama_context_params params = llama_context_default_params();
  const auto count = static_cast<uint32_t>(tokens.size());
  params.n_ctx = count;
  params.n_batch = count;
  params.n_ubatch = count;
  // llama.cpp's threads spin while they wait for each other: on a busy machine one is the fastest.
  params.n_threads = 1;
  params.n_threads_batch = 1;
  params.type_k = GGML_TYPE_F32;
  params.type_v = GGML_TYPE_F32;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
  params.embeddings = with_hidden;
  params.pooling_type = LLAMA_POOLING_TYPE_NONE;
  llama_context* context = llama_init_from_model(model, params);
  if (context == nullptr) Fail("cannot create a context");
  llama_batch batch = llama_batch_init(static_cast<int32_t>(count), 0, 1);
  for (uint32_t i = 0; i < count; ++i) {
    if (tokens[i] < 0 || tokens[i] >= vocab_size) Fail("a token id is not in the vocabulary");
    batch.token[i] = tokens[i];
    batch.pos[i] = static_cast<llama_pos>(i);
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = 1;
    ++batch.n_tokens;
  }
  if (llama_decode(context, batch) != 0) Fail("llama_decode failed");
  std::printf("{\"log_probs\": [");
  for (uint32_t i = 0; i + 1 < count; ++i) {
    const float* row = llama_get_logits_ith(context, static_cast<int32_t>(i));
    std::printf("%s%.9f", i == 0 ? "" : ", ", LogProb(row, vocab_size, tokens[i + 1]));
  }
  std::printf("]");
  if (with_hidden) {
    const int width = llama_model_n_embd(model);
    std::printf(", \"hidden\": [");
    for (uint32_t i = 0; i < count; ++i) {
      const float* state = llama_get_embeddings_ith(context, static_cast<int32_t>(i));
      if (state == nullptr) Fail("there are no hidden states");
      for (int k = 0; k < width; ++k) std::printf("%s%.9g", k > 0 ? ", " : i > 0 ? ", [" : "[", state[k]);
      std::printf("]");
    }
    std::printf("]");
  }
  std::printf("}\n");
  llama_batch_free(batch);
  llama_free(context);
}

void PrintTokens(llama_model* model, const std::string& text, bool parse_special) {
  const llama_vocab* vocab = llama_model_get_vocab(model);
  std::vector<llama_token> tokens(text.size() + 8);
  const int32_t count = llama_tokenize(vocab, text.data(), static_cast<int32_t>(text.size()), tokens.data(),
                                       static_cast<int32_t>(tokens.size()), /*add_special=*/false, parse_special);
  if (count < 0) Fail("llama_tokenize failed");
  tokens.resize(static_cast<size_t>(count));
  std::printf("{\"tokens\": [");
  for (size_t i = 0; i < tokens.size(); ++i) std::printf("%s%d", i == 0 ? "" : ", ", tokens[i]);
  std::printf("], \"bytes\": [");
  for (size_t i = 0; i < tokens.size(); ++i) {
    char piece[1024];
    const int32_t size = llama_token_to_piece(vocab, tokens[i], piece, sizeof(piece), /*lstrip=*/0, /*special=*/false);
    if (size < 0) Fail("a token has more than 1024 bytes");
    std::printf("%s\"", i == 0 ? "" : ", ");
    for (int32_t j = 0; j < size; ++j) std::printf("%02x", static_cast<unsigned char>(piece[j]));
    std::printf("\"");
  }
  std::printf("]}\n");
}

}  // namespace

int main(int argc, char** argv) {
  const bool reads_lines = argc == 3 && std::strcmp(argv[2], "--lines") == 0;
  const bool with_hidden = argc == 4 && std::strcmp(argv[2], "--hidden") == 0;
  if (!reads_lines && !with_hidden && (argc != 4 || std::strcmp(argv[2], "--tokens") != 0)) {
    Fail("usage: MODEL.gguf --tokens ID,ID,..., MODEL.gguf --hidden ID,ID,... or MODEL.gguf --lines");
  }
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  llama_model* model = llama_model_load_from_file(argv[1], llama_model_default_params());
  if (model == nullptr) Fail("cannot load the model");
  if (!reads_lines) PrintLogProbs(model, ParseTokens(argv[3]), with_hidden);
  for (std::string line; reads_lines && std::getline(std::cin, line);) {
    if (line.rfind("tokens ", 0) == 0) {
      PrintLogProbs(model, ParseTokens(line.c_str() + 7));
    } else if (line.rfind("text ", 0) == 0) {
      PrintTokens(model, ParseHex(line.substr(5)), /*parse_special=*/false);
    } else if (line.rfind("marked ", 0) == 0) {
      PrintTokens(model, ParseHex(line.substr(7)), /*parse_special=*/true);
    } else {
      Fail("a line must begin with \"tokens \", \"text \" or \"marked \"");
    }
  }
  llama_model_free(model);
  llama_backend_free();
}
