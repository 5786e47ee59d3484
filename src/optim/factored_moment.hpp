#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "dormer/optim/optimizer.hpp"

namespace dormer::optim {

/// A second moment of one parameter. A matrix (the first dimension by all others) has the means of its rows and of its
/// columns, whose outer product over the mean estimates an element's (Shazeer and Stern 2018); a vector has all of it.
class FactoredMoment {
 public:
  /// Zero, on this device. `name` is that of its arrays: "<name>rows/<parameter>", "<name>columns/<parameter>".
  FactoredMoment(std::string name, const tensor::ParameterEntry& entry, const std::string& device);

  /// Keeps this share of itself and takes the rest from `squares`, fp32 [rows, columns] or [count].
  void add(const at::Tensor& squares, double keep);
  /// values / root of the estimate, in the shape of `squares`.
  [[nodiscard]] at::Tensor normalized(const at::Tensor& values) const;

  void append_arrays(std::vector<SharedArray>& arrays) const;
  [[nodiscard]] std::size_t bytes() const;

  /// The shape of a parameter as a moment sees it: [rows, columns] or [count].
  [[nodiscard]] static std::vector<std::int64_t> matrix_of(const tensor::ParameterEntry& entry);

 private:
  std::string name_;
  std::string parameter_;
  std::string device_;
  at::Tensor rows_;     ///< undefined for a vector
  at::Tensor columns_;  ///< or everything
};

/// One parameter's elements without padding in a flat buffer over the whole space, in the shape of `matrix_of`; a view.
[[nodiscard]] at::Tensor matrix_part(std::span<float> flat, const tensor::ParameterEntry& entry,
                                     const std::string& device);
[[nodiscard]] at::Tensor matrix_part(std::span<const float> flat, const tensor::ParameterEntry& entry,
                                     const std::string& device);

/// The group that this parameter's elements are in.
[[nodiscard]] const ParameterGroup& group_of(const std::vector<ParameterGroup>& groups,
                                             const tensor::ParameterEntry& entry);

/// `update` over max(1, its root mean square / threshold), in place.
void clip_root_mean_square(at::Tensor& update, double threshold);

}  // namespace dormer::optim
