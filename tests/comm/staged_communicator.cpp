#include "comm/staged_communicator.hpp"

#include <utility>
#include <vector>

namespace dormer::comm {
namespace {

class Staged final : public Communicator {
 public:
  Staged(std::unique_ptr<Communicator> inner, Memory memory) : inner_(std::move(inner)), memory_(std::move(memory)) {}

  [[nodiscard]] const Identity& identity() const override { return inner_->identity(); }

  Pending all_reduce(BufferView buffer, ReduceOp op) override {
    const Copy copy = copied(buffer);
    return back({{buffer, copy}}, inner_->all_reduce({copy.get(), buffer.count, buffer.dtype}, op));
  }

  Pending reduce_scatter(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) override {
    const Copy from = copied(send);
    const Copy to = copied(receive);
    return back(
        {{receive, to}},
        inner_->reduce_scatter({from.get(), send.count, send.dtype}, {to.get(), receive.count, receive.dtype}, counts),
        {from});
  }

  /// A slice in place stays in place.
  Pending all_gather(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) override {
    const Copy to = copied(receive);
    const auto* begin = static_cast<const std::byte*>(receive.data);
    const auto* own = static_cast<const std::byte*>(send.data);
    const bool in_place = own >= begin && own < begin + receive.bytes();
    const Copy apart = in_place ? Copy() : copied(send);
    const void* from = in_place ? static_cast<std::byte*>(to.get()) + (own - begin) : apart.get();
    return back({{receive, to}},
                inner_->all_gather({from, send.count, send.dtype}, {to.get(), receive.count, receive.dtype}, counts),
                {apart});
  }

  Pending broadcast(BufferView buffer, int root) override {
    const Copy copy = copied(buffer);
    return back({{buffer, copy}}, inner_->broadcast({copy.get(), buffer.count, buffer.dtype}, root));
  }

  Pending exchange(std::span<const Send> sends, std::span<const Receive> receives) override {
    std::vector<Copy> kept;
    std::vector<Send> outgoing;
    for (const Send& message : sends) {
      kept.push_back(copied(message.buffer));
      outgoing.push_back({message.peer, {kept.back().get(), message.buffer.count, message.buffer.dtype}});
    }
    std::vector<std::pair<BufferView, Copy>> targets;
    std::vector<Receive> incoming;
    for (const Receive& message : receives) {
      targets.emplace_back(message.buffer, copied(message.buffer));
      incoming.push_back({message.peer, {targets.back().second.get(), message.buffer.count, message.buffer.dtype}});
    }
    Pending pending = inner_->exchange(outgoing, incoming);
    return back(std::move(targets), std::move(pending), std::move(kept));
  }

  void barrier() override { inner_->barrier(); }
  void finalize() override { inner_->finalize(); }
  void abort(int exit_code) noexcept override { inner_->abort(exit_code); }

 private:
  using Copy = std::shared_ptr<void>;

  Copy copied(ConstBufferView buffer) const {
    Copy copy = memory_.allocate(buffer.bytes());
    memory_.copy_in(copy.get(), buffer.data, buffer.bytes());
    return copy;
  }

  /// Copies back what was received once `inner` is done; `kept` lives until then.
  Pending back(std::vector<std::pair<BufferView, Copy>> targets, Pending inner, std::vector<Copy> kept = {}) const {
    // Shared, because std::function wants to be copied.
    auto shared = std::make_shared<Pending>(std::move(inner));
    return Pending([shared, targets = std::move(targets), kept = std::move(kept), copy_out = memory_.copy_out] {
      shared->wait();
      for (const auto& [buffer, copy] : targets) {
        copy_out(buffer.data, copy.get(), buffer.bytes());
      }
    });
  }

  std::unique_ptr<Communicator> inner_;
  Memory memory_;
};

}  // namespace

std::unique_ptr<Communicator> staged(std::unique_ptr<Communicator> inner, Memory memory) {
  return std::make_unique<Staged>(std::move(inner), std::move(memory));
}

}  // namespace dormer::comm
