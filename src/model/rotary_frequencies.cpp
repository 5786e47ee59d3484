#include "rotary_frequencies.hpp"

#include <numbers>

#include <ATen/ops/arange.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/where.h>

namespace dormer::model {

at::Tensor inverse_frequencies(const RotaryConfig& config, std::int64_t width) {
  const at::Tensor exponents = at::arange(0, width, 2, at::kLong).to(at::kFloat).div_(static_cast<double>(width));
  at::Tensor frequencies = at::pow(at::Scalar(config.theta), exponents).reciprocal_();
  if (config.type == "linear") {
    return frequencies.div_(config.factor);
  }
  if (config.type == "llama3") {
    // Llama 3.1: long wavelengths are stretched by `factor`, short ones stay, between them a linear blend.
    const at::Tensor wavelengths = frequencies.reciprocal().mul_(2.0 * std::numbers::pi);
    const double longest = config.original_positions / config.low_frequency_factor;
    const double shortest = config.original_positions / config.high_frequency_factor;
    const at::Tensor stretched = at::where(wavelengths.gt(longest), frequencies.div(config.factor), frequencies);
    const at::Tensor blend = wavelengths.reciprocal()
                                 .mul_(config.original_positions)
                                 .sub_(config.low_frequency_factor)
                                 .div_(config.high_frequency_factor - config.low_frequency_factor);
    const at::Tensor blended = blend.neg().add_(1.0).mul_(stretched).div_(config.factor).add_(blend.mul(stretched));
    const at::Tensor between = wavelengths.ge(shortest).logical_and_(wavelengths.le(longest));
    return at::where(between, blended, stretched);
  }
  return frequencies;
}

at::Tensor rotary_angles(const at::Tensor& frequencies, const at::Tensor& positions) {
  return at::mul(positions.to(at::kFloat).unsqueeze(1), frequencies.unsqueeze(0));
}

}  // namespace dormer::model
