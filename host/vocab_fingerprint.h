// The fingerprint of a vocabulary, as logitd.v1.Vocabulary documents it. Runners report it, and the server checks it.
//
// Thread-safe: a free function without state.
#ifndef LOGITD_HOST_VOCAB_FINGERPRINT_H_
#define LOGITD_HOST_VOCAB_FINGERPRINT_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace logitd::host {

// SHA-256, 32 bytes, over int32 values (little endian) and bytes: the number of tokens; then for each token its kind
// (0: text, 1: control, 2: unused), its length and its bytes.
// REQUIRES: token_lengths [vocab_size] are >= 0, and their sum is the size of `token_bytes`; control_token_ids and
// unused_token_ids are in [0, vocab_size), in any order, without common ids.
std::string VocabFingerprint(std::string_view token_bytes, std::span<const int32_t> token_lengths,
                             std::span<const int32_t> control_token_ids, std::span<const int32_t> unused_token_ids);

}  // namespace logitd::host

#endif  // LOGITD_HOST_VOCAB_FINGERPRINT_H_
