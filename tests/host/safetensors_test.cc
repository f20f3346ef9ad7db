#include "host/safetensors.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/testing/matchers.h"
#include "tests/testing/safetensors_file.h"

namespace logitd::host {
namespace {

using ::logitd::testing::IsOk;
using ::logitd::testing::Safetensors;
using ::logitd::testing::SafetensorsOf;
using ::logitd::testing::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SafetensorsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(::testing::TempDir()) / ("safetensors_test." + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& bytes, const std::string& name = "m.safetensors") {
    const std::string path = (folder_ / name).string();
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }
  // A pipe that gives these bytes and then ends.
  static int PipeOf(const std::string& bytes) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    std::thread([write_end = ends[1], bytes] {
      for (size_t done = 0; done < bytes.size();) {
        const ssize_t size = ::write(write_end, bytes.data() + done, std::min<size_t>(bytes.size() - done, 7));
        if (size <= 0) break;
        done += static_cast<size_t>(size);
      }
      ::close(write_end);
    }).detach();
    return ends[0];
  }
  static std::vector<float> Floats(SafetensorsReader& reader, const std::string& name, uint64_t unit = 4) {
    std::string all;
    const SafetensorsTensor* tensor = reader.header().Find(name);
    EXPECT_NE(tensor, nullptr);
    EXPECT_THAT(reader.Read(*tensor, unit,
                            [&](std::string_view bytes) {
                              EXPECT_EQ(bytes.size() % unit, 0u);
                              all += bytes;
                              return absl::OkStatus();
                            }),
                IsOk());
    std::vector<float> values(all.size() / 4);
    std::memcpy(values.data(), all.data(), all.size());
    return values;
  }

  std::filesystem::path folder_;
};

TEST_F(SafetensorsTest, TensorsOfAFileAreReadAndOthersSkipped) {
  const std::string path = Write(SafetensorsOf({{"a", {2}, {1, 2}}, {"b", {1, 3}, {3, 4, 5}}, {"c", {1}, {6}}},
                                               R"("__metadata__":{"format":"pt"},)"));
  auto reader = SafetensorsReader::Open(path);
  ASSERT_THAT(reader.status(), IsOk());
  EXPECT_EQ(reader->header().metadata.at("format"), "pt");
  EXPECT_THAT(reader->header().Find("b")->shape, ElementsAre(1, 3));
  EXPECT_EQ(reader->header().Find("d"), nullptr);
  EXPECT_THAT(Floats(*reader, "a"), ElementsAre(1, 2));
  EXPECT_THAT(Floats(*reader, "c"), ElementsAre(6));
  EXPECT_THAT(reader->CheckUnchanged(), IsOk());
}

TEST_F(SafetensorsTest, AStreamIsReadWithoutGoingBack) {
  const std::string bytes = SafetensorsOf({{"a", {2}, {1, 2}}, {"b", {3}, {3, 4, 5}}, {"c", {1}, {6}}});
  auto reader = SafetensorsReader::FromPipe(PipeOf(bytes), "the stream", {});
  ASSERT_THAT(reader.status(), IsOk());
  EXPECT_THAT(Floats(*reader, "b", 12), ElementsAre(3, 4, 5));
  EXPECT_THAT(reader->CheckUnchanged(), IsOk());

  auto longer = SafetensorsReader::FromPipe(PipeOf(bytes + "x"), "the stream", {});
  ASSERT_THAT(longer.status(), IsOk());
  EXPECT_THAT(longer->CheckUnchanged(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("goes on")));
}

TEST_F(SafetensorsTest, AStreamThatBreaksOffSaysWhere) {
  const std::string bytes = SafetensorsOf({{"a", {2}, {1, 2}}});
  for (size_t size = 0; size < bytes.size(); ++size) {
    SCOPED_TRACE(size);
    auto reader = SafetensorsReader::FromPipe(PipeOf(bytes.substr(0, size)), "the stream", {});
    absl::Status status = reader.status();
    if (status.ok()) {
      status = reader->Read(*reader->header().Find("a"), 4, [](std::string_view) { return absl::OkStatus(); });
    }
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                                 AllOf(HasSubstr("the stream"), HasSubstr("truncated"), HasSubstr("bytes early"))));
  }
}

