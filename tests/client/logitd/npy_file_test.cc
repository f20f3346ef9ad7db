#include "client/logitd/npy_file.h"

#include <sys/stat.h>

#include <sstream>
#include <thread>

#include "client/logitd/client_error.h"
#include "gmock/gmock.h"
#include "tests/client/logitd/npy_bytes.h"

namespace logitd::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Opens bytes as a file.
absl::StatusOr<NpyFile> OpenBytes(const std::string& bytes, NpyContent content = NpyContent::kLogits,
                                  const std::string& dtype = "") {
  const TemporaryFile file(bytes);
  std::istringstream standard_in;
  // The file is open already when its name goes.
  return NpyFile::Open({"--logits", file.path(), content, dtype}, standard_in);
}

// Why bytes are refused, without flag and file name.
std::string Refusal(const std::string& bytes, NpyContent content = NpyContent::kLogits, const std::string& dtype = "") {
  const absl::StatusOr<NpyFile> file = OpenBytes(bytes, content, dtype);
  if (file.ok()) return "OK";
  EXPECT_TRUE(IsInputError(file.status()));
  const std::string message(file.status().message());
  EXPECT_THAT(message, ::testing::StartsWith("--logits /tmp/logitd-npy-test-"));
  return message.substr(message.find(": ") + 2);
}

const std::string kSix = RawBytes<float>({1, 2, 3, 4, 5, 6});

TEST(NpyFileTest, ReadsPiecesInOrder) {
  absl::StatusOr<NpyFile> file = OpenBytes(SavedArray("<f4", "(2, 3)", kSix));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->type(), NpyType::kF32);
  EXPECT_EQ(file->value_bytes(), 4);
  EXPECT_THAT(file->shape(), ElementsAre(2, 3));
  EXPECT_EQ(file->ShowShape(), "(2, 3)");
  std::string bytes = "what was there goes";
  ASSERT_TRUE(file->Read(2, bytes).ok());
  EXPECT_EQ(bytes, RawBytes<float>({1, 2}));
  ASSERT_TRUE(file->Skip(1).ok());
  ASSERT_TRUE(file->Read(3, bytes).ok());
  EXPECT_EQ(bytes, RawBytes<float>({4, 5, 6}));
  ASSERT_TRUE(file->Skip(0).ok());
}

TEST(NpyFileTest, EveryFormOfAHeaderThatNumpyWritesIsRead) {
  const struct {
    const char* name;
    std::string bytes;
    NpyContent content;
    NpyType type;
    std::vector<int64_t> shape;
  } cases[] = {
      {"version 2",
       NpyBytes("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", kSix, 2),
       NpyContent::kLogits,
       NpyType::kF32,
       {2, 3}},
      {"double where any float is taken",
       SavedArray("<f8", "(1, 2)", RawBytes<double>({0.1, 0.2})),
       NpyContent::kFloats,
       NpyType::kF64,
       {1, 2}},
      {"half where any float is taken", SavedArray("<f2", "(2,)", "abcd"), NpyContent::kFloats, NpyType::kF16, {2}},
      {"version 3",
       NpyBytes("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", kSix, 3),
       NpyContent::kLogits,
       NpyType::kF32,
       {2, 3}},
      {"no spaces, other quotes, other order",
       NpyBytes("{\"shape\":(1,2,3),\"fortran_order\":False,\"descr\":\"<f4\"}", kSix),
       NpyContent::kLogits,
       NpyType::kF32,
       {1, 2, 3}},
      {"a comma at the end",
       NpyBytes("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3, )}", kSix),
       NpyContent::kLogits,
       NpyType::kF32,
       {2, 3}},
      {"half", SavedArray("<f2", "(3,)", "123456"), NpyContent::kLogits, NpyType::kF16, {3}},
      {"int32", SavedArray("<i4", "(2,)", RawBytes<int32_t>({5, 7})), NpyContent::kTokenIds, NpyType::kI32, {2}},
      {"int64", SavedArray("<i8", "(1, 2)", RawBytes<int64_t>({5, 7})), NpyContent::kTokenIds, NpyType::kI64, {1, 2}},
      {"a single value", SavedArray("<f4", "()", "1234"), NpyContent::kLogits, NpyType::kF32, {}},
      {"nothing", SavedArray("<f4", "(0, 5)", ""), NpyContent::kLogits, NpyType::kF32, {0, 5}},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.name);
    const absl::StatusOr<NpyFile> file = OpenBytes(test.bytes, test.content);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->type(), test.type);
    EXPECT_EQ(file->shape(), test.shape);
  }
}

