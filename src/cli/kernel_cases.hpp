#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "dormer/kernels/kernels.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::cli {

/// Shape of what the kernels are measured on, as in a training step.
struct KernelSizes {
  std::int64_t rows = 4'096;         ///< tokens
  std::int64_t width = 4'096;        ///< of a hidden state
  std::int64_t vocabulary = 49'152;  ///< of a row of logits
  std::int64_t rank = 16;            ///< of the change whose norms are recomputed
};

/// Arrays on a device, all elements one: they live as long as this.
class DeviceArrays {
 public:
  explicit DeviceArrays(std::string device);
  ~DeviceArrays();
  DeviceArrays(const DeviceArrays&) = delete;
  DeviceArrays& operator=(const DeviceArrays&) = delete;
  template <typename Element>
  [[nodiscard]] Element* ones(std::int64_t count);
  void release();  ///< frees all arrays given out so far

 private:
  std::string device_;
  std::vector<at::Tensor> arrays_;
};

/// One operation of `kernels::Kernels` on arrays of these sizes.
struct KernelCase {
  std::string name;         ///< "rms_norm"
  std::string numbers;      ///< "float32", "bfloat16"
  std::int64_t bytes = 0;   ///< that one call cannot do without moving: every array read or written once
  std::int64_t floats = 0;  ///< floating-point operations of one call where they, not bytes, are its price; else 0
  std::function<std::function<void(const kernels::Kernels&)>(DeviceArrays& arrays)> prepare;
};

/// At least one for every operation and type of numbers. Making them allocates nothing; `prepare` does.
[[nodiscard]] std::vector<KernelCase> kernel_cases(const KernelSizes& sizes);

}  // namespace dormer::cli
