#include "host/file_kind.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "host/gguf_header.h"
#include "tests/testing/gguf_header.h"
#include "tests/testing/matchers.h"

namespace logitd::host {
namespace {

using ::logitd::testing::Gguf;
using ::logitd::testing::IsOk;
using ::logitd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

Gguf Model(const std::string& architecture = "llama", uint64_t tensor_count = 1) {
  return testing::GgufModel(architecture, tensor_count);
}

class FileKindTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(::testing::TempDir()) / ("file_kind_test." + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& bytes, const std::string& name = "model.gguf") {
    const std::string path = (folder_ / name).string();
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  std::filesystem::path folder_;
};

struct Case {
  const char* name;
  std::string bytes;
  // What the sentence holds: what the file is, and what to do.
  const char* is;
  const char* to_do;
};

std::string Tar() {
  std::string bytes(512, 'x');
  bytes.replace(257, 5, "ustar");
  return bytes;
}

TEST_F(FileKindTest, EveryKindIsCalledByItsName) {
  using namespace std::string_literals;
  const std::vector<Case> cases = {
      {"empty", "", "is empty", "download"},
      {"LFS", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 94371840\n", "Git LFS pointer",
       "git lfs pull"},
      {"HTML", "<!DOCTYPE html>\n<html class=\"\"><head>", "web page (HTML)", "/resolve/"},
      {"HTML, lower case, BOM", "\xef\xbb\xbf\n <html>", "web page (HTML)", "/resolve/"},
      {"XML", "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>", "is XML", "download failed"},
      {"JSON error", "{\"error\":\"Repository not found\"}", "error message in JSON", "Repository not found"},
      {"safetensors index", "{\"metadata\": {}, \"weight_map\": {}}", "index of a model in safetensors",
       "convert_hf_to_gguf.py"},
      {"Ollama manifest", "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.docker\"}", "manifest of an Ollama",
       "blob"},
      {"config.json", "{\"architectures\": [\"LlamaForCausalLM\"]}", "is JSON", "GGUF file"},
      {"text", "Entry not found", "a text that begins with \"Entry not found\"", "download the model again"},
      {"safetensors", "\x40\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\""s, "safetensors", "convert_hf_to_gguf.py"},
      {"PyTorch", "PK\x03\x04\0\0\x08\x08\0\0archive/data.pklFB"s, "PyTorch checkpoint", "convert_hf_to_gguf.py"},
      {"PyTorch, old", "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9"s, "pickle", "convert_hf_to_gguf.py"},
      {"zip", "PK\x03\x04\0\0\x08\x08\0\0model.gguf"s, "archive (zip)", "unpack"},
      {"gzip", "\x1f\x8b\x08\0"s, "compressed (gzip)", "unpack"},
      {"xz",
       "\xfd"
       "7zXZ\0\0"s,
       "compressed (xz)", "unpack"},
      {"zstd", "\x28\xb5\x2f\xfd\x04", "compressed (zstd)", "unpack"},
      {"bzip2", "BZh91AY", "compressed (bzip2)", "unpack"},
      {"tar", Tar(), "archive (tar)", "unpack"},
      {"GGML", "lmgg\0\x7d"s, "GGML format from before GGUF", "convert_llama_ggml_to_gguf.py"},
      {"GGMF", "fmgg\x01\0\0\0"s, "GGMF", "convert_llama_ggml_to_gguf.py"},
      {"GGJT", "tjgg\x03\0\0\0"s, "GGJT", "convert_llama_ggml_to_gguf.py"},
      {"GGLA", "algg\x01\0\0\0"s, "LoRA adapter", "base model"},
      {"llamafile", "MZqFpD='\n", "llamafile", "unzip"},
      {"program",
       "\x7f"
       "ELF\x02",
       "a program", "model's file"},
      {"NumPy", "\x93NUMPY\x01", "NumPy array", "convert_hf_to_gguf.py"},
      {"old imatrix", "\x05\0\0\0\x11\0\0\0blk.0.attn_q.weight"s, "importance matrix", "made for"},
      {"zeros", std::string(5000, '\0'), "begins with zeros", "download it again"},
      {"noise", "\x01\x02\x03\x04\x05", "not a GGUF file", "convert_hf_to_gguf.py"},
      {"GGUF alone", "GGUF", "truncated or damaged", "download or copy it again"},
      {"GGUF 0", Model().Bytes(0), "truncated or damaged", "download"},
      {"GGUF 1", Model().Bytes(1), "GGUF version 1", "convert it again"},
      {"GGUF 4", Model().Bytes(4), "GGUF version 4, and this logitd reads versions 2 and 3", "newer logitd"},
      {"big-endian", Model().Bytes(0x03000000), "big-endian GGUF", "gguf_convert_endian.py"},
      {"LoRA", Gguf().Text("general.architecture", "llama").Text("general.type", "adapter").Bytes(), "LoRA adapter",
       "llama-export-lora"},
      {"control vector", Gguf().Text("general.architecture", "controlvector").Bytes(), "control vector",
       "give a language model"},
      {"mmproj", Gguf().Text("general.architecture", "clip").Text("general.type", "mmproj").Bytes(), "mmproj",
       "language model's own file"},
      {"clip", Gguf().Text("general.architecture", "clip").Bytes(), "mmproj", "give a language model"},
      {"imatrix", Gguf().Text("general.type", "imatrix").Floats("imatrix.datasets", 1).Bytes(), "importance matrix",
       "give a language model"},
      {"vocabulary", Model("llama", 0).Bytes(), "vocabulary only", "own file"},
      {"no tensors", Gguf(0).Text("general.architecture", "llama").Bytes(), "no tensors", "whole model"},
      {"no architecture", Gguf().Text("general.name", "x").Bytes(), "no key general.architecture", "language model"},
      {"no vocabulary", Gguf().Text("general.architecture", "llama").Bytes(), "no vocabulary",
       "convert the model again"},
      {"BERT", Model("bert").Bytes(), "embedding model or reranker (architecture bert)", "give a language model"},
      {"nomic-bert", Model("nomic-bert").Bytes(), "embedding model", "give a language model"},
      {"T5 encoder", Model("t5encoder").Bytes(), "text encoder", "give a language model"},
      {"T5", Model("t5").Bytes(), "encoder-decoder", "give a language model"},
      {"diffusion of text", Model("llada").Bytes(), "diffusion model of text", "give a language model"},
      {"images", Gguf().Text("general.architecture", "flux").Bytes(), "image model", "give a language model"},
      {"embedding", Model("qwen3").Uint32("qwen3.pooling_type", 3).Bytes(),
       "embedding model: its rows are pooled "
       "(pooling_type last)",
       "give a language model"},
      {"reranker", Model("qwen3").Uint32("qwen3.pooling_type", 4).Bytes(), "reranker or classifier", "language model"},
      {"not causal", Model("llama").Bool("llama.attention.causal", false).Bytes(), "attention is not causal",
       "give a language model"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const std::string path = Write(c.bytes);
    const absl::Status status = CheckModelFile(path);
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                                 AllOf(HasSubstr("model file " + path + " "), HasSubstr(c.is), HasSubstr(c.to_do))));
    // One sentence, one line, that ends without a full stop, as all messages do.
    const std::string message(status.message());
    EXPECT_EQ(message.find('\n'), std::string::npos);
    EXPECT_EQ(message.find(". "), std::string::npos) << message;
  }
}

TEST_F(FileKindTest, AFolderAndWhatIsNotThereAreSaid) {
  EXPECT_THAT(CheckModelFile(folder_.string()), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is a folder")));
  EXPECT_THAT(CheckModelFile((folder_ / "none.gguf").string()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("does not exist")));
  EXPECT_THAT(CheckModelFile("/dev/null"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a regular file")));
}

TEST_F(FileKindTest, ALanguageModelIsLetThrough) {
  EXPECT_THAT(CheckModelFile(Write(Model().Bytes())), IsOk());
  EXPECT_THAT(CheckModelFile(Write(Model("an-architecture-of-next-year").Bytes())), IsOk());
  EXPECT_THAT(CheckModelFile(Write(Model("qwen3").Uint32("qwen3.pooling_type", 0).Bytes())), IsOk());
  EXPECT_THAT(CheckModelFile(Write(Model().Bool("llama.attention.causal", true).Bytes(2))), IsOk());
}

TEST_F(FileKindTest, EveryTruncationOfAHeaderIsFound) {
  const std::string bytes = Model().Text("general.name", "a model").Bool("x", true).Bytes();
  for (size_t size = 4; size < bytes.size(); ++size) {
    SCOPED_TRACE(size);
    EXPECT_THAT(CheckModelFile(Write(bytes.substr(0, size))),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("truncated or damaged")));
  }
}

TEST_F(FileKindTest, AbsurdLengthsAreNotAllocated) {
  // The length of the first key, and the number of keys.
  for (const size_t offset : {size_t{24}, size_t{16}}) {
    std::string bytes = Model().Bytes();
    std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), 8, '\x7f');
    EXPECT_THAT(CheckModelFile(Write(bytes)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("truncated or damaged")));
  }
}

TEST_F(FileKindTest, PartsOfASplitModelAreToldApart) {
  const auto part = [](uint16_t number) { return Model().Uint16("split.count", 3).Uint16("split.no", number).Bytes(); };
  const std::string first = Write(part(0), "m-00001-of-00003.gguf");
  const std::string second = Write(part(1), "m-00002-of-00003.gguf");
  EXPECT_THAT(CheckModelFile(second), StatusIs(absl::StatusCode::kInvalidArgument,
                                               AllOf(HasSubstr("part 2 of 3"), HasSubstr("-00001-of-00003.gguf"))));
  EXPECT_THAT(CheckModelFile(first),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("m-00003-of-00003.gguf is missing"))));
  EXPECT_THAT(CheckModelFile(Write(part(0), "renamed.gguf")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rename it")));
  const std::string third = Write(part(2), "m-00003-of-00003.gguf");
  EXPECT_THAT(CheckModelFile(first), IsOk());
  EXPECT_EQ(PartsOf(first), (std::vector<std::string>{first, second, third}));
  EXPECT_EQ(PartsOf(Write(Model().Bytes())), std::vector<std::string>{(folder_ / "model.gguf").string()});
}

TEST_F(FileKindTest, APartThatIsTruncatedIsNamed) {
  const auto part = [](uint16_t number) { return Model().Uint16("split.count", 2).Uint16("split.no", number).Bytes(); };
  const std::string first = Write(part(0), "m-00001-of-00002.gguf");
  const std::string whole = part(1);
  const std::string second = Write(whole.substr(0, whole.size() - 1), "m-00002-of-00002.gguf");
  EXPECT_THAT(CheckModelFile(first),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(second), HasSubstr("header describes " + std::to_string(whole.size())))));
  Write("<html>", "m-00002-of-00002.gguf");
  EXPECT_THAT(CheckModelFile(first), StatusIs(absl::StatusCode::kInvalidArgument,
                                              AllOf(HasSubstr(second), HasSubstr("not those of a GGUF file"))));
}

