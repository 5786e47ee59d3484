#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dormer/core/buffer_view.hpp"

namespace dormer::comm {

enum class ReduceOp { kSum, kMin, kMax };

/// The operations of a communicator, as decorators and errors name them.
enum class Operation { kAllReduce, kReduceScatter, kAllGather, kBroadcast, kExchange, kBarrier, kSplit, kFinalize };
inline constexpr int kOperationCount = 8;
[[nodiscard]] std::string_view name_of(Operation operation);
[[nodiscard]] std::string_view name_of(ReduceOp op);

/// Who this process is among the ranks.
struct Identity {
  int rank = 0;
  int size = 1;
  int local_rank = 0;  ///< among all ranks of the job on this machine, of a part (`split`) too: devices go by it
  int local_size = 1;
  std::string host;
  std::string transport;  ///< "single", "mpi", "threads", …
};

/// One message of a grouped exchange. Messages between the same two ranks match in order.
struct Send {
  int peer = 0;
  ConstBufferView buffer;
};
struct Receive {
  int peer = 0;
  BufferView buffer;
};

/// An operation under way. `wait` returns when its buffers may be read and reused; it must be called exactly once.
class [[nodiscard]] Pending {
 public:
  Pending() = default;  ///< already complete
  explicit Pending(std::function<void()> finish) : finish_(std::move(finish)) {}
  Pending(Pending&&) noexcept = default;
  Pending& operator=(Pending&&) noexcept = default;
  void wait() {
    if (finish_) {
      std::exchange(finish_, nullptr)();
    }
  }

 private:
  std::function<void()> finish_;
};

/// Moves bytes between ranks. All ranks call the same operations in the same order with matching counts.
/// Every dtype can be moved; reductions take integers (NCCL: not those of 16 bits), float32 and float64.
/// One thread calls (the communicator's own); buffers stay untouched until `Pending::wait`.
class Communicator {
 public:
  virtual ~Communicator() = default;
  [[nodiscard]] virtual const Identity& identity() const = 0;
  /// Reduces `buffer` over all ranks, in place.
  virtual Pending all_reduce(BufferView buffer, ReduceOp op) = 0;
  /// Sums `send` (every rank's whole buffer, the slices one after the other) and leaves the own slice, `counts[rank]`
  /// elements, in `receive`.
  virtual Pending reduce_scatter(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) = 0;
  /// Concatenates the ranks' `send` buffers (`counts[rank]` elements each) in rank order into `receive`.
  /// `send` may be the own slice of `receive`.
  virtual Pending all_gather(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) = 0;
  virtual Pending broadcast(BufferView buffer, int root) = 0;
  /// All sends and receives as one group: no order among them, no deadlock.
  virtual Pending exchange(std::span<const Send> sends, std::span<const Receive> receives) = 0;
  virtual void barrier() = 0;
  /// The communicator of those ranks that give the same number, in the order of their ranks. All ranks call. This one
  /// must outlive the part, and the part is finalized first, by its own ranks. Throws where the transport has no parts.
  [[nodiscard]] virtual std::unique_ptr<Communicator> split(int part);
  /// Ends the use of the communicator in order; all ranks call it, last. Destructors never communicate, so without this
  /// call a launcher sees a process that left early.
  virtual void finalize() = 0;
  /// Ends all ranks with this exit code. Callable from any thread. Does not return for communicators of processes.
  virtual void abort(int exit_code) noexcept = 0;

  [[nodiscard]] int rank() const { return identity().rank; }
  [[nodiscard]] int size() const { return identity().size; }
};

}  // namespace dormer::comm