TEST(NpyFileTest, TypesThatAreNotTakenSayWhatToDo) {
  const auto type = [](const std::string& type, NpyContent content = NpyContent::kLogits) {
    return Refusal(SavedArray(type, "(2, 3)", kSix), content);
  };
  EXPECT_EQ(type("<f8"),
            "it holds float64 ('<f8'), and logits are float32 or float16, little endian; save it as float32: "
            "numpy.save(FILE, a.astype('<f4')), or give --dtype f32, which rounds it");
  EXPECT_THAT(type(">f4"), HasSubstr("it holds big-endian float32 ('>f4'), and"));
  EXPECT_THAT(type(">f2"), HasSubstr("as float16: numpy.save(FILE, a.astype('<f2'))"));
  EXPECT_THAT(type("<i8"), HasSubstr("it holds int64 ('<i8'), and logits are"));
  EXPECT_THAT(type("<c8"), HasSubstr("complex64"));
  EXPECT_THAT(type("|b1"), HasSubstr("it holds '|b1', and"));
  EXPECT_THAT(type("<V4"), HasSubstr("it holds '<V4', and"));
  for (const char* bf16 : {"<V2", "|V2"}) {
    EXPECT_THAT(type(bf16), HasSubstr("if they are bfloat16, as ml_dtypes saves it, give --dtype bf16"));
  }
  EXPECT_THAT(type("<f999999999999"), HasSubstr("it holds '<f999999999999'"));
  EXPECT_THAT(type(""), HasSubstr("it holds ''"));
  EXPECT_THAT(type("\x1b[2J"), HasSubstr("'\\x1b[2J'")) << "nothing of a file reaches the terminal as it is";
  EXPECT_THAT(type("<f4", NpyContent::kTokenIds),
              HasSubstr("it holds float32 ('<f4'), and token ids are int32 or int64, little endian; save it as int32"));
  EXPECT_THAT(Refusal(NpyBytes("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", kSix)),
              HasSubstr("records of several fields"));
}

TEST(NpyFileTest, TwoBytesAreBfloat16WhereAFlagSaysSo) {
  const std::string bytes = RawBytes<uint16_t>({0x3f80, 0xc000});
  for (const char* type : {"<V2", "|V2", "<u2", "<i2"}) {
    absl::StatusOr<NpyFile> file = OpenBytes(SavedArray(type, "(2,)", bytes), NpyContent::kLogits, "bf16");
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(file->type(), NpyType::kBf16);
    std::string read;
    ASSERT_TRUE(file->Read(2, read).ok());
    EXPECT_EQ(read, bytes);
  }
  for (const char* type : {">V2", "<V4", "<f4", "<f2", "<f8", "<u4"}) {
    EXPECT_THAT(Refusal(SavedArray(type, "(1,)", std::string(8, '\0')), NpyContent::kLogits, "bf16"),
                HasSubstr("--dtype bf16 is for"))
        << type;
  }
  EXPECT_THAT(Refusal(SavedArray("<f2", "(1,)", "12"), NpyContent::kLogits, "f32"), HasSubstr("--dtype f32 is for"));
  EXPECT_THAT(Refusal(SavedArray("<f4", "(1,)", "1234"), NpyContent::kLogits, "f16"), HasSubstr("--dtype f16 is for"));
  EXPECT_EQ(OpenBytes(SavedArray("<f8", "(1,)", std::string(8, '\0')), NpyContent::kLogits, "f32")->type(),
            NpyType::kF64);
}

