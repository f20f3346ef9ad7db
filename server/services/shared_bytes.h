// One copy of a reply that is sent again and again: all clients that have not read it yet hold the same buffer.
#ifndef LOGITD_SERVER_SERVICES_SHARED_BYTES_H_
#define LOGITD_SERVER_SERVICES_SHARED_BYTES_H_

#include <grpcpp/support/byte_buffer.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <vector>

namespace logitd::server {

// Thread-safe.
class SharedBytes {
 public:
  // If `bytes` equal those of the last call, makes them the same buffer. Else later calls may share these.
  void Share(grpc::ByteBuffer& bytes) {
    std::lock_guard lock(mutex_);
    if (IsEqual(bytes, last_)) {
      // gRPC's buffers are reference-counted: this copies no bytes.
      bytes = last_;
    } else {
      last_ = bytes;
    }
  }

 private:
  static bool IsEqual(const grpc::ByteBuffer& left, const grpc::ByteBuffer& right) {
    if (!left.Valid() || !right.Valid() || left.Length() != right.Length()) return false;
    std::vector<grpc::Slice> lefts, rights;
    if (!left.Dump(&lefts).ok() || !right.Dump(&rights).ok()) return false;
    // The same code wrote both, so they are cut at the same places.
    return std::equal(lefts.begin(), lefts.end(), rights.begin(), rights.end(), [](const auto& a, const auto& b) {
      return a.size() == b.size() && (a.size() == 0 || std::memcmp(a.begin(), b.begin(), a.size()) == 0);
    });
  }

  std::mutex mutex_;
  grpc::ByteBuffer last_;
};

}  // namespace logitd::server

#endif  // LOGITD_SERVER_SERVICES_SHARED_BYTES_H_