TEST_F(SafetensorsTest, ASilentStreamIsGivenUp) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  StreamPatience patience;
  patience.silence_limit_ms = 150;
  EXPECT_THAT(SafetensorsReader::FromPipe(ends[0], "the stream", patience).status(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("nothing for 150 ms")));
  ::close(ends[1]);
  ASSERT_EQ(::pipe(ends), 0);
  patience.give_up = [] { return true; };
  EXPECT_THAT(SafetensorsReader::FromPipe(ends[0], "the stream", patience).status(),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("no longer wanted")));
  ::close(ends[1]);
}

TEST_F(SafetensorsTest, AFileIsRefusedAtEveryLengthButItsOwn) {
  const std::string bytes = SafetensorsOf({{"a", {2}, {1, 2}}});
  for (size_t size = 0; size < bytes.size(); ++size) {
    SCOPED_TRACE(size);
    EXPECT_THAT(SafetensorsReader::Open(Write(bytes.substr(0, size))).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("truncated or damaged")));
  }
  EXPECT_THAT(SafetensorsReader::Open(Write(bytes + "x")).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("its header describes 8 bytes")));
}

TEST_F(SafetensorsTest, AFileThatShrinksWhileItIsReadIsAnError) {
  const std::string path = Write(SafetensorsOf({{"a", {1 << 20}, std::vector<float>(1 << 20)}}));
  auto reader = SafetensorsReader::Open(path);
  ASSERT_THAT(reader.status(), IsOk());
  int pieces = 0;
  const absl::Status status = reader->Read(*reader->header().Find("a"), 4, [&](std::string_view) {
    if (++pieces == 1) std::filesystem::resize_file(path, 2 << 20);
    return absl::OkStatus();
  });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("changed while it was read")));
}

TEST_F(SafetensorsTest, AFileThatChangesWhileItIsReadIsAnError) {
  const std::string bytes = SafetensorsOf({{"a", {2}, {1, 2}}});
  const std::string path = Write(bytes);
  auto reader = SafetensorsReader::Open(path);
  ASSERT_THAT(reader.status(), IsOk());
  EXPECT_THAT(Floats(*reader, "a"), ElementsAre(1, 2));
  // Of the same size, at another time.
  std::fstream(path, std::ios::binary | std::ios::in | std::ios::out) << bytes;
  const timespec times[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  EXPECT_THAT(reader->CheckUnchanged(),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(path), HasSubstr("changed"))));
}

TEST_F(SafetensorsTest, AnErrorOfTheReceiverEndsTheReading) {
  auto reader = SafetensorsReader::Open(Write(SafetensorsOf({{"a", {2}, {1, 2}}})));
  ASSERT_THAT(reader.status(), IsOk());
  EXPECT_THAT(reader->Read(*reader->header().Find("a"), 4, [](std::string_view) { return absl::DataLossError("no"); }),
              StatusIs(absl::StatusCode::kDataLoss, "no"));
}

