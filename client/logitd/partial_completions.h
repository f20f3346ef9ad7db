// Collects a Generate call's completions from its deltas, for a call that ends before its final message.
//
//   PartialCompletions partial(request.first_sequence_key(), request.n());
//   final = client.Complete(request, [&](const auto& delta) { return partial.Take(delta), true; },
//                           [&](const auto& started) { return partial.Take(started), true; });
//   if (!final.ok()) Show(std::move(partial).EndWith(ErrorMessageOf(final.status())));
//
// The request must have `stream`. One thread.
#ifndef LOGITD_CLIENT_LOGITD_PARTIAL_COMPLETIONS_H_
#define LOGITD_CLIENT_LOGITD_PARTIAL_COMPLETIONS_H_

#include <cstdint>

#include "logitd/v1/error.pb.h"
#include "logitd/v1/generation_service.pb.h"

namespace logitd::client {

class PartialCompletions {
 public:
  PartialCompletions(uint64_t first_key, int completion_count)
      : first_key_(first_key), completion_count_(completion_count) {}

  void Take(const v1::GenerateStarted& started) { final_.set_seed(started.seed()); }
  // A delta whose index is outside [0, completion_count) is ignored.
  void Take(const v1::CompletionDelta& delta);

  // The completions so far, with `error` in each that has not ended. No completions: no delta came.
  v1::GenerateFinal EndWith(const v1::Error& error) &&;

 private:
  void Add();

  const uint64_t first_key_;
  const int completion_count_;
  v1::GenerateFinal final_;
};

}  // namespace logitd::client

#endif  // LOGITD_CLIENT_LOGITD_PARTIAL_COMPLETIONS_H_
