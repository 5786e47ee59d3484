#include "kronecker_change.hpp"

#include <algorithm>

#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "change_input.hpp"
#include "kronecker_shape.hpp"
#include "layer_operation.hpp"
#include "norm_terms.hpp"

namespace dormer::adapter {
namespace {

/// Elements of W whose products with Δ exist at one time.
constexpr std::int64_t kCrossElements = std::int64_t{1} << 18;

/// The larger factor is low-rank where that is smaller; the smaller one only if both are asked for.
KroneckerFactorShape small_shape(const ChangeRequest& request, WidthFactors out, WidthFactors channels) {
  const bool low_rank =
      request.decompose_both && !request.full_matrix && 2 * request.rank < std::max(out.small, channels.small);
  return {.rows = out.small, .columns = channels.small, .rank = low_rank ? request.rank : 0};
}

KroneckerFactorShape large_shape(const ChangeRequest& request, WidthFactors out, WidthFactors channels) {
  const bool low_rank = !request.full_matrix && 2 * request.rank < std::max(out.large, channels.large);
  const Site& site = request.layer.site;
  return {.rows = out.large,
          .columns = channels.large,
          .kernel = site.convolution.kernel,
          .rank = low_rank ? request.rank : 0,
          .tucker = low_rank && request.tucker && site.taps() > 1};
}

WidthFactors out_factors(const ChangeRequest& request) {
  return divide_width(request.layer.site.out, request.factor);
}
WidthFactors channel_factors(const ChangeRequest& request) {
  return divide_width(request.layer.site.channels(), request.factor);
}

Site large_site(const Site& site, const KroneckerFactorShape& shape) {
  Site large = site;
  large.out = shape.rows;
  large.in = shape.columns;
  large.convolution.groups = 1;
  return large;
}

}  // namespace

KroneckerChange::KroneckerChange(const ChangeRequest& request, tensor::FlatSpace& space)
    : space_(space),
      site_(request.layer.site),
      compute_like_(request.layer.weight.values()),
      small_(space, small_shape(request, out_factors(request), channel_factors(request)), site_.name + ".lokr_w1", ""),
      large_(space, large_shape(request, out_factors(request), channel_factors(request)), site_.name + ".lokr_w2",
             site_.name + ".lokr_t2") {
  large_site_ = large_site(site_, large_.shape());
  // Two whole factors have no rank to divide by: every consumer takes the scale as 1 then.
  scale_ = small_.shape().rank == 0 && large_.shape().rank == 0 ? 1.0 : request.scale;
}

void KroneckerChange::initialize(RandomKey key) {
  small_.initialize(key, false);
  large_.initialize(key, true);
}

void KroneckerChange::refresh() {
  small_values_ = small_.values();
  large_values_ = large_.values();
  const at::ScalarType dtype = compute_like_.scalar_type();
  small_compute_ = at::mul(small_values_, scale_).to(dtype);
  std::vector<std::int64_t> sizes{large_site_.out, large_site_.in};
  sizes.insert(sizes.end(), site_.convolution.kernel.begin(), site_.convolution.kernel.end());
  large_compute_ = large_values_.to(dtype).view(sizes);
}

at::Tensor KroneckerChange::parts_as_samples(const at::Tensor& x) const {
  std::vector<std::int64_t> sizes = x.sizes().vec();
  sizes[0] *= small_.shape().columns;
  sizes[1] = large_site_.in;
  return x.reshape(sizes);
}

std::vector<at::Tensor> KroneckerChange::add_forward(const at::Tensor& x, at::Tensor& y) const {
  if (grouped()) {
    y.add_(apply_weight(site_, x, whole_change()));
    return {};
  }
  const at::Tensor inner = apply_weight(large_site_, parts_as_samples(x), large_compute_);  // [samples * p, k, …]
  // Among the parts: [l, p] times [samples, p, k * extent].
  y.add_(at::matmul(small_compute_, inner.view({x.size(0), small_.shape().columns, -1})).view(y.sizes()));
  return {inner};
}

void KroneckerChange::backward(const at::Tensor& gradient, const ChangeInput& input,
                               const std::vector<at::Tensor>& saved, at::Tensor& x_gradient) const {
  if (!grouped()) {
    backward_in_turn(gradient, input, saved.front(), x_gradient);
    return;
  }
  if (small_.trains()) {
    const at::Tensor dense = weight_gradient(site_, gradient, input.scaled()).reshape({site_.out, site_.columns()});
    for_row_blocks(site_, [&](std::int64_t first, std::int64_t count) {
      add_weight_gradient(first, dense.narrow(0, first, count).to(at::kFloat));
    });
  }
  if (x_gradient.defined()) {
    x_gradient.add_(input_gradient(site_, gradient, input.x, whole_change()));
  }
}

void KroneckerChange::backward_in_turn(const at::Tensor& gradient, const ChangeInput& input, const at::Tensor& inner,
                                       at::Tensor& x_gradient) const {
  const std::int64_t samples = input.x.size(0);
  const std::int64_t l = small_.shape().rows;
  const std::int64_t p = small_.shape().columns;
  const at::Tensor outer = gradient.reshape({samples, l, -1});
  const at::Tensor inner_gradient = at::matmul(small_compute_.t(), outer).view(inner.sizes());  // [samples * p, k, …]
  if (small_.trains()) {
    const at::Tensor products = at::bmm(outer, inner.view({samples, p, -1}).transpose(1, 2));  // [samples, l, p]
    small_.add_gradient(at::sum(products, {0}, false, at::kFloat).mul_(scale_));
    large_.add_gradient(large_gradient(inner_gradient, input).to(at::kFloat).reshape(large_values_.sizes()));
  }
  if (x_gradient.defined()) {
    const at::Tensor parts = parts_as_samples(input.x);
    x_gradient.add_(input_gradient(large_site_, inner_gradient, parts, large_compute_).view(input.x.sizes()));
  }
}

at::Tensor KroneckerChange::large_gradient(const at::Tensor& inner_gradient, const ChangeInput& input) const {
  if (!input.factor.defined() || site_.form != LayerForm::kLinear) {
    return weight_gradient(large_site_, inner_gradient, parts_as_samples(input.scaled()));
  }
  const std::int64_t rows = input.x.size(0);
  const std::int64_t p = small_.shape().columns;
  const std::int64_t block = std::clamp<std::int64_t>(kCachedElements / input.x.size(1), 1, rows);
  at::Tensor sum = at::zeros(large_compute_.sizes(), large_values_.options());
  for (std::int64_t first = 0; first < rows; first += block) {  // the scaled rows stay in a core's cache
    const std::int64_t count = std::min(block, rows - first);
    const ChangeInput part{input.x.narrow(0, first, count), input.factor};
    sum.add_(
        weight_gradient(large_site_, inner_gradient.narrow(0, first * p, count * p), parts_as_samples(part.scaled())));
  }
  return sum;
}

void KroneckerChange::for_parts(std::int64_t first, std::int64_t count,
                                const std::function<void(const RowPart&)>& visit) const {
  const std::int64_t k = large_site_.out;
  for (std::int64_t row = first; row < first + count;) {
    const std::int64_t i = row / k;
    const std::int64_t end = std::min((i + 1) * k, first + count);
    visit({i, row - i * k, end - i * k});
    row = end;
  }
}

at::Tensor KroneckerChange::dense_rows(std::int64_t first, std::int64_t count) const {
  std::vector<at::Tensor> parts;
  for_parts(first, count, [&](const RowPart& part) {
    const at::Tensor large = large_values_.narrow(0, part.begin, part.end - part.begin).unsqueeze(1);  // [j, 1, n taps]
    const at::Tensor small = small_values_.select(0, part.i).view({1, -1, 1});
    parts.push_back(at::mul(large, small).mul_(scale_).flatten(1));
  });
  return parts.size() == 1 ? parts.front() : at::cat(parts, 0);
}

void KroneckerChange::add_weight_gradient(std::int64_t first, const at::Tensor& rows) const {
  if (!small_.trains()) {
    return;
  }
  const std::int64_t p = small_.shape().columns;
  const at::Tensor small_gradient = at::zeros_like(small_values_);
  const at::Tensor large_gradient = at::zeros_like(large_values_);
  std::int64_t at_row = 0;
  for_parts(first, rows.size(0), [&](const RowPart& part) {
    const std::int64_t count = part.end - part.begin;
    const at::Tensor block = rows.narrow(0, at_row, count).view({count, p, -1});  // [j, a, n taps]
    const at::Tensor large = large_values_.narrow(0, part.begin, count);
    small_gradient.select(0, part.i).add_(at::sum(at::bmm(block, large.unsqueeze(2)).squeeze(2), {0}), scale_);
    const at::Tensor small = small_values_.select(0, part.i).view({1, 1, p}).expand({count, 1, p});
    large_gradient.narrow(0, part.begin, count).add_(at::bmm(small, block).squeeze(1), scale_);
    at_row += count;
  });
  small_.add_gradient(small_gradient);
  large_.add_gradient(large_gradient);
}

template <typename Visit>
void KroneckerChange::for_cross_blocks(const FrozenLayer& layer, const Visit& visit) const {
  const std::int64_t l = small_.shape().rows;
  const std::int64_t k = large_site_.out;
  const std::int64_t block = std::clamp<std::int64_t>(kCrossElements / (k * site_.columns()), 1, l);
  for (std::int64_t first = 0; first < l; first += block) {
    const std::int64_t count = std::min(block, l - first);
    visit(matrix_rows(site_, layer.weight.values(), first * k, count * k), small_values_.narrow(0, first, count));
  }
}

at::Tensor KroneckerChange::output_cross(const FrozenLayer& layer) const {
  const std::int64_t k = large_site_.out;
  const std::int64_t p = small_.shape().columns;
  std::vector<at::Tensor> norms;
  for_cross_blocks(layer, [&](const at::Tensor& rows, const at::Tensor& small) {
    const std::int64_t count = small.size(0);
    // Each row of W as [p, n taps]: among the parts first, with those of W1.
    const at::Tensor of_rows = small.unsqueeze(1).expand({count, k, p}).reshape({count * k, 1, p});
    const at::Tensor among = at::bmm(of_rows, rows.view({count * k, p, -1})).view({count, k, -1});
    norms.push_back(at::sum(at::mul(among, large_values_), {2}).flatten());
  });
  return norms.size() == 1 ? norms.front() : at::cat(norms, 0);
}

at::Tensor KroneckerChange::input_cross(const FrozenLayer& layer) const {
  const std::int64_t k = large_site_.out;
  const std::int64_t p = small_.shape().columns;
  const at::Tensor columns = at::zeros({p, large_values_.size(1)}, large_values_.options());
  const at::Tensor large = large_values_.view({1, k, 1, -1});
  for_cross_blocks(layer, [&](const at::Tensor& rows, const at::Tensor& small) {
    const at::Tensor sums = at::sum(at::mul(rows.view({small.size(0), k, p, -1}), large), {1});  // [i, a, n taps]
    columns.add_(at::sum(at::mul(sums, small.unsqueeze(2)), {0}));
  });
  return sum_taps(site_, columns.flatten());
}

std::optional<NormTerms> KroneckerChange::norm_terms(const FrozenLayer& layer, Axis axis) const {
  const at::Tensor small_squares = at::mul(small_values_, small_values_);
  const at::Tensor large_squares = at::mul(large_values_, large_values_);
  at::Tensor square;
  if (axis == Axis::kOutput) {
    square = at::outer(at::sum(small_squares, {1}), at::sum(large_squares, {1})).flatten();
  } else {
    square = at::outer(at::sum(small_squares, {0}), sum_taps(large_site_, at::sum(large_squares, {0}))).flatten();
  }
  const at::Tensor cross = axis == Axis::kOutput ? output_cross(layer) : input_cross(layer);
  return NormTerms{cross.mul(scale_), square.mul_(scale_ * scale_)};
}

at::Tensor KroneckerChange::whole_change() const {
  const at::Tensor whole = at::empty({site_.out, site_.columns()}, compute_like_.options());
  for_row_blocks(site_, [&](std::int64_t first, std::int64_t count) {
    whole.narrow(0, first, count).copy_(dense_rows(first, count));
  });
  return whole.view(compute_like_.sizes());
}

}  // namespace dormer::adapter