TEST_F(SafetensorsTest, WhatIsNoFileIsNamed) {
  EXPECT_THAT(SafetensorsReader::Open((folder_ / "none").string()).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("does not exist")));
  EXPECT_THAT(SafetensorsReader::Open(folder_.string()).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no regular file")));
  const std::string pipe = (folder_ / "pipe").string();
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(SafetensorsReader::Open(pipe).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no regular file")));
}

struct HeaderCase {
  const char* name;
  const char* json;
  const char* what;
};

TEST_F(SafetensorsTest, AHeaderThatLiesIsRefusedWithTheReason) {
  const HeaderCase cases[] = {
      {"no JSON", "not json", "does not begin with {"},
      {"unfinished", R"({"a":)", "no JSON at byte"},
      {"more after the end", R"({} {})", "no JSON at byte"},
      {"not UTF-8", "{\"\xff\":{}}", "no JSON at byte"},
      {"a list", R"({"a":[1]})", "a list where the format does not allow it"},
      {"a number", R"({"a":1})", "a number where"},
      {"null", R"({"a":null})", "null where"},
      {"deep", R"({"a":{"shape":[[[[[]]]]]}})", "a list where"},
      {"an object in a list", R"({"a":{"shape":[{}]}})", "an object where"},
      {"metadata of numbers", R"({"__metadata__":{"a":1}})", "a number where"},
      {"nothing in a tensor", R"({"a":{}})", "tensor 'a' of its header lacks dtype, shape or data_offsets"},
      {"an unknown key", R"({"a":{"color":"red"}})", "has the key 'color'"},
      {"a negative length", R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "a number below 0"},
      {"half a length", R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", "not whole"},
      {"one offset", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4]}})", "no interval"},
      {"three offsets", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", "no interval"},
      {"backwards", R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", "no interval"},
      {"too few bytes", R"({"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,20]}})",
       "of shape [2, 3] and type F32 needs 24 bytes, its data_offsets give 20"},
      {"beyond 64 bits", R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]}})",
       "beyond 2^64"},
      {"17 dimensions", R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})",
       "16 dimensions"},
      {"twice",
       R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
       "is there twice"},
      {"two types", R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "two types"},
      {"two shapes", R"({"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})", "two lists of shape"},
      {"a gap", R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "begins at byte 1"},
      {"an overlap",
       R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
       "tensor 'b' begins at byte 1, the one before ends at byte 2"},
  };
  for (const HeaderCase& test : cases) {
    SCOPED_TRACE(test.name);
    EXPECT_THAT(ParseSafetensorsHeader(test.json).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test.what)));
    EXPECT_THAT(SafetensorsReader::Open(Write(Safetensors(test.json, std::string(8, '\0')))).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test.what)));
  }
}

TEST_F(SafetensorsTest, AHeaderLongerThanTheFileOrTheFormatIsNotAllocated) {
  std::string bytes(16, '\0');
  const uint64_t sizes[] = {9, 100'000'000, 100'000'001, uint64_t{1} << 40, ~uint64_t{0}};
  for (const uint64_t size : sizes) {
    SCOPED_TRACE(size);
    std::memcpy(bytes.data(), &size, sizeof(size));
    EXPECT_THAT(SafetensorsReader::Open(Write(bytes)).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(std::to_string(size) + " bytes")));
  }
}

TEST_F(SafetensorsTest, TypesOfTheFutureAreLeftToTheirReader) {
  const auto header = ParseSafetensorsHeader(R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})");
  ASSERT_THAT(header.status(), IsOk());
  EXPECT_EQ(header->Find("a")->dtype, "F4");
}

TEST_F(SafetensorsTest, AnIndexNamesFilesOfItsOwnFolder) {
  const auto index = [this](const std::string& json) { return ReadSafetensorsIndex(Write(json, "m.index.json")); };
  const auto files =
      index(R"({"metadata":{"total_size":1},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}})");
  ASSERT_THAT(files.status(), IsOk());
  EXPECT_EQ(files->at("b"), "m-2.safetensors");
  for (const char* json :
       {"{", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{"a":1}})", R"({"weight_map":{"a":"../x"}})",
        R"({"weight_map":{"a":".."}})", R"({"weight_map":{"a":{"b":"c"}}})", R"({"weight_map":{"a":""}})"}) {
    SCOPED_TRACE(json);
    EXPECT_THAT(index(json).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("m.index.json")));
  }
  EXPECT_THAT(index(std::string(100'000, '[')).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no index")));
  EXPECT_THAT(ReadSafetensorsIndex((folder_ / "none").string()).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("does not exist")));
}

}  // namespace
}  // namespace logitd::host
