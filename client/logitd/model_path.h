// One model along given tokens: a context and the tokens after it, whose records come in pieces. A piece may hold whole
// rows (top_n of the whole vocabulary), which a single reply could not hold for all of the tokens.
//
//   ModelPath path{client, base, context_ids, token_ids};      // base: model, evaluation
//   v1::RecordOptions record;
//   record.set_top_n(vocab_size);
//   record.set_packed_top(true);
//   for (int32_t at = 0; at < path.length(); at += rows_at_once) {
//     ASSIGN_OR_RETURN(const PathPiece piece, path.Records(at, rows_at_once, record));
//     ... piece.records[0].packed_top() ...                    // the row that predicts token_ids[at]
//   }
//
// Each piece is a Score of its tokens after all tokens before them, so its numbers are those of one Score of the whole
// path, up to the model's batch tolerance; with EvaluationOptions.reproducible they have the same bits. The server
// finds the tokens before a piece in its cache. Thread-compatible; the client must outlive it.
#ifndef LOGITD_CLIENT_LOGITD_MODEL_PATH_H_
#define LOGITD_CLIENT_LOGITD_MODEL_PATH_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/logitd/client.h"
#include "logitd/v1/scoring_service.pb.h"

namespace logitd::client {

struct PathPiece {
  // One for each token of the piece.
  std::vector<v1::TokenRecord> records;
  v1::Provenance provenance;
};

struct ModelPath {
  // The tokens whose alternatives are wanted at each position of a piece (Continuation.named_by_position).
  using Named = std::vector<std::vector<int32_t>>;

  Client& client;
  // Everything of the request besides items and record.
  v1::ScoreRequest base;
  // At least one.
  std::vector<int32_t> context_ids;
  std::vector<int32_t> token_ids;

  int32_t length() const { return static_cast<int32_t>(token_ids.size()); }

  // The records of tokens [first, min(first + count, length())). `named`: empty, or a list for each of these tokens.
  // REQUIRES: first in [0, length()), count >= 1. Errors: those of Client::Score, and the error of the item, as a
  // status; kInternal if the reply does not have a record for each token.
  absl::StatusOr<PathPiece> Records(int32_t first, int32_t count, const v1::RecordOptions& record,
                                    const Named& named = {}) const;
};

// Sends one item and returns its reply. Errors: those of Client::Score; that of the item, or of one of its
// continuations, as a status; kInternal if the server does not answer it.
absl::StatusOr<v1::ScoreResponse> ScoreOne(Client& client, const v1::ScoreRequest& request);

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_MODEL_PATH_H_