TEST_F(FileKindTest, AbsurdTensorsAreNotBelieved) {
  const std::string bytes = Model().Bytes();
  const size_t name = bytes.find("t0");
  // The number of dimensions, the length, the offset.
  for (const size_t offset : {size_t{2}, size_t{6}, size_t{18}}) {
    std::string absurd = bytes;
    std::fill_n(absurd.begin() + static_cast<std::ptrdiff_t>(name + offset), offset == 2 ? 4 : 8, '\xff');
    EXPECT_THAT(CheckModelFile(Write(absurd)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("truncated or damaged")));
  }
}

TEST_F(FileKindTest, APieceOfACutFileIsToldToBeJoined) {
  const std::string bytes = Model().Bytes();
  for (const char* name : {"m.gguf.part1of2", "m.gguf-split-a"}) {
    EXPECT_THAT(CheckModelFile(Write(bytes.substr(0, bytes.size() - 1), name)),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("is a piece"), HasSubstr("with cat"))));
  }
}

TEST_F(FileKindTest, HeaderValuesAreRead) {
  ASSERT_OK_AND_ASSIGN(const GgufHeader header,
                       ReadGgufHeader(Write(Model().Uint32("a.n", 7).Bool("a.b", true).Bytes())));
  EXPECT_EQ(header.Text("general.architecture"), "llama");
  EXPECT_EQ(header.Number("a.n"), 7);
  EXPECT_EQ(header.Text("a.b"), "true");
  EXPECT_EQ(header.Number("a.none"), std::nullopt);
  EXPECT_EQ(header.array_sizes.at("tokenizer.ggml.tokens"), 2u);
}

}  // namespace
}  // namespace logitd::host
