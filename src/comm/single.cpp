#include "dormer/comm/single.hpp"

#include <cstdlib>
#include <cstring>
#include <vector>

#include <unistd.h>

#include "dormer/core/error.hpp"
#include "host_name.hpp"

namespace dormer::comm {
namespace {

void copy_if_elsewhere(ConstBufferView from, BufferView to, Operation operation) {
  invariant(from.dtype == to.dtype && from.count == to.count, "{}: {} {} elements sent, {} {} received",
            name_of(operation), from.count, name_of(from.dtype), to.count, name_of(to.dtype));
  if (from.data != to.data && from.count > 0) {
    std::memmove(to.data, from.data, from.bytes());
  }
}

class SingleCommunicator final : public Communicator {
 public:
  SingleCommunicator() : identity_{.host = host_name(), .transport = "single"} {}

  [[nodiscard]] const Identity& identity() const override { return identity_; }
  Pending all_reduce(BufferView /*buffer*/, ReduceOp /*op*/) override { return {}; }
  Pending reduce_scatter(ConstBufferView send, BufferView receive, std::span<const std::int64_t> /*counts*/) override {
    copy_if_elsewhere(send, receive, Operation::kReduceScatter);
    return {};
  }
  Pending all_gather(ConstBufferView send, BufferView receive, std::span<const std::int64_t> /*counts*/) override {
    copy_if_elsewhere(send, receive, Operation::kAllGather);
    return {};
  }
  Pending broadcast(BufferView /*buffer*/, int root) override {
    invariant(root == 0, "broadcast from rank {} of 1", root);
    return {};
  }
  Pending exchange(std::span<const Send> sends, std::span<const Receive> receives) override {
    invariant(sends.size() == receives.size(), "exchange of a rank with itself: {} messages sent, {} received",
              sends.size(), receives.size());
    for (std::size_t i = 0; i < sends.size(); ++i) {
      invariant(sends[i].peer == 0 && receives[i].peer == 0, "exchange with ranks {} and {} of 1", sends[i].peer,
                receives[i].peer);
      copy_if_elsewhere(sends[i].buffer, receives[i].buffer, Operation::kExchange);
    }
    return {};
  }
  void barrier() override {}
  std::unique_ptr<Communicator> split(int /*part*/) override { return single(); }
  void finalize() override {}
  void abort(int exit_code) noexcept override { _exit(exit_code); }

 private:
  Identity identity_;
};

}  // namespace

std::unique_ptr<Communicator> single() {
  return std::make_unique<SingleCommunicator>();
}

}  // namespace dormer::comm
