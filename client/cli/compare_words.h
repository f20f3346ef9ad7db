// A comparison of two sequences of log-probs in words: who wins, and why the one that wins token by token may lose in
// total.
//
//   for (const std::string& sentence : DuelWords(duel, first, second, /*same_tokens=*/false)) ...
//   // "continuation 0 wins token by token, with the likelier token at 2 of 3 positions, but loses in total: ..."
//
// Thread-safe.
#ifndef LOGITD_CLIENT_CLI_COMPARE_WORDS_H_
#define LOGITD_CLIENT_CLI_COMPARE_WORDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "client/comparison/token_duel.h"

namespace logitd::cli {

struct Contender {
  // "continuation 0", or a model's name.
  std::string name;
  // Its tokens, as they are shown.
  std::vector<std::string> tokens;
};

// Where the two part: they share tokens at their beginning, one is the beginning of the other, or both are the same.
std::string PartingWords(const Contender& first, const Contender& second, int32_t shared);

// Who wins token by token and in total, by how much, where the lead is lost, and which positions decide.
// `same_tokens`: both are the same tokens under two models.
std::vector<std::string> DuelWords(const comparison::Duel& duel, const Contender& first, const Contender& second,
                                   bool same_tokens);

// A position at which a model was sure of another token than the one that stands there.
struct ConfidentToken {
  int32_t position = 0;
  // The token that stands there, and its probability and rank. Rank 0: not known.
  std::string given;
  double given_probability = 0;
  int32_t given_rank = 0;
  // Its log-prob, nats; -inf: excluded.
  double given_log_prob = 0;
  // The model's most likely token, and its probability.
  std::string top;
  double top_probability = 0;
  // nats.
  double entropy = 0;
};

// "At position 1 the model is confident of ..." `who`: the model. `where`: " in continuation 1", or nothing.
std::string ConfidentWords(const ConfidentToken& token, const std::string& who, const std::string& where,
                           double confidence);

// "1 position", "3 positions".
std::string Count(int64_t count, const std::string& noun);

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_COMPARE_WORDS_H_
