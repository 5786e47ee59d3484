#include "decomposition.hpp"

#include <optional>

#include <ATen/ops/abs.h>
#include <ATen/ops/amin.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>

#include "dormer/core/error.hpp"
#include "dormer/tensor/weight_norms.hpp"
#include "layer_operation.hpp"
#include "norm_terms.hpp"

namespace dormer::adapter {
namespace {

/// Rounded as IEEE 754 asks. LibTorch's root of fp32 can be MKL's, whose last bit depends on the processor; from fp64
/// it cannot show in fp32.
at::Tensor roots(const at::Tensor& squares) {
  return squares.to(at::kDouble).sqrt_().to(at::kFloat);
}

}  // namespace

Decomposition::Decomposition(const FrozenLayer& layer, DecompositionRule rule, tensor::FlatSpace& space)
    : space_(space),
      layer_(layer),
      rule_(rule),
      magnitude_(space.add(layer.site.name + ".magnitude", {norm_count(layer.site, rule.axis)},
                           {norm_count(layer.site, rule.axis)}, tensor::ParameterRole::kMagnitude)) {}

void Decomposition::refresh(const Change& change) {
  if (const std::optional<at::Tensor> squares = change.squared_norms_of_sum(layer_, rule_.axis)) {
    norm_ = roots(*squares);
  } else if (const std::optional<NormTerms> terms = change.norm_terms(layer_, rule_.axis)) {
    const at::Tensor& base = squared_norms(layer_, rule_.axis);
    norm_ = at::empty_like(base);
    const at::Tensor cancels = at::empty_like(base, base.options().dtype(at::kByte));
    tensor::norms_from_terms(base, terms->cross.contiguous(), terms->square.contiguous(), norm_, cancels);
    change.replace_cancelling_norms(layer_, rule_.axis, cancels, norm_);
  } else {
    norm_ = roots(squared_norms_by_rows(change, layer_, rule_.axis));
  }
  if (rule_.epsilon > 0.0) {
    norm_.add_(rule_.epsilon);
  }
  factor_ = at::empty_like(norm_);
  inverse_magnitude_ = at::empty_like(norm_);
  inverse_norm_ = at::empty_like(norm_);
  tensor::magnitude_factors(magnitude(), norm_, {factor_, inverse_magnitude_, inverse_norm_});
  if (rule_.axis == Axis::kOutput) {
    smallest_factor_ = at::amin(at::abs(factor_));
  }
}

void Decomposition::reset_magnitude() {
  const at::Tensor length = rule_.epsilon > 0.0 ? norm_.sub(rule_.epsilon) : norm_;
  space_.value(magnitude_).copy_(rule_.rounds_magnitude ? length.to(layer_.weight.values().scalar_type()) : length);
}

void Decomposition::add_norm_gradient(const Change& change, const at::Tensor& sums) const {
  // |V| has the gradient V / |V|, and epsilon none.
  const at::Tensor length = rule_.epsilon > 0.0 ? norm_.sub(rule_.epsilon) : norm_;
  const at::Tensor healthy = at::where(length.gt(0.0), length, at::ones_like(length));
  const at::Tensor part = at::mul(sums, factor_).div_(healthy).neg_();  // -m (G·V) / (n² |V|)
  const Site& site = layer_.site;
  for_row_blocks(site, [&](std::int64_t first, std::int64_t count) {
    at::Tensor rows = change.sum_rows(layer_, first, count);
    if (rule_.axis == Axis::kOutput) {
      rows.mul_(part.narrow(0, first, count).unsqueeze(1));
    } else {
      rows = at::mul(rows.view({count, site.channels(), -1}), part.view({1, -1, 1})).flatten(1);
    }
    change.add_weight_gradient(first, rows);
  });
}

}  // namespace dormer::adapter
