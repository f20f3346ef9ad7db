#include "client/runner/llama/model_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "client/runner/llama/llama_log.h"
#include "llama.h"
#include "tests/testing/matchers.h"

namespace logitd::runner {
namespace {

using ::logitd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

class ModelFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    InstallLlamaLog();
    folder_ = std::filesystem::path(::testing::TempDir()) / ("model_file_test." + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    path_ = (folder_ / "model.gguf").string();
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // A whole file with one matrix of `type` and one vector.
  void WriteModel(ggml_type type) {
    std::unique_ptr<ggml_context, decltype(&ggml_free)> tensors(
        ggml_init({.mem_size = 1 << 20, .mem_buffer = nullptr, .no_alloc = false}), &ggml_free);
    std::unique_ptr<gguf_context, decltype(&gguf_free)> header(gguf_init_empty(), &gguf_free);
    gguf_set_val_str(header.get(), "general.architecture", "llama");
    ggml_tensor* matrix = ggml_new_tensor_2d(tensors.get(), type, 64, 8);
    ggml_set_name(matrix, "matrix");
    gguf_add_tensor(header.get(), matrix);
    ggml_tensor* vector = ggml_new_tensor_1d(tensors.get(), GGML_TYPE_F32, 64);
    ggml_set_name(vector, "vector");
    gguf_add_tensor(header.get(), vector);
    ASSERT_TRUE(gguf_write_to_file(header.get(), path_.c_str(), false));
  }

  std::filesystem::path folder_;
  std::string path_;
};

TEST_F(ModelFileTest, TellsTheTypeOfTheMatrices) {
  struct Case {
    ggml_type type;
    bool all_f32;
    bool all_f32_or_f16;
  };
  for (const Case& c : {Case{GGML_TYPE_F32, true, true}, Case{GGML_TYPE_F16, false, true},
                        Case{GGML_TYPE_BF16, false, false}, Case{GGML_TYPE_Q4_1, false, false}}) {
    SCOPED_TRACE(ggml_type_name(c.type));
    WriteModel(c.type);
    ASSERT_OK_AND_ASSIGN(const ModelFile file, InspectModelFile(path_));
    EXPECT_EQ(file.all_f32, c.all_f32);
    EXPECT_EQ(file.all_f32_or_f16, c.all_f32_or_f16);
    EXPECT_EQ(file.size, static_cast<int64_t>(std::filesystem::file_size(path_)));
  }
}

TEST_F(ModelFileTest, EveryTruncationIsFound) {
  WriteModel(GGML_TYPE_F32);
  for (int64_t size = static_cast<int64_t>(std::filesystem::file_size(path_)) - 1; size >= 0; size -= 7) {
    SCOPED_TRACE(size);
    std::filesystem::resize_file(path_, static_cast<uintmax_t>(size));
    EXPECT_THAT(InspectModelFile(path_), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path_)));
  }
}

TEST_F(ModelFileTest, NamesWhatIsWrong) {
  EXPECT_THAT(InspectModelFile(path_), StatusIs(absl::StatusCode::kNotFound, HasSubstr("does not exist")));
  EXPECT_THAT(InspectModelFile(folder_.string()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a regular file")));
  std::ofstream(path_) << "hello, world";
  EXPECT_THAT(InspectModelFile(path_),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(path_), HasSubstr("not a GGUF file"))));
  WriteModel(GGML_TYPE_F16);
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 1);
  EXPECT_THAT(InspectModelFile(path_), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("truncated or damaged")));
}

TEST_F(ModelFileTest, HashIsSha256) {
  std::ofstream(path_) << "abc";
  ASSERT_OK_AND_ASSIGN(const std::string hash, HashFile(path_));
  EXPECT_EQ(hash.substr(0, 4), "\xBA\x78\x16\xBF");
  EXPECT_EQ(hash.size(), 32u);
}

}  // namespace
}  // namespace logitd::runner
