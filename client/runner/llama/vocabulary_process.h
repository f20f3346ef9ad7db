// The process that tokenises clients' texts: llama.cpp's tokenizer, away from the process that holds the sequences.
//
//   logitd-llama ──socket── vocabulary process (holds the vocabulary, never sees a text)
//        │                      │ fork, a millisecond, without loading again
//        └─────── socket ─────── worker (one text at a time, on a stack sized for the longest)
//
// llama.cpp's pre-tokenizers recurse once per character in std::regex, and some take time that grows with the square of
// the text. A text may therefore end its worker, or may have to be stopped. A worker that ends costs only its text.
// docs/adr/0011-tokenizer-process.md.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_VOCABULARY_PROCESS_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_VOCABULARY_PROCESS_H_

#include <cstddef>
#include <string>

#include "core/limits.h"

namespace logitd::runner {

// Bytes of stack per byte of text. Measured with 33 of llama.cpp's pre-tokenizers and 32 classes of characters, 20,000
// bytes each (deepseek-llm: up to 4,190,000): at most 320.5 (std::regex, one-byte characters: "a", "1", " ", "!"), and
// 107 for three-byte characters. The constant is a little more than twice that, because frames grow with the compiler's
// options.
inline constexpr size_t kStackPerTextByte = 768;
// 3 GiB of addresses. Memory is taken only for the part that a text reaches, and given back with the worker.
inline constexpr size_t kTokenizerStackBytes = static_cast<size_t>(kMaxTextBytes) * kStackPerTextByte;

// Runs the vocabulary process from its start to its end: serves the runner at kVocabularyProcessFd. Returns the exit
// code.
int RunVocabularyProcess(const std::string& model_file);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_VOCABULARY_PROCESS_H_
