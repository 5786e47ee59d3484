#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

namespace dormer::parallel {

/// Floats in a device's memory, aligned to 64 bytes or more. Not initialized. Freed memory may be used again by what
/// comes later on LibTorch's current stream, so every operation of another stream has been waited for by then.
class FlatBuffer {
 public:
  FlatBuffer(std::int64_t count, const std::string& device);
  [[nodiscard]] std::span<float> values() const { return values_; }

 private:
  at::Tensor owner_;
  std::span<float> values_;
};

/// The reductions' arithmetic on the memory of one device, as kernels on its current stream; on a CPU at once.
class FlatArithmetic {
 public:
  explicit FlatArithmetic(std::string device);

  void set_to_zero(std::span<float> values) const;
  /// left[i] += right[i]: one rounding per element, so neither vector width nor lanes can change a bit.
  void add(std::span<float> left, std::span<const float> right) const;
  void copy(std::span<float> to, std::span<const float> from) const;
  /// The fp64 sums of squares of the norm blocks of `values`, which begins at a block's start. Copies them to the host.
  [[nodiscard]] std::vector<double> block_squares(std::span<const float> values) const;
  /// How many elements to treat at a time where several operations follow one another, whole norm blocks: on a CPU what
  /// stays in the cache; on a device, where each is a launch, all of them.
  [[nodiscard]] std::int64_t elements_at_a_time(std::int64_t count) const;

 private:
  std::string device_;
  at::Tensor place_;  ///< an empty tensor: says whose kernels compute
};

}  // namespace dormer::parallel
