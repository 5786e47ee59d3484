#include "dormer/comm/traced.hpp"

#include <utility>

#include "dormer/core/error.hpp"

namespace dormer::comm {
namespace {

std::int64_t bytes_of(std::int64_t elements, DType dtype) {
  return elements * static_cast<std::int64_t>(size_of(dtype));
}

class TracedCommunicator final : public Communicator {
 public:
  TracedCommunicator(std::unique_ptr<Communicator> inner, Trace& trace) : inner_(std::move(inner)), trace_(trace) {}

  [[nodiscard]] const Identity& identity() const override { return inner_->identity(); }

  Pending all_reduce(BufferView buffer, ReduceOp op) override {
    const std::int64_t bytes = bytes_of(buffer.count, buffer.dtype);
    count(Operation::kAllReduce, bytes, bytes);
    return inner_->all_reduce(buffer, op);
  }

  Pending reduce_scatter(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) override {
    count(Operation::kReduceScatter, bytes_of(send.count - receive.count, send.dtype),
          bytes_of(receive.count, send.dtype));
    return inner_->reduce_scatter(send, receive, counts);
  }

  Pending all_gather(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) override {
    count(Operation::kAllGather, bytes_of(send.count, send.dtype), bytes_of(receive.count - send.count, send.dtype));
    return inner_->all_gather(send, receive, counts);
  }

  Pending broadcast(BufferView buffer, int root) override {
    const std::int64_t bytes = bytes_of(buffer.count, buffer.dtype);
    count(Operation::kBroadcast, rank() == root ? bytes : 0, rank() == root ? 0 : bytes);
    return inner_->broadcast(buffer, root);
  }

  Pending exchange(std::span<const Send> sends, std::span<const Receive> receives) override {
    std::int64_t sent = 0;
    std::int64_t received = 0;
    for (const Send& message : sends) {
      sent += message.peer == rank() ? 0 : bytes_of(message.buffer.count, message.buffer.dtype);
    }
    for (const Receive& message : receives) {
      received += message.peer == rank() ? 0 : bytes_of(message.buffer.count, message.buffer.dtype);
    }
    count(Operation::kExchange, sent, received);
    return inner_->exchange(sends, receives);
  }

  void barrier() override {
    count(Operation::kBarrier, 0, 0);
    inner_->barrier();
  }

  std::unique_ptr<Communicator> split(int part) override {
    count(Operation::kSplit, 0, 0);
    return traced(inner_->split(part), trace_);
  }

  void finalize() override {
    count(Operation::kFinalize, 0, 0);
    inner_->finalize();
  }

  void abort(int exit_code) noexcept override { inner_->abort(exit_code); }

 private:
  void count(Operation operation, std::int64_t sent, std::int64_t received) {
    Trace::Count& entry = trace_.operations.at(static_cast<std::size_t>(operation));
    ++entry.calls;
    if (size() > 1) {
      entry.bytes_sent += sent;
      entry.bytes_received += received;
    }
  }

  std::unique_ptr<Communicator> inner_;
  Trace& trace_;
};

}  // namespace

Trace::Count Trace::total() const {
  Count sum;
  for (const Count& count : operations) {
    sum.calls += count.calls;
    sum.bytes_sent += count.bytes_sent;
    sum.bytes_received += count.bytes_received;
  }
  return sum;
}

std::unique_ptr<Communicator> traced(std::unique_ptr<Communicator> inner, Trace& trace) {
  return std::make_unique<TracedCommunicator>(std::move(inner), trace);
}

}  // namespace dormer::comm
