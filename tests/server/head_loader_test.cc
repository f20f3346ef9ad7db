#include "server/head_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "tests/testing/gguf_header.h"
#include "tests/testing/matchers.h"
#include "tests/testing/safetensors_file.h"

namespace logitd::server {
namespace {

using ::logitd::testing::F32Tensor;
using ::logitd::testing::IsOk;
using ::logitd::testing::Safetensors;
using ::logitd::testing::SafetensorsOf;
using ::logitd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// W of V = 4, d = 2.
const std::vector<float> kWeight = {1, 2, 3, 4, 5, 6, 7, 8};
const F32Tensor kLmHead = {"lm_head.weight", {4, 2}, kWeight};

class HeadLoaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(::testing::TempDir()) / ("head_loader_test." + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& bytes, const std::string& name = "m.safetensors") {
    const std::string path = (folder_ / name).string();
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  // A head of a file with these tensors; `keys` follow the file's name.
  absl::StatusOr<NamedHead> Load(const std::vector<F32Tensor>& tensors, const std::string& keys = "",
                                 const HeadLoading& loading = {}, const std::string& name = "m.safetensors") {
    const auto spec = ParseHeadSpec("--head", "lm=" + Write(SafetensorsOf(tensors), name) + keys);
    EXPECT_THAT(spec.status(), IsOk());
    return LoadHead(*spec, loading);
  }
  static std::vector<float> LogitsOf(const NamedHead& named, const std::vector<float>& hidden, bool normed = false) {
    HiddenTile tile(named.head->hidden_size());
    EXPECT_THAT(tile.Add(hidden, normed ? named.head->output_norm() : nullptr), IsOk());
    std::vector<float> logits(static_cast<size_t>(named.head->vocab_size()));
    named.head->columns().ComputeLogits(tile, logits);
    return logits;
  }
  // A program that does what this shell script does.
  std::string Script(const std::string& body) {
    const std::string path = Write("#!/bin/sh\n" + body + "\n", "runner.sh");
    ::chmod(path.c_str(), 0700);
    return path;
  }

  std::filesystem::path folder_;
};

TEST_F(HeadLoaderTest, WhatTheModelsConfigurationSaysMustBeGiven) {
  const struct {
    const char* config;
    const char* key;
    const char* keys;
  } cases[] = {
      {"{\"final_logit_softcapping\": 30.0}", "add ,soft_cap=30", ",soft_cap=30"},
      {"{\"text_config\": {\"logit_scale\": 0.25}}", "add ,logit_scale=0.25", ",logit_scale=0.25"},
      {"{\"model_type\": \"granitemoe\", \"logits_scaling\": 8}", "add ,logit_scale=0.125", ",logit_scale=0.125"},
      {"{\"model_type\": \"hyperclovax\", \"logits_scaling\": 8}", "that this model's code multiplies",
       ",logit_scale=8"},
      {"{\"lm_head_multiplier\": 0.04}", "lm_head_multiplier = 0.04", ",logit_scale=0.04"},
  };
  for (const auto& test : cases) {
    Write(test.config, "config.json");
    EXPECT_THAT(Load({kLmHead}).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test.key)));
    EXPECT_THAT(Load({kLmHead}, test.keys).status(), IsOk()) << test.config;
  }
  for (const char* config : {"{}", "{\"final_logit_softcapping\": null, \"logit_scale\": 1}", "[1]", "no JSON"}) {
    Write(config, "config.json");
    EXPECT_THAT(Load({kLmHead}).status(), IsOk()) << config;
  }
}

TEST_F(HeadLoaderTest, TheUsualNamesAreFound) {
  const struct {
    std::vector<F32Tensor> tensors;
    const char* weight;
  } cases[] = {
      {{kLmHead}, "lm_head.weight"},
      {{{"model.embed_tokens.weight", {5, 2}, std::vector<float>(10)}, kLmHead}, "lm_head.weight"},
      {{{"model.embed_tokens.weight", {4, 2}, kWeight}}, "model.embed_tokens.weight"},
      {{{"transformer.wte.weight", {4, 2}, kWeight}, {"transformer.wpe.weight", {1, 2}, {0, 0}}},
       "transformer.wte.weight"},
      {{{"wte.weight", {4, 2}, kWeight}}, "wte.weight"},
      {{{"weight", {4, 2}, kWeight}}, "weight"},
      {{{"output.weight", {4, 2}, kWeight}}, "output.weight"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.weight);
    const auto named = Load(test.tensors);
    ASSERT_THAT(named.status(), IsOk());
    EXPECT_EQ(named->name, "lm");
    EXPECT_EQ(named->weight_name, test.weight);
    EXPECT_EQ(named->source_dtype, "F32");
    EXPECT_EQ(named->fingerprint.size(), 32u);
    EXPECT_FALSE(named->has_bias);
    EXPECT_THAT(LogitsOf(*named, {1, 10}), ElementsAre(21, 43, 65, 87));
  }
}

