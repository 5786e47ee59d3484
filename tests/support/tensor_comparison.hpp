#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include "dormer/core/random_key.hpp"

namespace dormer::test {

/// Seeded standard-normal values (Box-Muller over the counter-based generator), fp32.
inline at::Tensor normal(at::IntArrayRef shape, std::uint64_t seed, double deviation = 1.0) {
  at::Tensor values = at::empty(shape, at::kFloat);
  float* data = values.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < values.numel(); ++i) {
    const auto words = philox(RandomKey{seed}, static_cast<std::uint64_t>(i));
    const double radius = std::sqrt(-2.0 * std::log(1.0 - static_cast<double>(to_uniform(words[0]))));
    const double angle = 6.283185307179586 * static_cast<double>(to_uniform(words[1]));
    data[i] = static_cast<float>(deviation * radius * std::cos(angle));
  }
  return values;
}

/// Rounding errors of sums of `terms` products in a dtype: unit round-off times the square root of the terms (errors of
/// both signs), times 8 for the unlucky ones among many elements.
inline double tolerance(at::ScalarType dtype, std::int64_t terms) {
  const double unit = dtype == at::kBFloat16 ? 0x1p-8 : 0x1p-24;
  return 8.0 * unit * std::sqrt(static_cast<double>(terms));
}

/// The largest difference over the root mean square of `expected` (fp64).
inline double relative_error(const at::Tensor& actual, const at::Tensor& expected) {
  const at::Tensor a = actual.detach().to(at::kDouble).contiguous();
  const at::Tensor b = expected.detach().to(at::kDouble).contiguous();
  if (a.sizes() != b.sizes()) {
    return std::numeric_limits<double>::infinity();
  }
  double largest = 0.0;
  double squares = 0.0;
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    const double difference = std::abs(a.const_data_ptr<double>()[i] - b.const_data_ptr<double>()[i]);
    largest = difference >= largest || std::isnan(difference) ? difference : largest;
    squares += b.const_data_ptr<double>()[i] * b.const_data_ptr<double>()[i];
  }
  const double scale = std::sqrt(squares / static_cast<double>(b.numel() > 0 ? b.numel() : 1));
  return scale > 0.0 ? largest / scale : largest;
}

}  // namespace dormer::test
