#include "host/available_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace logitd::host {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMiB = 1 << 20;

// The files of /proc and /sys, below a folder of the test's own.
class AvailableMemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + "/available_memory_test." + std::to_string(getpid());
    Write("/proc/meminfo", "MemTotal: 9000000 kB\nMemFree: 1000 kB\nMemAvailable: 4096000 kB\n");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }

  void MountV1(const std::string& mounted, const std::string& own) {
    Write("/proc/self/mountinfo", "35 31 0:32 " + mounted +
                                      " /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
                                      "36 31 0:33 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n");
    Write("/proc/self/cgroup", "8:pids:/\n4:memory:" + own + "\n1:cpu:/x\n0::/\n");
  }

  void MountV2(const std::string& own) {
    Write("/proc/self/mountinfo", "35 31 0:32 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
    Write("/proc/self/cgroup", "0::" + own + "\n");
  }

  std::string root_;
};

TEST_F(AvailableMemoryTest, WithoutAGroupItIsWhatTheMachineHas) {
  const AvailableMemory memory = MeasureAvailableMemory(root_);
  EXPECT_EQ(memory.bytes, 4096000 * int64_t{1024});
  EXPECT_EQ(memory.bound, "this machine");
}

TEST_F(AvailableMemoryTest, AGroupOfV1LeavesItsLimitLessWhatIsUsedButForCachedFiles) {
  MountV1("/", "/a");
  Write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  Write("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", std::to_string(2048 * kMiB) + "\n");
  Write("/sys/fs/cgroup/memory/a/memory.usage_in_bytes", std::to_string(700 * kMiB) + "\n");
  Write("/sys/fs/cgroup/memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file " + std::to_string(300 * kMiB) +
                                                   "\ntotal_active_file " + std::to_string(100 * kMiB) + "\n");
  const AvailableMemory memory = MeasureAvailableMemory(root_);
  EXPECT_EQ(memory.bytes, (2048 - 700 + 400) * kMiB);
  EXPECT_THAT(memory.bound, HasSubstr("limit of 2.0 GiB"));
}

TEST_F(AvailableMemoryTest, OfNestedGroupsTheTightestCounts) {
  MountV2("/pod/container");
  Write("/sys/fs/cgroup/pod/container/memory.max", "max\n");
  Write("/sys/fs/cgroup/pod/container/memory.current", "1\n");
  Write("/sys/fs/cgroup/pod/memory.max", std::to_string(1024 * kMiB) + "\n");
  Write("/sys/fs/cgroup/pod/memory.current", std::to_string(1000 * kMiB) + "\n");
  Write("/sys/fs/cgroup/pod/memory.stat", "anon 5\ninactive_file " + std::to_string(200 * kMiB) + "\nactive_file 0\n");
  EXPECT_EQ(MeasureAvailableMemory(root_).bytes, (1024 - 1000 + 200) * kMiB);
  // Where memory.high slows the group down, it is full.
  Write("/sys/fs/cgroup/pod/memory.high", std::to_string(900 * kMiB) + "\n");
  EXPECT_EQ(MeasureAvailableMemory(root_).bytes, (900 - 1000 + 200) * kMiB);
}

TEST_F(AvailableMemoryTest, InAContainerTheMountShowsTheOwnGroupAsTheRoot) {
  MountV1("/docker/0123", "/docker/0123");
  Write("/sys/fs/cgroup/memory/memory.limit_in_bytes", std::to_string(512 * kMiB) + "\n");
  Write("/sys/fs/cgroup/memory/memory.usage_in_bytes", std::to_string(12 * kMiB) + "\n");
  EXPECT_EQ(MeasureAvailableMemory(root_).bytes, 500 * kMiB);
}

TEST_F(AvailableMemoryTest, AGroupThatIsOverItsLimitHasNothingLeft) {
  MountV2("/");
  Write("/sys/fs/cgroup/memory.max", std::to_string(100 * kMiB) + "\n");
  Write("/sys/fs/cgroup/memory.current", std::to_string(120 * kMiB) + "\n");
  EXPECT_EQ(MeasureAvailableMemory(root_).bytes, 0);
}

TEST_F(AvailableMemoryTest, BytesForPeople) {
  EXPECT_EQ(ByteText(int64_t{1717986918}), "1.6 GiB");
  EXPECT_EQ(ByteText(640 * kMiB), "640 MiB");
  EXPECT_EQ(ByteText(kMiB / 2), "0.5 MiB");
}

}  // namespace
}  // namespace logitd::host
