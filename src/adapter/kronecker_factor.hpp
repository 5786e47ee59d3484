#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "dormer/adapter/site.hpp"
#include "dormer/core/random_key.hpp"
#include "dormer/tensor/flat_space.hpp"

namespace dormer::adapter {

/// What one factor of a Kronecker product is made of.
struct KroneckerFactorShape {
  std::int64_t rows = 1;
  std::int64_t columns = 1;            ///< without the kernel
  std::vector<std::int64_t> kernel{};  ///< of the large factor of a convolution
  std::int64_t rank = 0;               ///< 0: whole
  bool tucker = false;                 ///< low-rank with a middle factor for the kernel
};

/// One factor of a Kronecker product, [rows, columns * taps]: whole, low-rank, or in the Tucker form.
class KroneckerFactor {
 public:
  /// Adds its parameters: `name`, or `name`_a and `name`_b, and for the Tucker form `middle_name`.
  KroneckerFactor(tensor::FlatSpace& space, KroneckerFactorShape shape, const std::string& name,
                  const std::string& middle_name);

  /// As LyCORIS: Kaiming uniform; with `zero` the product is zero.
  void initialize(RandomKey key, bool zero);
  /// fp32 [rows, columns * taps].
  [[nodiscard]] at::Tensor values() const;
  /// Adds to the slots what a gradient of `values` gives the parameters.
  void add_gradient(const at::Tensor& gradient) const;
  [[nodiscard]] bool trains() const { return space_.trains(first_); }
  [[nodiscard]] const KroneckerFactorShape& shape() const { return shape_; }

 private:
  [[nodiscard]] bool whole() const { return shape_.rank == 0; }
  [[nodiscard]] std::int64_t taps() const;
  /// The Tucker form computes without padding: its middle has the rank on two axes.
  [[nodiscard]] at::Tensor part(const at::Tensor& stored) const;

  tensor::FlatSpace& space_;
  KroneckerFactorShape shape_;
  std::size_t first_ = 0;   // whole, or the left one: [rank, rows]
  std::size_t right_ = 0;   // [rank, columns, kernel…], Tucker: [rank, columns]
  std::size_t middle_ = 0;  // Tucker: [rank, rank, kernel…]
};

}  // namespace dormer::adapter
