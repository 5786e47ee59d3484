#include "dormer/comm/watched.hpp"

#include <memory>
#include <utility>

namespace dormer::comm {
namespace {

std::int64_t bytes_of(ConstBufferView buffer) {
  return static_cast<std::int64_t>(buffer.bytes());
}

class WatchedCommunicator final : public Communicator {
 public:
  WatchedCommunicator(std::unique_ptr<Communicator> inner, Heartbeat& heartbeat)
      : inner_(std::move(inner)), heartbeat_(heartbeat) {}

  [[nodiscard]] const Identity& identity() const override { return inner_->identity(); }

  Pending all_reduce(BufferView buffer, ReduceOp op) override {
    begin(Operation::kAllReduce, static_cast<std::int64_t>(buffer.bytes()));
    return until_waited(inner_->all_reduce(buffer, op));
  }

  Pending reduce_scatter(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) override {
    begin(Operation::kReduceScatter, bytes_of(send));
    return until_waited(inner_->reduce_scatter(send, receive, counts));
  }

  Pending all_gather(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) override {
    begin(Operation::kAllGather, static_cast<std::int64_t>(receive.bytes()));
    return until_waited(inner_->all_gather(send, receive, counts));
  }

  Pending broadcast(BufferView buffer, int root) override {
    begin(Operation::kBroadcast, static_cast<std::int64_t>(buffer.bytes()));
    return until_waited(inner_->broadcast(buffer, root));
  }

  Pending exchange(std::span<const Send> sends, std::span<const Receive> receives) override {
    std::int64_t bytes = 0;
    for (const Send& message : sends) {
      bytes += bytes_of(message.buffer);
    }
    for (const Receive& message : receives) {
      bytes += static_cast<std::int64_t>(message.buffer.bytes());
    }
    begin(Operation::kExchange, bytes);
    return until_waited(inner_->exchange(sends, receives));
  }

  void barrier() override {
    begin(Operation::kBarrier, 0);
    inner_->barrier();
    heartbeat_.end_operation();
  }

  std::unique_ptr<Communicator> split(int part) override {
    begin(Operation::kSplit, 0);
    std::unique_ptr<Communicator> made = watched(inner_->split(part), heartbeat_);
    heartbeat_.end_operation();
    return made;
  }

  void finalize() override {
    begin(Operation::kFinalize, 0);
    inner_->finalize();
    heartbeat_.end_operation();
  }

  void abort(int exit_code) noexcept override { inner_->abort(exit_code); }

 private:
  void begin(Operation operation, std::int64_t bytes) { heartbeat_.begin_operation(name_of(operation), bytes); }

  Pending until_waited(Pending pending) {
    // Shared, because std::function wants to be copied; there is one owner at a time.
    return Pending([this, inner = std::make_shared<Pending>(std::move(pending))] {
      inner->wait();
      heartbeat_.end_operation();
    });
  }

  std::unique_ptr<Communicator> inner_;
  Heartbeat& heartbeat_;
};

}  // namespace

std::unique_ptr<Communicator> watched(std::unique_ptr<Communicator> inner, Heartbeat& heartbeat) {
  return std::make_unique<WatchedCommunicator>(std::move(inner), heartbeat);
}

}  // namespace dormer::comm