TEST(NpyFileTest, FortranOrderIsPutInOrder) {
  const auto values = [](const std::string& shape, const std::vector<float>& stored) {
    absl::StatusOr<NpyFile> file = OpenBytes(
        NpyBytes("{'descr': '<f4', 'fortran_order': True, 'shape': " + shape + ", }", RawBytes<float>(stored)));
    EXPECT_TRUE(file.ok()) << file.status();
    std::string first, rest;
    EXPECT_TRUE(file->Skip(1).ok());
    EXPECT_TRUE(file->Read(2, first).ok());
    EXPECT_TRUE(file->Read(static_cast<int64_t>(stored.size()) - 3, rest).ok());
    std::vector<float> out(stored.size() - 1);
    std::memcpy(out.data(), (first + rest).data(), first.size() + rest.size());
    return out;
  };
  // [[1, 2, 3], [4, 5, 6]]: the first index runs first.
  EXPECT_THAT(values("(2, 3)", {1, 4, 2, 5, 3, 6}), ElementsAre(2, 3, 4, 5, 6));
  // numpy.arange(12).reshape(2, 3, 2) in Fortran order.
  EXPECT_THAT(values("(2, 3, 2)", {0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11}),
              ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11));
  // One dimension that is more than one: both orders are the same.
  EXPECT_THAT(values("(1, 4)", {1, 2, 3, 4}), ElementsAre(2, 3, 4));
  EXPECT_THAT(Refusal(NpyBytes("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", kSix.substr(1))),
              HasSubstr("it was cut off"));
}

TEST(NpyFileTest, MalformedHeadersAreRefused) {
  for (const char* header : {
           "",
           "{",
           "{}",
           "[]",
           "{'descr': '<f4', 'fortran_order': False}",
           "{'descr': '<f4', 'shape': (2, 3)}",
           "{'fortran_order': False, 'shape': (2, 3)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'more': 1}",
           "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'shape': (2, 3)}",
           "{'descr': '<f4' 'fortran_order': False, 'shape': (2, 3)}",
           "{'descr' '<f4', 'fortran_order': False, 'shape': (2, 3)}",
           "{'descr': <f4, 'fortran_order': False, 'shape': (2, 3)}",
           "{'descr': '<f4, 'fortran_order': False, 'shape': (2, 3)}",
           "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3)}",
           "{'descr': '<f4', 'fortran_order': Falsehood, 'shape': (2, 3)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': 6}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (6)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (2 3)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (2,, 3)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (,)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3L)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3.0)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 0x3)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808,)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)} and more",
           "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}}",
           "{'descr': [('a', '<f4', 'fortran_order': False, 'shape': (2, 3)}",
           "{'descr': '<f4', 'fortran_order': False, 'shape': "
           "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,6)}",
       }) {
    SCOPED_TRACE(header);
    EXPECT_EQ(Refusal(NpyBytes(header, kSix)),
              "its header is not that of a .npy file: write one with numpy.save(FILE, a)");
  }
}

TEST(NpyFileTest, WhatIsNoNpyFileIsRefused) {
  EXPECT_THAT(Refusal(""), HasSubstr("not a .npy file"));
  EXPECT_THAT(Refusal("hello, this is text"), HasSubstr("not a .npy file"));
  EXPECT_THAT(Refusal("PK\x03\x04 and so on"), HasSubstr("archive (.npz, .pt)"));
  EXPECT_THAT(Refusal("\x93NUMP"), HasSubstr("not a .npy file"));
  EXPECT_EQ(Refusal("\x93NUMPY\x01"), "it ends within the header");
  EXPECT_EQ(Refusal(std::string("\x93NUMPY\x01\x00\x05", 9)), "it ends within the header");
  EXPECT_EQ(Refusal(std::string("\x93NUMPY\x02\x00\x76\x00\x00", 11)), "it ends within the header");
  EXPECT_EQ(Refusal(SavedArray("<f4", "(2, 3)", kSix).substr(0, 40)), "it ends within the header");
  EXPECT_EQ(Refusal(NpyBytes("{}", "", 4)), "its format version is 4.0, and 1.0, 2.0 and 3.0 can be read");
  EXPECT_EQ(Refusal(NpyBytes("{}", "", 1, 1)), "its format version is 1.1, and 1.0, 2.0 and 3.0 can be read");
  EXPECT_EQ(Refusal(std::string("\x93NUMPY\x02\x00\xff\xff\xff\xff", 12)),
            "its header has 4294967295 bytes, more than the 10000 that an array's header may have");
}

