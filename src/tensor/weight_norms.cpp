#include "dormer/tensor/weight_norms.hpp"

#include <ATen/core/Tensor.h>

#include "element_dispatch.hpp"

namespace dormer::tensor {

void norms_from_terms(const at::Tensor& base, const at::Tensor& cross, const at::Tensor& square, const at::Tensor& norm,
                      const at::Tensor& cancels) {
  const kernels::NormsFromTermsArguments arguments{data<const float>(base), data<const float>(cross),
                                                   data<const float>(square), data<float>(norm),
                                                   data<std::uint8_t>(cancels)};
  kernels_for(norm).run(arguments, norm.numel());
}

void cancelling_norms(const at::Tensor& weight, const LowRankFactors& change, const at::Tensor& cancels,
                      const at::Tensor& norm) {
  dispatch_element(weight, [&]<typename Element>(Element) {
    const kernels::CancellingNormsArguments<Element> arguments{data<const Element>(weight),
                                                               data<const float>(change.a),
                                                               data<const float>(change.b),
                                                               data<const std::uint8_t>(cancels),
                                                               data<float>(norm),
                                                               weight.size(0),
                                                               weight.size(1),
                                                               change.a.size(0),
                                                               static_cast<float>(change.scale)};
    kernels_for(norm).run(arguments, norm.numel());
  });
}

void magnitude_factors(const at::Tensor& magnitude, const at::Tensor& norm, const MagnitudeFactors& results) {
  const kernels::MagnitudeFactorsArguments arguments{
      data<const float>(magnitude), data<const float>(norm), data<float>(results.factor),
      data<float>(results.inverse_magnitude), data<float>(results.inverse_norm)};
  kernels_for(norm).run(arguments, norm.numel());
}

}  // namespace dormer::tensor
