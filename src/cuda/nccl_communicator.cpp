#include "cuda/nccl_communicator.hpp"

#include <algorithm>
#include <chrono>
#include <deque>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <cuda_runtime_api.h>
#include <nccl.h>

#include "cuda/cuda_status.hpp"
#include "cuda/devices.hpp"
#include "cuda/nccl_link.hpp"
#include "cuda/nccl_plan.hpp"
#include "cuda/stream.hpp"
#include "dormer/core/error.hpp"

namespace dormer::cuda {
namespace {

using comm::Pending;
using comm::ReduceOp;

ncclDataType_t reduced_type(DType dtype) {
  invariant(can_reduce(dtype), "NCCL reduces no {} values; convert them first", name_of(dtype));
  switch (dtype) {
    case DType::kU8:
      return ncclUint8;
    case DType::kI8:
      return ncclInt8;
    case DType::kU32:
      return ncclUint32;
    case DType::kI32:
      return ncclInt32;
    case DType::kU64:
      return ncclUint64;
    case DType::kI64:
      return ncclInt64;
    case DType::kF32:
      return ncclFloat32;
    default:
      return ncclFloat64;
  }
}

ncclRedOp_t op_of(ReduceOp op) {
  return op == ReduceOp::kSum ? ncclSum : op == ReduceOp::kMin ? ncclMin : ncclMax;
}

std::size_t count_of(std::int64_t elements) {
  return static_cast<std::size_t>(elements);
}

/// Values that only move go as bytes.
std::size_t bytes_of(std::int64_t elements, DType dtype) {
  return count_of(elements) * size_of(dtype);
}

const void* at(ConstBufferView buffer, std::int64_t element) {
  return static_cast<const std::byte*>(buffer.data) + bytes_of(element, buffer.dtype);
}
void* at(BufferView buffer, std::int64_t element) {
  return static_cast<std::byte*>(buffer.data) + bytes_of(element, buffer.dtype);
}

class NcclCommunicator final : public comm::Communicator {
 public:
  NcclCommunicator(comm::Communicator& rendezvous, const device::NcclOptions& options)
      : rendezvous_(rendezvous),
        identity_(rendezvous.identity()),
        device_(options.device),
        limit_(options.seconds_wait),
        stream_(make_stream()),
        link_(rendezvous, limit_),
        token_(allocate(sizeof(std::int32_t))) {
    identity_.transport = "nccl";
  }

  [[nodiscard]] const comm::Identity& identity() const override { return identity_; }

  Pending all_reduce(BufferView buffer, ReduceOp op) override {
    const ncclDataType_t type = reduced_type(buffer.dtype);
    return run("all_reduce", buffer.count > 0, [&] {
      return ncclAllReduce(buffer.data, buffer.data, count_of(buffer.count), type, op_of(op), link_.get(),
                           stream_.get());
    });
  }

  Pending reduce_scatter(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) override {
    const ncclDataType_t type = reduced_type(send.dtype);
    return run("reduce_scatter", send.count > 0, [&] {
      if (are_equal(counts)) {
        return ncclReduceScatter(send.data, receive.data, count_of(counts[0]), type, ncclSum, link_.get(),
                                 stream_.get());
      }
      return for_parts(counts, [&](const Part& part) {
        return ncclReduce(at(send, part.begin), part.owner == rank() ? receive.data : nullptr, count_of(part.count),
                          type, ncclSum, part.owner, link_.get(), stream_.get());
      });
    });
  }

  Pending all_gather(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) override {
    return run("all_gather", receive.count > 0, [&] {
      if (are_equal(counts)) {
        return ncclAllGather(send.data, receive.data, bytes_of(counts[0], receive.dtype), ncclUint8, link_.get(),
                             stream_.get());
      }
      return for_parts(counts, [&](const Part& part) {
        void* slice = at(receive, part.begin);
        return ncclBroadcast(part.owner == rank() ? send.data : slice, slice, bytes_of(part.count, receive.dtype),
                             ncclUint8, part.owner, link_.get(), stream_.get());
      });
    });
  }

  Pending broadcast(BufferView buffer, int root) override {
    return run("broadcast", buffer.count > 0, [&] {
      return ncclBroadcast(buffer.data, buffer.data, buffer.bytes(), ncclUint8, root, link_.get(), stream_.get());
    });
  }

