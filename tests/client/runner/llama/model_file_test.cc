#include "client/runner/llama/model_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "client/runner/llama/llama_log.h"
#include "host/file_hash.h"
#include "host/gguf_header.h"
#include "llama.h"
#include "tests/testing/matchers.h"

namespace logitd::runner {
namespace {

using ::logitd::testing::IsOk;
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
    const char* tokens[] = {"a", "b"};
    gguf_set_arr_str(header.get(), "tokenizer.ggml.tokens", tokens, 2);
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

// The host's own reading of a header, against ggml's of every type.
TEST_F(ModelFileTest, BytesOfEveryTypeAreKnownWithoutGgml) {
  int type_count = 0;
  for (int number = 0; number < GGML_TYPE_COUNT; ++number) {
    const auto type = static_cast<ggml_type>(number);
    if (ggml_type_size(type) == 0 || ggml_blck_size(type) == 0) continue;
    SCOPED_TRACE(ggml_type_name(type));
    ++type_count;
    std::unique_ptr<ggml_context, decltype(&ggml_free)> tensors(
        ggml_init({.mem_size = 1 << 20, .mem_buffer = nullptr, .no_alloc = false}), &ggml_free);
    std::unique_ptr<gguf_context, decltype(&gguf_free)> header(gguf_init_empty(), &gguf_free);
    ggml_tensor* tensor = ggml_new_tensor_3d(tensors.get(), type, 512, 3, 2);
    ggml_set_name(tensor, "tensor");
    gguf_add_tensor(header.get(), tensor);
    ASSERT_TRUE(gguf_write_to_file(header.get(), path_.c_str(), false));
    const size_t needed = gguf_get_meta_size(header.get()) + ggml_nbytes(tensor);
    std::filesystem::resize_file(path_, needed);
    EXPECT_THAT(host::CheckGgufTensors(path_), IsOk());
    std::filesystem::resize_file(path_, needed - 1);
    EXPECT_THAT(host::CheckGgufTensors(path_),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("describes " + std::to_string(needed))));
  }
  EXPECT_GT(type_count, 30);
}

TEST_F(ModelFileTest, NamesWhatIsWrong) {
  EXPECT_THAT(InspectModelFile(path_), StatusIs(absl::StatusCode::kNotFound, HasSubstr("does not exist")));
  EXPECT_THAT(InspectModelFile(folder_.string()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is a folder")));
  std::ofstream(path_) << "hello, world";
  EXPECT_THAT(InspectModelFile(path_),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(path_), HasSubstr("not a GGUF file"))));

  WriteModel(GGML_TYPE_F16);
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 1);
  EXPECT_THAT(InspectModelFile(path_), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("truncated or damaged")));
}

// What gguf.cpp and llama-model-loader.cpp of llama.cpp write.
TEST_F(ModelFileTest, WhatLlamaDoesNotKnowIsNamedWithItsVersion) {
  const std::string version = std::string("llama.cpp ") + llama_version();
  const struct {
    const char* error;
    const char* is;
  } cases[] = {
      {"llama_model_load: error loading model: unknown model architecture: 'future'", "architecture 'future'"},
      {"llama_model_load: error loading model: unknown pre-tokenizer type: 'strange-bpe'", "tokenizer 'strange-bpe'"},
      {"gguf_init_from_reader: tensor 'blk.0.ffn_up.weight' has invalid ggml type 141. should be in [0, 43)",
       "weights have a type"},
      {"llama_model_load: error loading model: missing tensor 'output_norm.weight'", "output_norm.weight"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.error);
    EXPECT_THAT(WhyLlamaCannot(c.error), AllOf(HasSubstr(c.is), HasSubstr(version), HasSubstr("; ")));
  }
  EXPECT_EQ(WhyLlamaCannot("anything else"), "llama.cpp says: anything else");
}

TEST_F(ModelFileTest, ATypeOfWeightsThatIsNewIsNoDamage) {
  WriteModel(GGML_TYPE_F16);
  std::string bytes;
  {
    std::ifstream file(path_, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
  }
  // A tensor's type follows its name, the number of its dimensions and these.
  const size_t name = bytes.find("matrix");
  ASSERT_NE(name, std::string::npos);
  bytes[name + 6 + 4 + 2 * 8] = '\x78';
  std::ofstream(path_, std::ios::binary) << bytes;
  EXPECT_THAT(InspectModelFile(path_),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(path_), HasSubstr("weights have a type"), HasSubstr("120"))));
}

TEST_F(ModelFileTest, HashIsSha256) {
  std::ofstream(path_) << "abc";
  ASSERT_OK_AND_ASSIGN(const std::string hash, host::HashModelFile(path_));
  EXPECT_EQ(hash.substr(0, 4), "\xBA\x78\x16\xBF");
  EXPECT_EQ(hash.size(), 32u);
}

}  // namespace
}  // namespace logitd::runner
