#include "server/http_child.h"

#include <stdlib.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <mutex>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace logitd::server {
namespace {

using ::testing::Eq;
using ::testing::Optional;

// Waits for what a child changes.
class Changes {
 public:
  std::function<void()> Told() {
    return [this] {
      std::lock_guard lock(mutex_);
      changed_.notify_all();
    };
  }
  // `holds` is true within 30 s. It is asked again after each change, and now and then.
  bool WaitFor(const std::function<bool()>& holds) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    std::unique_lock lock(mutex_);
    while (!holds()) {
      if (std::chrono::steady_clock::now() > until) return false;
      changed_.wait_for(lock, std::chrono::milliseconds(20));
    }
    return true;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
};

class Folder {
 public:
  Folder() {
    std::string path = ::testing::TempDir() + "/logitd-XXXXXX";
    path_ = ::mkdtemp(path.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string File(const std::string& name) const { return path_ + "/" + name; }
  std::string Read(const std::string& name) const {
    std::ifstream file(File(name));
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

 private:
  std::string path_;
};

// A program in the shell's language, which gets --listen and the address as $1 and $2.
HttpChildOptions Script(const std::string& text, const std::string& listen = "127.0.0.1:0") {
  return {{"/bin/sh", "-c", text, "sh"}, listen, std::chrono::seconds(30)};
}

TEST(HttpChildTest, ListensOnTheSamePortAgain) {
  const Folder folder;
  Changes changes;
  HttpChild child(
      Script("echo \"$1 $2\" >>" + folder.File("starts") + "; echo listening on 127.0.0.1:4321; sleep 1; exit 3"),
      changes.Told());
  const std::string starts = "--listen 127.0.0.1:0\n--listen 127.0.0.1:4321\n--listen 127.0.0.1:4321\n";
  EXPECT_TRUE(changes.WaitFor([&] { return folder.Read("starts").starts_with(starts); })) << folder.Read("starts");
  EXPECT_THAT(child.address(), Optional(Eq("127.0.0.1:4321")));
  EXPECT_EQ(child.failure(), std::nullopt);
}

TEST(HttpChildTest, EndBeforeItListensIsAFailureWithItsReason) {
  Changes changes;
  HttpChild child(Script("echo logitd-http: the port is taken >&2; exit 1"), changes.Told());
  EXPECT_TRUE(changes.WaitFor([&] { return child.failure().has_value(); }));
  EXPECT_THAT(child.failure(), Optional(Eq("exit status 1: logitd-http: the port is taken")));
  EXPECT_EQ(child.address(), std::nullopt);
}

TEST(HttpChildTest, MissingProgramIsAFailure) {
  Changes changes;
  HttpChild child({{"/nowhere/logitd-http"}, "127.0.0.1:0", std::chrono::seconds(1)}, changes.Told());
  EXPECT_TRUE(changes.WaitFor([&] { return child.failure().has_value(); }));
  EXPECT_THAT(child.failure(), Optional(Eq("cannot start /nowhere/logitd-http")));
}

TEST(HttpChildTest, DestructorWaitsForTheRequestsInWork) {
  const Folder folder;
  Changes changes;
  {
    HttpChild child(Script("trap 'sleep 0.2; echo done >" + folder.File("end") +
                           "; exit 0' TERM; echo listening on 127.0.0.1:1; while :; do sleep 0.02; done"),
                    changes.Told());
    ASSERT_TRUE(changes.WaitFor([&] { return child.address().has_value(); }));
  }
  EXPECT_EQ(folder.Read("end"), "done\n");
}

TEST(HttpChildTest, ItIsKilledWhenItDoesNotEnd) {
  Changes changes;
  const auto began = std::chrono::steady_clock::now();
  {
    HttpChildOptions options = Script("trap '' TERM; echo listening on 127.0.0.1:1; while :; do sleep 0.02; done");
    options.grace_period = std::chrono::milliseconds(50);
    HttpChild child(options, changes.Told());
    ASSERT_TRUE(changes.WaitFor([&] { return child.address().has_value(); }));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(20));
}

}  // namespace
}  // namespace logitd::server