  /// NCCL matches the messages between two ranks in order, as we do; empty ones need no message.
  Pending exchange(std::span<const comm::Send> sends, std::span<const comm::Receive> receives) override {
    const auto is_empty = [](const auto& message) { return message.buffer.count == 0; };
    const bool any =
        !std::all_of(sends.begin(), sends.end(), is_empty) || !std::all_of(receives.begin(), receives.end(), is_empty);
    return run("exchange", any, [&] {
      for (const comm::Receive& message : receives) {
        if (!is_empty(message)) {
          link_.check(ncclRecv(message.buffer.data, message.buffer.bytes(), ncclUint8, message.peer, link_.get(),
                               stream_.get()),
                      "ncclRecv");
        }
      }
      for (const comm::Send& message : sends) {
        if (!is_empty(message)) {
          link_.check(ncclSend(message.buffer.data, message.buffer.bytes(), ncclUint8, message.peer, link_.get(),
                               stream_.get()),
                      "ncclSend");
        }
      }
      return ncclSuccess;
    });
  }

  void barrier() override {
    static_cast<void>(all_reduce({token_.get(), 1, DType::kI32}, ReduceOp::kMax));
    wait_for_device("barrier");
  }

  void finalize() override {
    wait_for_device("finalize");
    link_.close();
  }

  void abort(int exit_code) noexcept override {
    link_.abort();
    rendezvous_.abort(exit_code);
  }

 private:
  /// An operation that NCCL has, until the device is known to be past it.
  struct Underway {
    std::string_view name;
    std::shared_ptr<Event> done;  // shared with the Pending, whose function must be copyable
    std::chrono::steady_clock::time_point begin;
  };

  /// Calls NCCL as one group, after what LibTorch's stream holds now.
  template <typename Calls>
  Pending run(std::string_view name, bool has_work, Calls calls) {
    watch();
    if (!has_work) {
      return {};
    }
    check(cudaSetDevice(device_), "cudaSetDevice");
    const Event ready = make_event();
    check(cudaEventRecord(ready.get(), compute_stream()), "cudaEventRecord");
    check(cudaStreamWaitEvent(stream_.get(), ready.get(), 0), "cudaStreamWaitEvent");
    link_.check(ncclGroupStart(), "ncclGroupStart");
    link_.check(calls(), name);
    link_.settle(ncclGroupEnd(), name);  // only then are its kernels on the stream
    auto done = std::make_shared<Event>(make_event());
    check(cudaEventRecord(done->get(), stream_.get()), "cudaEventRecord");
    underway_.push_back({.name = name, .done = done, .begin = std::chrono::steady_clock::now()});
    return Pending([this, done, name] {
      watch();
      link_.check_asynchronous(name);
      check(cudaStreamWaitEvent(compute_stream(), done->get(), 0), "cudaStreamWaitEvent");
    });
  }

  template <typename Call>
  ncclResult_t for_parts(std::span<const std::int64_t> counts, Call call) {
    for (const Part& part : parts_of(counts)) {
      link_.check(call(part), "a call for one rank's part");
    }
    return ncclSuccess;
  }

  [[nodiscard]] cudaStream_t compute_stream() const { return static_cast<cudaStream_t>(current_stream(device_)); }

  /// Forgets operations that are done. One that takes longer than the limit is an error; so is what NCCL found
  /// meanwhile.
  void watch() {
    while (!underway_.empty() && is_done(underway_.front())) {
      underway_.pop_front();
    }
    if (!underway_.empty() && std::chrono::steady_clock::now() - underway_.front().begin >= limit_) {
      link_.check_asynchronous(underway_.front().name);
      fail(Fault::kHung, "{} on rank {} of {} is not done after {} s; a rank is missing or hangs: look at the others",
           underway_.front().name, identity_.rank, identity_.size, limit_.count());
    }
  }

  static bool is_done(const Underway& operation) {
    const cudaError_t status = cudaEventQuery(operation.done->get());
    if (status == cudaErrorNotReady) {
      static_cast<void>(cudaGetLastError());
      return false;
    }
    check(status, "cudaEventQuery");
    return true;
  }

  /// The host waits for every operation, and looks for errors of this and other ranks meanwhile: NCCL's kernels wait
  /// for ever where a rank is gone.
  void wait_for_device(std::string_view call) {
    while (!underway_.empty()) {
      link_.check_asynchronous(call);
      const auto begin = underway_.front().begin;
      watch();
      pause_between_polls(std::chrono::steady_clock::now() - begin);
    }
  }

  comm::Communicator& rendezvous_;
  comm::Identity identity_;
  int device_;
  std::chrono::seconds limit_;
  Stream stream_;
  NcclLink link_;
  DeviceMemory token_;  ///< what a barrier reduces; its value means nothing
  std::deque<Underway> underway_;
};

}  // namespace

std::unique_ptr<comm::Communicator> make_nccl_communicator(comm::Communicator& rendezvous,
                                                           const device::NcclOptions& options) {
  check(cudaSetDevice(options.device), "cudaSetDevice");
  return std::make_unique<NcclCommunicator>(rendezvous, options);
}

}  // namespace dormer::cuda
