// The gradients of `logit score --logits --gradient FILE.npy`: an array [rows, V] of f32, as numpy.load reads it.
//
//   GradientFile file(path, row_count, vocab_size);
//   file.Add(response.gradient());        // for each sequence, in order
//   std::string failure = file.Finish();  // "": the file is there
//
// The file is written beside its place and moved there once it is whole. One thread.
#ifndef LOGITD_CLIENT_CLI_GRADIENT_FILE_H_
#define LOGITD_CLIENT_CLI_GRADIENT_FILE_H_

#include <cstdint>
#include <fstream>
#include <string>

#include "logitd/v1/scoring_service.pb.h"

namespace logitd::cli {

class GradientFile {
 public:
  // `row_count`: the scored rows of all sequences.
  GradientFile(std::string path, int64_t row_count, int32_t vocab_size);
  // Removes a file that is not whole.
  ~GradientFile();
  GradientFile(const GradientFile&) = delete;
  GradientFile& operator=(const GradientFile&) = delete;

  void Add(const v1::LossGradient& gradient);
  // Returns why the file is not there; "": it is.
  std::string Finish();

 private:
  const std::string path_;
  const std::string temporary_;
  const int64_t row_count_;
  int64_t added_ = 0;
  bool is_finished_ = false;
  std::ofstream file_;
};

}  // namespace logitd::cli

#endif  // LOGITD_CLIENT_CLI_GRADIENT_FILE_H_
