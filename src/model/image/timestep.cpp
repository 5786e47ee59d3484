#include "timestep.hpp"

#include <cmath>

#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sin.h>

namespace dormer::model {

at::Tensor timestep_embedding(const at::Tensor& numbers, const TimestepWaves& waves) {
  constexpr double kLongest = 10000.0;
  const std::int64_t half = waves.width / 2;
  const double step = -std::log(kLongest) / (static_cast<double>(half) - waves.frequency_shift);
  const at::Tensor frequencies = at::exp(at::arange(half, numbers.options().dtype(at::kFloat)).mul_(step));
  const at::Tensor angles = at::mul(numbers.to(at::kFloat).unsqueeze(1), frequencies.unsqueeze(0));
  const at::Tensor cosines = at::cos(angles);
  const at::Tensor sines = at::sin(angles);
  return waves.cosine_first ? at::cat({cosines, sines}, 1) : at::cat({sines, cosines}, 1);
}

}  // namespace dormer::model
