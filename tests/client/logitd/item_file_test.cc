#include "client/logitd/item_file.h"

#include <stdlib.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "client/logitd/client_error.h"
#include "client/logitd/file_survey.h"
#include "client/logitd/item_requests.h"
#include "gmock/gmock.h"

namespace logitd::client {
namespace {

using ::testing::HasSubstr;

class ItemFileTest : public ::testing::Test {
 protected:
  ItemFileTest() {
    char folder[] = "/tmp/logitd-item-file-XXXXXX";
    EXPECT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
  }
  ~ItemFileTest() override { std::filesystem::remove_all(folder_); }

  ItemFileOptions Options(bool resume = false) {
    return {.in = folder_ + "/in", .out = folder_ + "/out", .resume = resume, .origin = {{"model", "m"}}};
  }
  void WriteInput(int lines) {
    std::ofstream file(folder_ + "/in");
    for (int i = 0; i < lines; ++i) file << i << "\n";
  }
  std::string Read(const std::string& name) {
    std::ostringstream text;
    text << std::ifstream(folder_ + "/" + name).rdbuf();
    return text.str();
  }
  static std::string Lines(int count) {
    std::string text;
    for (int i = 0; i < count; ++i) absl::StrAppend(&text, "answer ", i, "\n");
    return text;
  }

