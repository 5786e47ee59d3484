// The conformance suite of tests/comm over NCCL on the GPUs of this machine: one rank per process, one GPU per rank.
#include <memory>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include "comm/conformance.hpp"
#include "comm/staged_communicator.hpp"
#include "dormer/comm/world.hpp"
#include "dormer/device/cuda_module.hpp"
#include "support/mpi_world.hpp"

namespace dormer::comm {
namespace {

at::Tensor bytes_at(void* data, std::size_t bytes, at::Device device) {
  return at::from_blob(data, {static_cast<std::int64_t>(bytes)}, at::TensorOptions(at::kByte).device(device));
}

/// LibTorch's memory and its current stream, as in training.
Memory memory_of(int device) {
  const at::Device gpu(at::kCUDA, static_cast<at::DeviceIndex>(device));
  return {.allocate = [gpu](std::size_t bytes) -> std::shared_ptr<void> {
            auto tensor = std::make_shared<at::Tensor>(
                at::empty({static_cast<std::int64_t>(bytes) + 1}, at::TensorOptions(at::kByte).device(gpu)));
            return {tensor, tensor->data_ptr()};
          },
          .copy_in =
              [gpu](void* to, const void* from, std::size_t bytes) {
                if (bytes > 0) {
                  bytes_at(to, bytes, gpu).copy_(bytes_at(const_cast<void*>(from), bytes, at::kCPU));
                }
              },
          .copy_out =
              [gpu](void* to, const void* from, std::size_t bytes) {
                if (bytes > 0) {
                  bytes_at(to, bytes, at::kCPU).copy_(bytes_at(const_cast<void*>(from), bytes, gpu));
                }
              }};
}

void run_on_gpu(const std::function<void(Communicator&)>& body) {
  Communicator& world = dormer::testing::world();
  const device::CudaModule& module = device::load_cuda_module();
  const int gpu = world.identity().local_rank % static_cast<int>(module.gpus().size());
  module.select(gpu);
  const auto communicator = staged(module.nccl(world, {.device = gpu, .seconds_wait = 60}), memory_of(gpu));
  body(*communicator);
  communicator->finalize();
}

}  // namespace

std::vector<World> worlds_of_this_program() {
  std::vector<World> worlds;
  add_decorated(worlds, {"nccl", run_on_gpu, /*reduces_16_bits=*/false, /*has_parts=*/false});
  return worlds;
}

}  // namespace dormer::comm
