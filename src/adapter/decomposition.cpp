#include "decomposition.hpp"

#include <ATen/ops/abs.h>
#include <ATen/ops/amin.h>
#include <ATen/ops/empty_like.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/weight_norms.hpp"

namespace dormer::adapter {

Decomposition::Decomposition(const FrozenLinear& layer, tensor::FlatSpace& space)
    : space_(space),
      weight_(layer.weight),
      magnitude_(space.add(layer.site.name + ".magnitude", {layer.site.out}, {layer.site.out},
                           tensor::ParameterRole::kMagnitude)) {}

void Decomposition::refresh(const Change& change) {
  const NormTerms terms = change.norm_terms(weight_);
  const at::Tensor& base = weight_.squared_row_norms();
  norm_ = at::empty_like(base);
  const at::Tensor cancels = at::empty_like(base, base.options().dtype(at::kByte));
  tensor::norms_from_terms(base, terms.cross_and_square.at(0).contiguous(), terms.cross_and_square.at(1).contiguous(),
                           norm_, cancels);
  change.replace_cancelling_norms(weight_, cancels, norm_);
  factor_ = at::empty_like(norm_);
  inverse_magnitude_ = at::empty_like(norm_);
  inverse_norm_ = at::empty_like(norm_);
  tensor::magnitude_factors(magnitude(), norm_, {factor_, inverse_magnitude_, inverse_norm_});
  smallest_factor_ = at::amin(at::abs(factor_));
}

void Decomposition::reset_magnitude() {
  space_.value(magnitude_).copy_(norm_);
}

}  // namespace dormer::adapter
