#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "dormer/comm/communicator.hpp"
#include "dormer/core/dtype.hpp"
#include "dormer/device/choice.hpp"
#include "dormer/device/gpu.hpp"

namespace dormer::train {

/// Where this rank computes.
struct Placement {
  std::optional<device::Gpu> gpu;  ///< none: the CPU
  std::string device = "cpu";      ///< as LibTorch writes it: "cuda:0"
  std::string description;         ///< of the GPU and its libraries; empty for the CPU
  std::string numbers = "cpu";     ///< what the bits depend on: the GPU's kind and its libraries

  /// Throws a usage error with all sizes unless this fits in what the GPU has free now; on a CPU does nothing.
  void require_memory(std::span<const device::MemoryPart> parts) const;
};

/// Chooses this rank's device as run.device says, and checks that the ranks' devices go together. Throws the same usage
/// error on every rank.
[[nodiscard]] Placement take_device(comm::Communicator& communicator, const std::string& wanted);

/// Joins the GPUs of all ranks; null where a rank computes alone or on its CPU, since the launcher's communicator
/// serves there. Throws one error on every rank. `launcher` must outlive it. All ranks call, once they have their
/// devices.
[[nodiscard]] std::unique_ptr<comm::Communicator> join_devices(comm::Communicator& launcher,
                                                               const Placement& placement);

/// Bytes of a model folder's weights as numbers of this type.
[[nodiscard]] std::int64_t weight_bytes(const std::filesystem::path& folder, DType dtype);

}  // namespace dormer::train
