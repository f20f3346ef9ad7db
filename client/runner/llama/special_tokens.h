// The special tokens that a model's file names.
//
// llama.cpp fills in tokens that a file leaves out: a BPE vocabulary without BOS and EOS gets token 11 as both, which
// is "," in GPT-2's. Here a token is unset if the file does not name it.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_SPECIAL_TOKENS_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_SPECIAL_TOKENS_H_

#include <optional>
#include <string>
#include <vector>

#include "core/types.h"
#include "llama.h"

namespace logitd::runner {

struct SpecialTokens {
  // Unset: the file has no such key, or its id is not in the vocabulary.
  std::optional<TokenId> bos;
  // A text begins with `bos`. False if there is no `bos`.
  bool adds_bos = false;
  // One of `end_of_generation`. Unset: as `bos`.
  std::optional<TokenId> eos;
  // The tokens that end a text: those that the file names, and those that llama.cpp knows by their text ("<|im_end|>").
  // Ascending.
  std::vector<TokenId> end_of_generation;
  // Faults in the file's keys, as sentences for ModelInfo.warnings.
  std::vector<std::string> warnings;
};

// `path`: the file that `model` was loaded from. Its vocabulary is read once more if it does not name an EOS.
SpecialTokens ReadSpecialTokens(const llama_model* model, const std::string& path);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_SPECIAL_TOKENS_H_
