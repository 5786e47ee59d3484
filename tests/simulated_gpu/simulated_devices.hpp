#pragma once

namespace dormer::testing {

inline constexpr const char* kSimulatedDevice = "simulated";  ///< LibTorch's name of them

/// GPUs that this machine pretends to have; DORMER_SIMULATED_GPUS, or 4.
[[nodiscard]] int simulated_devices();

}  // namespace dormer::testing
