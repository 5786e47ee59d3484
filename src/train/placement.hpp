#pragma once

#include <cstdint>
#include <filesystem>
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
  std::string description;         ///< of the GPU and its libraries; empty for the CPU
  std::string numbers = "cpu";     ///< what the bits depend on: the GPU's kind and its libraries

  /// Throws a usage error with all sizes unless this fits in what the GPU has free now; on a CPU does nothing.
  void require_memory(std::span<const device::MemoryPart> parts) const;
};

/// Chooses this rank's device as run.device says, and checks that the ranks' devices go together. Throws the same usage
/// error on every rank.
[[nodiscard]] Placement take_device(comm::Communicator& communicator, const std::string& wanted);

/// Bytes of a model folder's weights as numbers of this type.
[[nodiscard]] std::int64_t weight_bytes(const std::filesystem::path& folder, DType dtype);

}  // namespace dormer::train
