#include "server/services/shared_bytes.h"

#include <grpcpp/grpcpp.h>

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace logitd::server {
namespace {

// Long enough to be on the heap.
grpc::ByteBuffer BufferOf(char c, size_t length) {
  const grpc::Slice slice(std::string(length, c));
  return grpc::ByteBuffer(&slice, 1);
}

const uint8_t* PlaceOf(const grpc::ByteBuffer& bytes) {
  grpc::Slice slice;
  EXPECT_TRUE(bytes.TrySingleSlice(&slice).ok());
  return slice.begin();
}

TEST(SharedBytesTest, EqualRepliesAreOneBuffer) {
  SharedBytes shared;
  std::vector<grpc::ByteBuffer> replies;
  for (int i = 0; i < 3; ++i) {
    replies.push_back(BufferOf('a', 1000));
    shared.Share(replies.back());
    EXPECT_EQ(PlaceOf(replies.back()), PlaceOf(replies.front()));
  }
}

TEST(SharedBytesTest, OthersAreLeftAsTheyAre) {
  SharedBytes shared;
  std::vector<grpc::ByteBuffer> replies = {BufferOf('a', 1000), BufferOf('b', 1000), BufferOf('b', 1001),
                                           BufferOf('b', 0), BufferOf('a', 1000)};
  for (grpc::ByteBuffer& reply : replies) shared.Share(reply);
  grpc::Slice slice;
  const std::string expected[] = {std::string(1000, 'a'), std::string(1000, 'b'), std::string(1001, 'b'), "",
                                  std::string(1000, 'a')};
  for (size_t i = 0; i < replies.size(); ++i) {
    ASSERT_EQ(replies[i].Length(), expected[i].size());
    if (expected[i].empty()) continue;
    ASSERT_TRUE(replies[i].TrySingleSlice(&slice).ok());
    EXPECT_EQ(std::string(slice.begin(), slice.end()), expected[i]);
  }
  EXPECT_NE(PlaceOf(replies[0]), PlaceOf(replies[4])) << "only the last reply is kept";
}

}  // namespace
}  // namespace logitd::server
