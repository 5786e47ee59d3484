#include "dormer/tensor/dropout.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>

#include "dormer/core/error.hpp"
#include "dormer/kernels/dropout.hpp"
#include "element_dispatch.hpp"

namespace dormer::tensor {

at::Tensor dropped_out(const at::Tensor& x, std::span<const RandomKey> sample_keys, double rate) {
  const auto samples = static_cast<std::int64_t>(sample_keys.size());
  invariant(samples > 0 && x.size(0) % samples == 0, "{} rows do not belong to {} samples", x.size(0), samples);
  const std::int64_t count = x.numel() / samples;
  const std::int64_t quads = (count + 3) / 4;
  at::Tensor y = at::empty_like(x);
  dispatch_element(x, [&]<typename Element>(Element) {
    for (std::int64_t sample = 0; sample < samples; ++sample) {
      const kernels::DropoutArguments<Element> arguments{
          data<const Element>(x) + sample * count, data<Element>(y) + sample * count, count,
          kernels::dropout_mask(sample_keys[static_cast<std::size_t>(sample)].value, rate)};
      kernels_for(x).run(arguments, quads);
    }
  });
  return y;
}

}  // namespace dormer::tensor
