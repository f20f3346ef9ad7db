#include "client/runner/row_buffers.h"

#include <cstring>
#include <utility>

namespace logitd::runner {
namespace {

// One buffer is filled while others are being sent. Further buffers are freed.
constexpr size_t kFreeBuffers = 4;

}  // namespace

RowBuffer::~RowBuffer() {
  if (memory_ != nullptr) source_->GiveBack(std::move(memory_));
}

void RowBuffer::Append(const void* bytes, size_t count) {
  if (memory_ == nullptr) memory_ = source_->TakeMemory();
  std::memcpy(memory_.get() + size_, bytes, count);
  size_ += count;
}

grpc::Slice RowBuffer::ToSlice() && {
  if (memory_ == nullptr) return grpc::Slice();
  char* bytes = memory_.get();
  const size_t size = size_;
  // gRPC owns the buffer until its bytes have been sent.
  auto sent = std::make_unique<RowBuffer>(std::move(*this));
  size_ = 0;
  return grpc::Slice(
      bytes, size, [](void* held) { delete static_cast<RowBuffer*>(held); }, sent.release());
}

std::shared_ptr<RowBuffers> RowBuffers::Make(size_t buffer_bytes) {
  return std::shared_ptr<RowBuffers>(new RowBuffers(buffer_bytes));
}

std::unique_ptr<char[]> RowBuffers::TakeMemory() {
  std::lock_guard lock(mutex_);
  // Not value-initialised, so that unused memory is never touched.
  if (free_.empty()) return std::unique_ptr<char[]>(new char[buffer_bytes_]);
  std::unique_ptr<char[]> memory = std::move(free_.back());
  free_.pop_back();
  return memory;
}

void RowBuffers::GiveBack(std::unique_ptr<char[]> memory) {
  std::lock_guard lock(mutex_);
  if (free_.size() < kFreeBuffers) free_.push_back(std::move(memory));
}

}  // namespace logitd::runner