TEST(NpyFileTest, LengthMustBeWhatTheShapeSays) {
  EXPECT_EQ(Refusal(SavedArray("<f4", "(2, 3)", kSix.substr(1))),
            "its shape (2, 3) takes 24 bytes after the header, and the file has 23: it was cut off");
  EXPECT_EQ(Refusal(SavedArray("<f4", "(2, 3)", kSix + "x")),
            "its shape (2, 3) takes 24 bytes after the header, and the file has 25: something else follows");
  EXPECT_EQ(Refusal(SavedArray("<f4", "(0, 3)", "x")),
            "its shape (0, 3) takes 0 bytes after the header, and the file has 1: something else follows");
  EXPECT_EQ(Refusal(SavedArray("<f4", "(4611686018427387904, 4)", kSix)),
            "its shape (4611686018427387904, 4) is larger than any file");
  EXPECT_EQ(Refusal(SavedArray("<f4", "(9223372036854775807,)", kSix)),
            "its shape (9223372036854775807,) is larger than any file");
  EXPECT_EQ(Refusal(SavedArray("<f4", "(4294967296, 4294967296, 4294967296, 0)", "")),
            "its shape (4294967296, 4294967296, 4294967296, 0) is larger than any file");
}

TEST(NpyFileTest, PathsThatCannotBeReadSayWhy) {
  std::istringstream standard_in;
  EXPECT_EQ(NpyFile::Open({"--logits", "/nowhere/a.npy", NpyContent::kLogits}, standard_in).status().message(),
            "--logits /nowhere/a.npy: there is no such file");
  EXPECT_EQ(NpyFile::Open({"--logits", "/tmp", NpyContent::kLogits}, standard_in).status().message(),
            "--logits /tmp: it is a folder");
}

TEST(NpyFileTest, StandardInputIsCheckedAsItIsRead) {
  std::istringstream whole(SavedArray("<f4", "(2, 3)", kSix));
  absl::StatusOr<NpyFile> file = NpyFile::Open({"--logits", "-", NpyContent::kLogits}, whole);
  ASSERT_TRUE(file.ok()) << file.status();
  std::string bytes;
  EXPECT_TRUE(file->Read(4, bytes).ok());
  EXPECT_TRUE(file->Skip(2).ok());

  std::istringstream cut(SavedArray("<f4", "(2, 3)", kSix.substr(0, 18)));
  file = NpyFile::Open({"--logits", "-", NpyContent::kLogits}, cut);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->Read(3, bytes).ok());
  EXPECT_EQ(file->Read(3, bytes).message(), "--logits -: it ends after 4 of its 6 values");

  std::istringstream more(SavedArray("<f4", "(2, 3)", kSix + "x"));
  file = NpyFile::Open({"--logits", "-", NpyContent::kLogits}, more);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->Read(3, bytes).ok());
  EXPECT_EQ(file->Skip(3).message(), "--logits -: something else follows the 6 values that its shape (2, 3) has");
}

TEST(NpyFileTest, ANamedPipeIsReadAndSkippedAsAStream) {
  const TemporaryFile place("");
  const std::string pipe = place.path() + ".pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  // More than a pipe holds at once.
  const std::vector<float> values(300'000, 1.5f);
  std::thread writer(
      [&] { std::ofstream(pipe, std::ios::binary) << SavedArray("<f4", "(300000,)", RawBytes(values)); });
  {
    std::istringstream standard_in;
    absl::StatusOr<NpyFile> file = NpyFile::Open({"--logits", pipe, NpyContent::kLogits}, standard_in);
    ASSERT_TRUE(file.ok()) << file.status();
    std::string bytes;
    EXPECT_TRUE(file->Read(1, bytes).ok());
    EXPECT_TRUE(file->Skip(299'998).ok());
    EXPECT_TRUE(file->Read(1, bytes).ok());
    EXPECT_EQ(bytes, RawBytes<float>({1.5f}));
  }
  writer.join();
  std::filesystem::remove(pipe);
}

}  // namespace
}  // namespace logitd::client