  std::string folder_;
};

absl::Status AnswerAll(const std::vector<InputLine>& lines, const AnswerLine& put) {
  // The last one first.
  for (size_t i = lines.size(); i > 0; --i) put(i - 1, absl::StrCat("answer ", lines[i - 1].text));
  return absl::OkStatus();
}

TEST_F(ItemFileTest, AnswersComeInTheInputsOrderWhicheverRequestIsDoneFirst) {
  WriteInput(300);
  // The first request waits for the third one.
  std::mutex mutex;
  std::condition_variable changed;
  bool third_is_done = false;
  const auto answer = [&](const std::vector<InputLine>& lines, const AnswerLine& put) {
    std::unique_lock lock(mutex);
    if (lines[0].number == 1) changed.wait(lock, [&] { return third_is_done; });
    third_is_done = third_is_done || lines[0].number == 2 * kItemsPerRequest + 1;
    changed.notify_all();
    return AnswerAll(lines, put);
  };
  const auto counts = AnswerItemFile(Options(), {.answer = answer});
  ASSERT_TRUE(counts.ok()) << counts.status();
  EXPECT_EQ(counts->done, 300);
  EXPECT_EQ(Read("out"), Lines(300));
}

TEST_F(ItemFileTest, ARequestThatIsStuckHoldsTheReadingBack) {
  WriteInput(5000);
  std::mutex mutex;
  std::condition_variable changed;
  int64_t largest = 0;
  bool go_on = false;
  const auto answer = [&](const std::vector<InputLine>& lines, const AnswerLine& put) {
    {
      std::unique_lock lock(mutex);
      largest = std::max(largest, lines.back().number);
      changed.notify_all();
      if (lines[0].number == 1) changed.wait(lock, [&] { return go_on; });
    }
    return AnswerAll(lines, put);
  };
  int64_t seen = 0;
  const auto on_progress = [&](const ItemFileCounts&) {
    std::lock_guard lock(mutex);
    // Called ten times a second: by now nothing more is read.
    go_on = go_on || (largest == seen && largest >= 8 * kItemsPerRequest);
    seen = largest;
    if (!go_on) {
      EXPECT_LE(largest, 8 * kItemsPerRequest);
    }
    changed.notify_all();
  };
  const auto counts = AnswerItemFile(Options(), {.answer = answer, .on_progress = on_progress});
  ASSERT_TRUE(counts.ok()) << counts.status();
  EXPECT_EQ(Read("out"), Lines(5000));
}

TEST_F(ItemFileTest, AnErrorKeepsTheAnswersBeforeItAndAResumeAsksForTheRestAlone) {
  WriteInput(200);
  const auto fail_at_100 = [](const std::vector<InputLine>& lines, const AnswerLine& put) -> absl::Status {
    for (size_t i = 0; i < lines.size(); ++i) {
      if (lines[i].text == "100") return absl::InvalidArgumentError("no");
      put(i, absl::StrCat("answer ", lines[i].text));
    }
    return absl::OkStatus();
  };
  EXPECT_EQ(AnswerItemFile(Options(), {.answer = fail_at_100}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Read("out"), Lines(100));
  std::atomic<int64_t> first = 1000;
  const auto answer = [&](const std::vector<InputLine>& lines, const AnswerLine& put) {
    for (int64_t least = first; lines[0].number < least && !first.compare_exchange_weak(least, lines[0].number);) {
    }
    return AnswerAll(lines, put);
  };
  std::vector<bool> old;
  const auto on_line = [&](int64_t index, std::string_view line, bool is_old) {
    EXPECT_EQ(line, absl::StrCat("answer ", index));
    old.push_back(is_old);
    return absl::OkStatus();
  };
  const auto counts = AnswerItemFile(Options(/*resume=*/true), {.answer = answer, .on_line = on_line});
  ASSERT_TRUE(counts.ok()) << counts.status();
  EXPECT_EQ(counts->resumed, 100);
  EXPECT_EQ(first, 101);
  EXPECT_EQ(std::count(old.begin(), old.end(), true), 100);
  EXPECT_EQ(Read("out"), Lines(200));
}

TEST_F(ItemFileTest, ALineWithoutAnAnswerIsAnError) {
  WriteInput(3);
  const auto answer = [](const std::vector<InputLine>&, const AnswerLine& put) {
    put(0, "answer 0");
    put(0, "once more");
    return absl::OkStatus();
  };
  EXPECT_EQ(AnswerItemFile(Options(), {.answer = answer}).status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(Read("out"), Lines(1));
}

TEST_F(ItemFileTest, TwoJobsDoNotShareAnOutput) {
  WriteInput(3);
  const auto answer = [&](const std::vector<InputLine>& lines, const AnswerLine& put) {
    const auto second = AnswerItemFile(Options(/*resume=*/true), {.answer = AnswerAll});
    EXPECT_THAT(std::string(second.status().message()), HasSubstr("another job writes"));
    EXPECT_TRUE(IsInputError(second.status()));
    return AnswerAll(lines, put);
  };
  EXPECT_TRUE(AnswerItemFile(Options(), {.answer = answer}).ok());
}

TEST_F(ItemFileTest, AnOutputThatIsNoFileIsRefusedAndAMissingFolderIsAWriteError) {
  WriteInput(3);
  std::filesystem::create_symlink("/dev/full", folder_ + "/out");
  EXPECT_TRUE(IsInputError(AnswerItemFile(Options(), {.answer = AnswerAll}).status()));
  ItemFileOptions options = Options();
  options.out = folder_ + "/none/out";
  EXPECT_TRUE(IsWriteError(AnswerItemFile(options, {.answer = AnswerAll}).status()));
}

TEST_F(ItemFileTest, AnInputThatIsNoFileIsRefused) {
  ItemFileOptions options = Options();
  for (const char* in : {"/dev/null", "/tmp", "/nobody"}) {
    options.in = in;
    EXPECT_EQ(ErrorOf(AnswerItemFile(options, {.answer = AnswerAll}).status()).field, "in");
  }
}

TEST_F(ItemFileTest, AnOutputThatWouldReplaceTheInputIsRefused) {
  WriteInput(3);
  const std::string text = Read("in");
  ItemFileOptions options = Options(/*resume=*/true);
  options.out = folder_ + "/./in";
  EXPECT_THAT(std::string(AnswerItemFile(options, {.answer = AnswerAll}).status().message()), HasSubstr("the input"));
  // So would its checkpoint.
  std::filesystem::rename(folder_ + "/in", folder_ + "/out.checkpoint");
  options = Options();
  options.in = folder_ + "/out.checkpoint";
  EXPECT_THAT(std::string(AnswerItemFile(options, {.answer = AnswerAll}).status().message()), HasSubstr("the input"));
  EXPECT_EQ(Read("out.checkpoint"), text);
}

TEST_F(ItemFileTest, TheSurveyHasTheHashOfTheBytes) {
  std::ofstream(folder_ + "/in") << "foobar";
  const auto survey = SurveyFile(folder_ + "/in");
  ASSERT_TRUE(survey.ok());
  EXPECT_EQ(survey->lines, 1);
  EXPECT_EQ(survey->bytes, 6);
  // printf foobar | sha256sum
  EXPECT_EQ(survey->hash, "c3ab8ff13720e8ad9047dd39466b3c8974e592c2fa383d4a3960714caef0c4f2");
}

}  // namespace
}  // namespace logitd::client