TEST_F(HeadLoaderTest, BiasNormScaleAndCapAreTaken) {
  const F32Tensor bias = {"lm_head.bias", {4}, {1, 0, 0, -1}};
  auto named = Load({bias, kLmHead});
  ASSERT_THAT(named.status(), IsOk());
  EXPECT_TRUE(named->has_bias);
  EXPECT_THAT(LogitsOf(*named, {1, 10}), ElementsAre(22, 43, 65, 86));
  // (3, 4) / sqrt(12.5) * (1, 0): a root mean square of 1.
  named = Load({kLmHead, {"model.norm.weight", {2}, {2, 0}}}, ",norm=model.norm.weight,norm_eps=0,logit_scale=2");
  ASSERT_THAT(named.status(), IsOk());
  const std::vector<float> logits = LogitsOf(*named, {3, 4}, /*normed=*/true);
  EXPECT_NEAR(logits[0], 2 * 2 * 3 / std::sqrt(12.5), 1e-5);
  EXPECT_NEAR(logits[3], 2 * 7 * 2 * 3 / std::sqrt(12.5), 1e-5);
  named = Load({kLmHead}, ",soft_cap=30");
  ASSERT_THAT(named.status(), IsOk());
  EXPECT_NEAR(LogitsOf(*named, {1, 10})[1], 30 * std::tanh(43.0 / 30), 1e-5);
}

TEST_F(HeadLoaderTest, SixteenBitsAndTheOtherLayoutAreTheSameHead) {
  // 1, 3, 5, 7 and 2, 4, 6, 8 as bfloat16 and as binary16: [2, 4].
  const auto half = [](std::initializer_list<uint16_t> values) {
    std::string bytes;
    for (const uint16_t value : values) bytes.append(reinterpret_cast<const char*>(&value), 2);
    return bytes;
  };
  const std::string bf16 = half({0x3f80, 0x4040, 0x40a0, 0x40e0, 0x4000, 0x4080, 0x40c0, 0x4100});
  const std::string f16 = half({0x3c00, 0x4200, 0x4500, 0x4700, 0x4000, 0x4400, 0x4600, 0x4800});
  for (const auto& [dtype, data] : {std::pair("BF16", bf16), {"F16", f16}}) {
    SCOPED_TRACE(dtype);
    const std::string path = Write(
        Safetensors(std::string(R"({"w":{"dtype":")") + dtype + R"(","shape":[2,4],"data_offsets":[0,16]}})", data));
    const auto named = LoadHead(*ParseHeadSpec("--head", "lm=" + path + ",weight=w,layout=dv"), {});
    ASSERT_THAT(named.status(), IsOk());
    EXPECT_EQ(named->head->vocab_size(), 4);
    EXPECT_EQ(named->source_dtype, dtype);
    EXPECT_THAT(LogitsOf(*named, {1, 10}), ElementsAre(21, 43, 65, 87));
  }
}

TEST_F(HeadLoaderTest, FingerprintsTellWhatWasRead) {
  const auto of = [this](const std::vector<F32Tensor>& tensors, const std::string& keys = "") {
    const auto named = Load(tensors, keys);
    EXPECT_THAT(named.status(), IsOk());
    return named.ok() ? named->fingerprint : "";
  };
  F32Tensor other = kLmHead;
  other.values[7] = 9;
  const F32Tensor bias = {"lm_head.bias", {4}, {0, 0, 0, 0}};
  const std::string first = of({kLmHead});
  EXPECT_EQ(of({kLmHead, {"other", {1}, {3}}}), first);
  EXPECT_NE(of({other}), first);
  EXPECT_NE(of({kLmHead}, ",logit_scale=2"), first);
  EXPECT_NE(of({kLmHead}, ",soft_cap=2"), first);
  EXPECT_NE(of({kLmHead, bias}), first);
  EXPECT_EQ(of({kLmHead, bias}), of({bias, kLmHead}));
}

struct ShapeCase {
  const char* name;
  std::vector<F32Tensor> tensors;
  const char* keys;
  // All in the error.
  std::vector<std::string> parts;
};

TEST_F(HeadLoaderTest, WrongShapesNameBothShapesAndTheAxis) {
  const F32Tensor square = {"lm_head.weight", {2, 2}, {1, 2, 3, 4}};
  const F32Tensor flat = {"lm_head.weight", {8}, kWeight};
  const F32Tensor wide = {"lm_head.weight", {2, 4}, kWeight};
  const ShapeCase cases[] = {
      {"a vector", {flat}, "", {"\"lm_head.weight\"", "[8]", "must have 2 axes, [V, d] or [d, V]"}},
      {"square", {square}, "", {"[2, 2] is square", "layout=vd", "layout=dv"}},
      {"wide", {wide}, "", {"[2, 4] may be [V, d] or [d, V]", "V = 2, d = 4", "V = 4, d = 2"}},
      {"any name", {{"w", {4, 2}, kWeight}}, ",weight=w", {"[4, 2] may be [V, d] or [d, V]"}},
      {"bias of d",
       {kLmHead, {"lm_head.bias", {2}, {0, 0}}},
       ",layout=vd",
       {"bias", "[2], must be [4], axis V", "[4, 2] = [V, d]", "is layout=dv meant?"}},
      {"bias of neither",
       {kLmHead, {"lm_head.bias", {3}, {0, 0, 0}}},
       "",
       {"bias", "[3], must be [4], axis V", "[4, 2] = [V, d]"}},
      {"bias of two axes",
       {kLmHead, {"lm_head.bias", {4, 1}, {0, 0, 0, 0}}},
       "",
       {"bias", "[4, 1], must be [4], axis V"}},
      {"norm of V",
       {kLmHead, {"n", {4}, {0, 0, 0, 0}}},
       ",norm=n,norm_eps=0",
       {"norm", "[4], must be [2], axis d", "[4, 2] = [V, d]"}},
      {"nothing", {{"x", {1}, {0}}}, "", {"no tensor that usually is a head", "weight=NAME", "\"x\""}},
      {"no such tensor", {kLmHead}, ",weight=y", {"no tensor \"y\"", "\"lm_head.weight\""}},
      {"no such bias", {kLmHead}, ",bias=y", {"no tensor \"y\""}},
      {"d beyond the limit",
       {{"lm_head.weight", {1, 65537}, std::vector<float>(65537)}},
       ",layout=vd",
       {"d must be in [1, 65536], got 65537"}},
      {"V of none", {{"lm_head.weight", {0, 2}, {}}}, ",layout=vd", {"V must be in [1, 1048576], got 0"}},
  };
  for (const ShapeCase& test : cases) {
    SCOPED_TRACE(test.name);
    const absl::Status status = Load(test.tensors, test.keys).status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("head lm: ")));
    for (const std::string& part : test.parts) {
      EXPECT_THAT(std::string(status.message()), HasSubstr(part));
    }
  }
  // A bias of V values tells the axes apart.
  EXPECT_THAT(Load({wide, {"lm_head.bias", {4}, {0, 0, 0, 0}}}).status(), IsOk());
}

