#include "host/available_memory.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <vector>

namespace logitd::host {
namespace {

namespace fs = std::filesystem;

// The value behind `key` in a file of "key value" lines. "MemAvailable:" is in KiB, all others in bytes.
std::optional<int64_t> ValueIn(const fs::path& path, const std::string& key) {
  std::ifstream file(path);
  std::string word;
  int64_t value = 0;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    if (words >> word >> value && word == key) return value;
  }
  return std::nullopt;
}

// The number in a file. Unset: there is no file, or it says "max".
std::optional<int64_t> NumberIn(const fs::path& path) {
  std::ifstream file(path);
  int64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

// cgroup v1 says "no limit" with a number near 2^63.
constexpr int64_t kNoLimit = int64_t{1} << 60;

struct Group {
  fs::path folder;
  bool is_v2 = false;
};

// The mount point of the memory controller's groups, and this process's group. /proc/self/mountinfo has the mount point
// and the mounted part of the tree, /proc/self/cgroup the group. In a container with a namespace of its own the group
// is "/", or begins with the mounted part.
std::vector<Group> GroupsOf(const std::string& root) {
  std::vector<Group> groups;
  std::string v1_path;
  std::string v2_path;
  std::ifstream own(root + "/proc/self/cgroup");
  for (std::string line; std::getline(own, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    if (controllers == ",,") v2_path = line.substr(second + 1);
    if (controllers.find(",memory,") != std::string::npos) v1_path = line.substr(second + 1);
  }
  std::ifstream mounts(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string id, parent, device, mounted, point, options, word;
    words >> id >> parent >> device >> mounted >> point >> options;
    while (words >> word && word != "-") {
    }
    std::string type, source, super;
    words >> type >> source >> super;
    const bool v2 = type == "cgroup2";
    const bool v1 = type == "cgroup" && ("," + super + ",").find(",memory,") != std::string::npos;
    if (!v1 && !v2) continue;
    std::string path = v2 ? v2_path : v1_path;
    if (path.empty()) continue;
    if (mounted != "/" && path.compare(0, mounted.size(), mounted) == 0) path.erase(0, mounted.size());
    groups.push_back({fs::path(root + point + "/" + path).lexically_normal(), v2});
    // From the process's own group up to the one that is mounted.
    const fs::path top = fs::path(root + point).lexically_normal();
    while (groups.back().folder != top && groups.back().folder.string().size() > top.string().size()) {
      groups.push_back({groups.back().folder.parent_path(), v2});
    }
  }
  return groups;
}

struct Room {
  int64_t limit = 0;
  int64_t left = 0;
};

// Unset: the group has no limit.
std::optional<Room> RoomIn(const Group& group) {
  std::optional<int64_t> limit = NumberIn(group.folder / (group.is_v2 ? "memory.max" : "memory.limit_in_bytes"));
  // Beyond memory.high the kernel slows the group down to a crawl.
  const std::optional<int64_t> high = group.is_v2 ? NumberIn(group.folder / "memory.high") : std::nullopt;
  if (high) limit = std::min(*high, limit.value_or(kNoLimit));
  if (!limit || *limit >= kNoLimit) return std::nullopt;
  const int64_t used = NumberIn(group.folder / (group.is_v2 ? "memory.current" : "memory.usage_in_bytes")).value_or(0);
  // The kernel reclaims clean pages of files when memory is short.
  int64_t cached = 0;
  for (const char* list : {"inactive_file", "active_file"}) {
    cached += ValueIn(group.folder / "memory.stat", (group.is_v2 ? "" : "total_") + std::string(list)).value_or(0);
  }
  return Room{*limit, std::clamp<int64_t>(*limit - used + std::min(cached, used), 0, *limit)};
}

}  // namespace

AvailableMemory MeasureAvailableMemory(const std::string& root) {
  AvailableMemory memory{std::numeric_limits<int64_t>::max(), "this machine"};
  if (const auto kib = ValueIn(root + "/proc/meminfo", "MemAvailable:")) memory.bytes = *kib * 1024;
  for (const Group& group : GroupsOf(root)) {
    const std::optional<Room> room = RoomIn(group);
    if (!room || room->left >= memory.bytes) continue;
    memory.bytes = room->left;
    memory.bound = "the control group's limit of " + ByteText(room->limit);
  }
  return memory;
}

std::string ByteText(int64_t bytes) {
  char text[64];
  const double mib = static_cast<double>(bytes) / (1 << 20);
  if (mib >= 1024) {
    std::snprintf(text, sizeof(text), "%.1f GiB", mib / 1024);
  } else {
    std::snprintf(text, sizeof(text), mib >= 10 ? "%.0f MiB" : "%.1f MiB", mib);
  }
  return text;
}

}  // namespace logitd::host
