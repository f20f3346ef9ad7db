// Memory for rows on their way to the server. Buffers are reused, so that a row is copied once, into memory that exists
// already.
//
//   auto buffers = RowBuffers::Make(/*buffer_bytes=*/4 << 20);
//   RowBuffer buffer = buffers->Take();
//   buffer.Append(row.data(), row.size_bytes());
//   grpc::Slice slice = std::move(buffer).ToSlice();  // the memory comes back when gRPC has sent it
#ifndef LOGITD_CLIENT_RUNNER_ROW_BUFFERS_H_
#define LOGITD_CLIENT_RUNNER_ROW_BUFFERS_H_

#include <grpcpp/support/slice.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

namespace logitd::runner {

class RowBuffers;

// A buffer of fixed capacity, which takes memory at its first Append. One thread.
class RowBuffer {
 public:
  RowBuffer() = default;
  explicit RowBuffer(std::shared_ptr<RowBuffers> source) : source_(std::move(source)) {}
  RowBuffer(RowBuffer&&) = default;
  RowBuffer& operator=(RowBuffer&&) = default;
  ~RowBuffer();

  // REQUIRES: the bytes fit.
  void Append(const void* bytes, size_t count);
  // Removes all but the first `size` bytes. REQUIRES: size <= size().
  void Truncate(size_t size) { size_ = size; }
  size_t size() const { return size_; }
  const char* data() const { return memory_.get(); }

  // Hands its bytes to gRPC and leaves the buffer empty.
  grpc::Slice ToSlice() &&;

 private:
  std::shared_ptr<RowBuffers> source_;
  std::unique_ptr<char[]> memory_;
  size_t size_ = 0;
};

// Thread-safe.
class RowBuffers : public std::enable_shared_from_this<RowBuffers> {
 public:
  static std::shared_ptr<RowBuffers> Make(size_t buffer_bytes);

  RowBuffer Take() { return RowBuffer(shared_from_this()); }
  size_t buffer_bytes() const { return buffer_bytes_; }

 private:
  friend class RowBuffer;

  explicit RowBuffers(size_t buffer_bytes) : buffer_bytes_(buffer_bytes) {}
  std::unique_ptr<char[]> TakeMemory();
  void GiveBack(std::unique_ptr<char[]> memory);

  const size_t buffer_bytes_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<char[]>> free_;
};

}  // namespace logitd::runner

#endif  // LOGITD_CLIENT_RUNNER_ROW_BUFFERS_H_