TEST_F(HeadLoaderTest, TypesThatAreNoWeightsAreRefused) {
  const std::string path =
      Write(Safetensors(R"({"lm_head.weight":{"dtype":"I32","shape":[2,1],"data_offsets":[0,8]}})", std::string(8, 0)));
  EXPECT_THAT(LoadHead(*ParseHeadSpec("--head", "lm=" + path), {}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must be F32, F16 or BF16, got \"I32\"")));
}

TEST_F(HeadLoaderTest, WeightsThatAreNotFiniteAreNamedWithTheirPlace) {
  for (const float value :
       {std::nanf(""), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    F32Tensor bad = kLmHead;
    bad.values[5] = value;
    EXPECT_THAT(Load({bad}).status(),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("head lm: tensor \"lm_head.weight\""), HasSubstr("weights[2][1]"))));
    EXPECT_THAT(Load({kLmHead, {"lm_head.bias", {4}, {0, 0, 0, value}}}).status(),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("tensor \"lm_head.bias\""), HasSubstr("bias[3]"))));
  }
}

TEST_F(HeadLoaderTest, AHeadLargerThanTheMemoryIsNotRead) {
  HeadLoading loading;
  loading.memory_bytes = 100;
  // 16 columns of 2 values.
  EXPECT_THAT(Load({kLmHead}, "", loading).status(),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("it needs 128 bytes (V = 4, d = 2"), HasSubstr("at most 100 bytes"))));
}

TEST_F(HeadLoaderTest, OneOfSeveralFilesHasNoTiedEmbeddings) {
  const F32Tensor embeddings = {"model.embed_tokens.weight", {4, 2}, kWeight};
  EXPECT_THAT(Load({embeddings}, "", {}, "model-00001-of-00002.safetensors").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("one of several files")));
  EXPECT_THAT(Load({embeddings}, ",weight=model.embed_tokens.weight,layout=vd", {}, "model-00001-of-00002.safetensors")
                  .status(),
              IsOk());
  EXPECT_THAT(Load({embeddings}, "", {}, "model-00001-of-00001.safetensors").status(), IsOk());
}

