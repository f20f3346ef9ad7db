#include "client/cli/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <ostream>
#include <string>

#include "gmock/gmock.h"

namespace logitd::cli {
namespace {

TEST(OutputFileTest, WhatIsWrittenArrivesWholeAndInOrder) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  OutputFile file(ends[1]);
  std::ostream out(&file);
  out << "one" << ' ' << 2 << std::flush << '\n' << std::string(3000, 'x') << std::flush;
  ::close(ends[1]);
  std::string read(4000, ' ');
  read.resize(static_cast<size_t>(::read(ends[0], read.data(), read.size())));
  ::close(ends[0]);
  EXPECT_EQ(read, "one 2\n" + std::string(3000, 'x'));
  EXPECT_EQ(file.error(), 0);
  EXPECT_TRUE(out);
}

TEST(OutputFileTest, TheReasonOfAFailureIsKept) {
  const int full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
  OutputFile file(full);
  std::ostream out(&file);
  out << "kept back";
  EXPECT_EQ(file.error(), 0);
  out << std::flush << "more";
  EXPECT_EQ(file.error(), ENOSPC);
  EXPECT_FALSE(out);
  ::close(full);
}

}  // namespace
}  // namespace logitd::cli
