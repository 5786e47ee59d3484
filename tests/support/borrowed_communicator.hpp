#pragma once

#include <memory>

#include "dormer/comm/communicator.hpp"

namespace dormer::testing {

/// Hands on to a communicator that somebody else owns, so that a test can wrap it in decorators.
class BorrowedCommunicator : public comm::Communicator {
 public:
  explicit BorrowedCommunicator(comm::Communicator& inner) : inner_(inner) {}
  [[nodiscard]] const comm::Identity& identity() const override { return inner_.identity(); }
  comm::Pending all_reduce(BufferView buffer, comm::ReduceOp op) override { return inner_.all_reduce(buffer, op); }
  comm::Pending reduce_scatter(ConstBufferView send, BufferView receive,
                               std::span<const std::int64_t> counts) override {
    return inner_.reduce_scatter(send, receive, counts);
  }
  comm::Pending all_gather(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) override {
    return inner_.all_gather(send, receive, counts);
  }
  comm::Pending broadcast(BufferView buffer, int root) override { return inner_.broadcast(buffer, root); }
  comm::Pending exchange(std::span<const comm::Send> sends, std::span<const comm::Receive> receives) override {
    return inner_.exchange(sends, receives);
  }
  void barrier() override { inner_.barrier(); }
  std::unique_ptr<comm::Communicator> split(int part) override { return inner_.split(part); }
  void finalize() override {}  // the owner's
  void abort(int exit_code) noexcept override { inner_.abort(exit_code); }

 private:
  comm::Communicator& inner_;
};

inline std::unique_ptr<comm::Communicator> borrowed(comm::Communicator& inner) {
  return std::make_unique<BorrowedCommunicator>(inner);
}

}  // namespace dormer::testing
