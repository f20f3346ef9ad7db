// The special tokens that a model's file names.
//
// llama.cpp fills in what a file leaves out: a BPE vocabulary without BOS and EOS gets token 11, "," in GPT-2's, as
// both. A key that is not in the file is unset here.
#ifndef LOGITD_CLIENT_RUNNER_LLAMA_SPECIAL_TOKENS_H_
#define LOGITD_CLIENT_RUNNER_LLAMA_SPECIAL_TOKENS_H_

#include <optional>
#include <string>
#include <vector>

#include "core/types.h"
#include "llama.h"

namespace logitd::runner {

struct SpecialTokens {
  // Unset: the file has no such key, or the id in it is not one of the vocabulary.
  std::optional<TokenId> bos;
  // A text begins with `bos`. False without one.
  bool adds_bos = false;
  // One of `end_of_generation`. Unset: as `bos`.
  std::optional<TokenId> eos;
  // What ends a text: the tokens that the file names, and those that llama.cpp knows by their text ("<|im_end|>"). In
  // increasing order.
  std::vector<TokenId> end_of_generation;
  // What is wrong with the file's keys: sentences for ModelInfo.warnings.
  std::vector<std::string> warnings;
};

// `path`: the file that `model` was loaded from; its vocabulary is read once more if it does not name an EOS.
SpecialTokens ReadSpecialTokens(const llama_model* model, const std::string& path);

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_LLAMA_SPECIAL_TOKENS_H_
