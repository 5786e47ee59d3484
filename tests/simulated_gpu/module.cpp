// A CUDA module for machines without a GPU: the program loads it where DORMER_CUDA_MODULE names it. Its devices are
// torch_device.cpp's, its kernels the functors of the launches, its NCCL the one of tests/cuda/nccl_on_threads.cpp
// under our real communicator.
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "cuda/nccl_communicator.hpp"
#include "cuda/nccl_on_threads.hpp"
#include "dormer/core/error.hpp"
#include "dormer/device/cuda_module.hpp"
#include "dormer/kernels/kernels.hpp"
#include "simulated_gpu/device_memory.hpp"
#include "simulated_gpu/simulated_devices.hpp"
#include "simulated_gpu/simulation.hpp"

namespace dormer::testing {

int simulated_devices() {
  const char* text = std::getenv("DORMER_SIMULATED_GPUS");
  return text == nullptr ? 4 : std::atoi(text);
}

namespace {

std::int64_t total_bytes() {
  const char* text = std::getenv("DORMER_SIMULATED_GPU_BYTES");
  return text == nullptr ? std::int64_t{1} << 30 : std::atoll(text);
}

class SimulatedLaunches final : public kernels::ComputedBy<SimulatedLaunches> {
 public:
  template <typename Arguments>
  void compute(const Arguments& arguments, std::int64_t count) const {
    const DeviceMemoryOpened opened;
    loops_->run(arguments, count);
  }

 private:
  std::unique_ptr<kernels::Kernels> loops_ = kernels::functor_loops();
};

/// Opens the device's memory while messages are carried, and counts.
class CountedCommunicator final : public comm::Communicator {
 public:
  explicit CountedCommunicator(std::unique_ptr<comm::Communicator> inner) : inner_(std::move(inner)) {}

  [[nodiscard]] const comm::Identity& identity() const override { return inner_->identity(); }
  comm::Pending all_reduce(BufferView buffer, comm::ReduceOp op) override {
    const DeviceMemoryOpened while_calling = counted();
    return opened(inner_->all_reduce(buffer, op));
  }
  comm::Pending reduce_scatter(ConstBufferView send, BufferView receive,
                               std::span<const std::int64_t> counts) override {
    const DeviceMemoryOpened while_calling = counted();
    return opened(inner_->reduce_scatter(send, receive, counts));
  }
  comm::Pending all_gather(ConstBufferView send, BufferView receive, std::span<const std::int64_t> counts) override {
    const DeviceMemoryOpened while_calling = counted();
    return opened(inner_->all_gather(send, receive, counts));
  }
  comm::Pending broadcast(BufferView buffer, int root) override {
    const DeviceMemoryOpened while_calling = counted();
    return opened(inner_->broadcast(buffer, root));
  }
  comm::Pending exchange(std::span<const comm::Send> sends, std::span<const comm::Receive> receives) override {
    const DeviceMemoryOpened while_calling = counted();
    return opened(inner_->exchange(sends, receives));
  }
  void barrier() override {
    const DeviceMemoryOpened opened;
    inner_->barrier();
  }
  void finalize() override {
    const DeviceMemoryOpened opened;
    inner_->finalize();
  }
  void abort(int exit_code) noexcept override { inner_->abort(exit_code); }

 private:
  [[nodiscard]] DeviceMemoryOpened counted() const {
    SimulationCounts& counts = *dormer_simulation_counts();
    ++counts.operations;
    counts.from_backward += std::this_thread::get_id() == thread_ ? 0 : 1;
    return {};
  }
  static comm::Pending opened(comm::Pending inner) {
    auto shared = std::make_shared<comm::Pending>(std::move(inner));  // std::function wants to be copied
    return comm::Pending([shared] {
      const DeviceMemoryOpened while_waiting;
      shared->wait();
    });
  }

  std::unique_ptr<comm::Communicator> inner_;
  std::thread::id thread_ = std::this_thread::get_id();
};

device::LibraryVersions libraries() {
  return {.runtime_built = 13'000,
          .runtime_loaded = 13'000,
          .nccl_built = 22'809,
          .nccl_loaded = 22'809,
          .driver_interface = 13'000};
}

std::vector<device::Gpu> gpus() {
  std::vector<device::Gpu> result;
  for (int index = 0; index < simulated_devices(); ++index) {
    result.push_back({.index = index,
                      .name = "simulated",
                      .uuid = "SIMULATED-" + std::to_string(index),
                      .major = 9,
                      .minor = 0,
                      .total_bytes = total_bytes()});
  }
  return result;
}

void select(int /*device*/) {}
std::int64_t free_bytes(int /*device*/) {
  return total_bytes() - static_cast<std::int64_t>(device_memory_in_use());
}
void* current_stream(int /*device*/) {
  return nullptr;
}
void synchronize(int /*device*/) {}

const kernels::Kernels& launches() {
  static const SimulatedLaunches kLaunches;
  return kLaunches;
}

std::unique_ptr<comm::Communicator> nccl(comm::Communicator& rendezvous, const device::NcclOptions& options) {
  nccl_thread().ranks = &rendezvous;
  const DeviceMemoryOpened opened;
  return std::make_unique<CountedCommunicator>(cuda::make_nccl_communicator(rendezvous, options));
}

}  // namespace
}  // namespace dormer::testing

extern "C" __attribute__((visibility("default"))) dormer::testing::SimulationCounts* dormer_simulation_counts() {
  static dormer::testing::SimulationCounts counts;
  return &counts;
}

extern "C" __attribute__((visibility("default"))) const dormer::device::CudaModule* dormer_cuda_module() {
  namespace testing = dormer::testing;
  static const dormer::device::CudaModule kModule{.build_id = DORMER_CUDA_BUILD_ID,
                                                  .device_type = testing::kSimulatedDevice,
                                                  .libraries = &testing::libraries,
                                                  .gpus = &testing::gpus,
                                                  .select = &testing::select,
                                                  .free_bytes = &testing::free_bytes,
                                                  .current_stream = &testing::current_stream,
                                                  .synchronize = &testing::synchronize,
                                                  .kernels = &testing::launches,
                                                  .nccl = &testing::nccl};
  return &kModule;
}