TEST_F(HeadLoaderTest, AnIndexLeadsToTheShards) {
  Write(SafetensorsOf({{"model.embed_tokens.weight", {5, 2}, std::vector<float>(10)}}), "m-1.safetensors");
  Write(SafetensorsOf({kLmHead}), "m-2.safetensors");
  Write(SafetensorsOf({{"lm_head.bias", {4}, {1, 0, 0, -1}}}), "m-3.safetensors");
  const std::string index = Write(
      R"({"weight_map":{"model.embed_tokens.weight":"m-1.safetensors","lm_head.weight":"m-2.safetensors",
          "lm_head.bias":"m-3.safetensors"}})",
      "m.safetensors.index.json");
  const auto named = LoadHead(*ParseHeadSpec("--head", "lm=" + index), {});
  ASSERT_THAT(named.status(), IsOk());
  EXPECT_THAT(LogitsOf(*named, {1, 10}), ElementsAre(22, 43, 65, 86));
  std::filesystem::remove(folder_ / "m-3.safetensors");
  EXPECT_THAT(LoadHead(*ParseHeadSpec("--head", "lm=" + index), {}).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("m-3.safetensors does not exist")));
  Write(SafetensorsOf({{"x", {1}, {1}}}), "m-3.safetensors");
  EXPECT_THAT(CheckHead(*ParseHeadSpec("--head", "lm=" + index), {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("that does not have it")));
}

TEST_F(HeadLoaderTest, CheckHeadReadsNoWeights) {
  F32Tensor bad = kLmHead;
  bad.values[0] = std::nanf("");
  const std::string path = Write(SafetensorsOf({bad}));
  EXPECT_THAT(CheckHead(*ParseHeadSpec("--head", "lm=" + path), {}), IsOk());
  EXPECT_THAT(CheckHead(*ParseHeadSpec("--head", "lm=" + path + "x"), {}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("head lm: file ")));
}

// A child that only pretends to be logitd-llama.
class HeadOfGgufTest : public HeadLoaderTest {
 protected:
  void SetUp() override {
    HeadLoaderTest::SetUp();
    model_ = Write(testing::GgufModel("llama", 1).Bytes(), "m.gguf");
  }
  absl::StatusOr<NamedHead> LoadFrom(const std::string& script) {
    HeadLoading loading;
    loading.runner_program = Script(script);
    return LoadHead(*ParseHeadSpec("--head", "lm=" + model_), loading);
  }
  std::string model_;
};

TEST_F(HeadOfGgufTest, TheChildsStreamIsTheHead) {
  const std::string stream =
      Write(SafetensorsOf({{"output_norm", {2}, {1, 1}}, {"bias", {4}, {1, 0, 0, -1}}, {"weight", {4, 2}, kWeight}},
                          R"("__metadata__":{"norm_eps":"1e-05","logit_scale":"2","source_dtype":"Q8_0",)"
                          R"("weight_name":"token_embd.weight"},)"),
            "stream");
  const auto named = LoadFrom("[ \"$1\" = --write-head ] && [ \"$2\" = " + model_ + " ] && exec cat " + stream);
  ASSERT_THAT(named.status(), IsOk());
  EXPECT_EQ(named->source_dtype, "Q8_0");
  EXPECT_EQ(named->weight_name, "token_embd.weight");
  EXPECT_NE(named->head->output_norm(), nullptr);
  EXPECT_THAT(LogitsOf(*named, {1, 10}), ElementsAre(44, 86, 130, 172));
}

TEST_F(HeadOfGgufTest, AChildThatEndsEarlySaysWhy) {
  EXPECT_THAT(LoadFrom("echo first >&2; echo 'model file m.gguf is broken' >&2; exit 1").status(),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr("head lm: "), HasSubstr("exit status 1: model file m.gguf is broken"))));
  EXPECT_THAT(LoadFrom("kill -SEGV $$").status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("signal SIGSEGV")));
  EXPECT_THAT(LoadFrom("exit 0").status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bytes early")));
  const std::string stream = Write(SafetensorsOf({{"weight", {4, 2}, kWeight}}), "stream");
  EXPECT_THAT(LoadFrom("head -c 100 " + stream + "; kill -BUS $$").status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("signal SIGBUS")));
  EXPECT_THAT(LoadFrom("cat " + stream + "; exit 1").status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("exit status 1")));
}

TEST_F(HeadOfGgufTest, AChildThatLiesIsRefusedAndEnded) {
  EXPECT_THAT(LoadFrom("yes").status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no safetensors")));
  const std::string stream =
      Write(SafetensorsOf({{"weight", {4, 2}, kWeight}}, R"("__metadata__":{"soft_cap":"nan"},)"), "stream");
  EXPECT_THAT(LoadFrom("cat " + stream + "; sleep 60").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("soft_cap makes no sense")));
  HeadLoading loading;
  loading.runner_program = (folder_ / "none").string();
  EXPECT_THAT(LoadHead(*ParseHeadSpec("--head", "lm=" + model_), loading).status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot start")));
}

}  // namespace
}  // namespace logitd::server
