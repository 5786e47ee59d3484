#include "low_rank.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include <ATen/ops/cat.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros_like.h>

#include "dormer/tensor/device_kernels.hpp"
#include "dormer/tensor/frozen_product.hpp"
#include "dormer/tensor/weight_norms.hpp"
#include "layer_operation.hpp"

namespace dormer::adapter {
namespace {

constexpr std::int64_t kBlock = 1'024;  // rows of W that exist in fp32 at one time

/// rowsum((W Aᵀ) ∘ B) for linear layers and convolutions.
at::Tensor output_cross(const FrozenLayer& layer, const LowRankProduct& change) {
  std::vector<at::Tensor> cross;
  for (std::int64_t first = 0; first < layer.site.out; first += kBlock) {
    const std::int64_t rows = std::min(kBlock, layer.site.out - first);
    const at::Tensor block = matrix_rows(layer.site, layer.weight.values(), first, rows);
    const at::Tensor products = tensor::multiply_transposed(block, change.a);  // [rows, rank]
    cross.push_back(at::sum(at::mul(products, change.b.narrow(1, first, rows).t()), {1}));
  }
  return cross.size() == 1 ? cross.front() : at::cat(cross, 0);
}

/// colsum((BᵀW) ∘ A): [columns].
at::Tensor input_cross(const FrozenLayer& layer, const LowRankProduct& change) {
  at::Tensor products;
  for (std::int64_t first = 0; first < layer.site.out; first += kBlock) {
    const std::int64_t rows = std::min(kBlock, layer.site.out - first);
    const at::Tensor block = matrix_rows(layer.site, layer.weight.values(), first, rows);
    at::Tensor product = tensor::multiply(change.b.narrow(1, first, rows), block);
    products = products.defined() ? products.add_(product) : std::move(product);
  }
  return at::sum(products.mul_(change.a), {0});
}

/// Of an embedding [in, out]: Σ over the table's rows.
at::Tensor table_cross(const FrozenLayer& layer, const LowRankProduct& change) {
  const at::Tensor products = at::zeros_like(change.b);  // A W: [rank, out]
  for (std::int64_t first = 0; first < layer.site.in; first += kBlock) {
    const std::int64_t rows = std::min(kBlock, layer.site.in - first);
    products.addmm_(change.a.narrow(1, first, rows), layer.weight.values().narrow(0, first, rows).to(at::kFloat));
  }
  return at::sum(products.mul_(change.b), {0});
}

/// The factors as a layer of this dtype multiplies with them: A and s B, rounded.
LowRankProduct as_multiplied(const LowRankProduct& change, at::ScalarType dtype) {
  if (dtype == at::kFloat) {
    return change;
  }
  return {change.a.to(dtype), at::mul(change.b, change.scale).to(dtype), 1.0};
}

/// colsum(((F Fᵀ) G) ∘ G) for G [rank, n] and the other factor F.
at::Tensor quadratic(const at::Tensor& factor, const at::Tensor& other) {
  return at::sum(at::mm(at::mm(other, other.t()), factor).mul_(factor), {0});
}

}  // namespace

NormTerms low_rank_norm_terms(const FrozenLayer& layer, Axis axis, const LowRankProduct& change) {
  const double s = change.scale;
  if (axis == Axis::kInput) {
    return {sum_taps(layer.site, input_cross(layer, change)).mul_(s),
            sum_taps(layer.site, quadratic(change.a, change.b)).mul_(s * s)};
  }
  const bool table = layer.site.form == LayerForm::kEmbedding;
  return {(table ? table_cross(layer, change) : output_cross(layer, change)).mul_(s),
          quadratic(change.b, change.a).mul_(s * s)};
}

std::optional<at::Tensor> low_rank_squared_norms(const FrozenLayer& layer, Axis axis, const LowRankProduct& change,
                                                 const std::optional<LowRankProduct>& multiplied) {
  constexpr std::int64_t kFewRanks = 32;  // docs/adr/0019
  const at::Tensor& weight = layer.weight.values();
  if (!tensor::by_host_loops(weight) || change.a.size(0) > kFewRanks) {
    return std::nullopt;
  }
  const bool rounded = weight.scalar_type() != at::kFloat;  // otherwise the scale stays beside the factors
  const LowRankProduct taken = rounded && multiplied ? *multiplied : as_multiplied(change, weight.scalar_type());
  const tensor::FrozenSquares base = [&] { return squared_norms(layer, axis); };
  if (layer.site.form == LayerForm::kEmbedding) {  // its output features are the table's columns
    return tensor::column_squares(weight, {taken.b, taken.a, taken.scale}, base).to(at::kFloat);
  }
  const at::Tensor matrix = weight.flatten(1);
  const tensor::LowRankFactors factors{taken.a, taken.b, taken.scale};
  const at::Tensor squares = axis == Axis::kOutput ? tensor::row_squares(matrix, factors, base)
                                                   : tensor::column_squares(matrix, factors, base, layer.site.taps());
  return squares.to(at::kFloat);
}

at::Tensor low_rank_frozen_norms(const FrozenLayer& layer, Axis axis, LowRankProduct change) {
  if (layer.weight.values().scalar_type() != at::kFloat) {
    return squared_norms(layer, axis);  // to which a change of zero adds zero
  }
  change.scale = 0.0;  // the order of the sum follows from the rank
  const std::optional<at::Tensor> squares = low_rank_squared_norms(layer, axis, change);
  return squares ? *squares : squared_norms(layer, axis);
}

at::Tensor low_rank_rows(const LowRankProduct& change, std::int64_t first, std::int64_t count) {
  return at::mm(change.b.narrow(1, first, count).t(), change.a).mul_(change.scale);
}

void add_low_rank_gradients(const tensor::FlatSpace& space, LowRankParameters parameters, double scale,
                            std::int64_t first, const at::Tensor& rows) {
  if (!space.trains(parameters.a)) {
    return;
  }
  const at::Tensor b = space.value(parameters.b).narrow(1, first, rows.size(0));
  space.gradient(parameters.a).addmm_(b, rows, 1.0, scale);
  space.gradient(parameters.b).narrow(1, first, rows.size(0)).addmm_(space.value(parameters.a), rows.t(), 1.0, scale);
}

at::Tensor tucker_factor(const at::Tensor& middle, const at::Tensor& right) {
  const std::int64_t rank = middle.size(0);
  return at::einsum("pqt,qi->pit", {middle.reshape({rank, rank, -1}), right}).reshape({rank, -1});
}

void add_tucker_gradients(const at::Tensor& gradient, const at::Tensor& middle, const at::Tensor& right,
                          at::Tensor middle_slot, at::Tensor right_slot) {
  const std::int64_t rank = middle.size(0);
  const at::Tensor by_tap = gradient.view({rank, right.size(1), -1});
  middle_slot.add_(at::einsum("pit,qi->pqt", {by_tap, right}).reshape(middle.sizes()));
  right_slot.add_(at::einsum("pit,pqt->qi", {by_tap, middle.reshape({rank, rank, -1})}));
}

std::vector<std::int64_t> tucker_middle_shape(std::int64_t rank, const std::vector<std::int64_t>& kernel) {
  std::vector<std::int64_t> shape{rank, rank};
  shape.insert(shape.end(), kernel.begin(), kernel.end());
  return shape;
}

std::int64_t padded_rank(std::int64_t rank) {
  constexpr std::int64_t kPadding = tensor::FlatSpace::kRankPadding;
  return (rank + kPadding - 1) / kPadding * kPadding;
}

std::size_t add_factor(tensor::FlatSpace& space, const std::string& name, const std::vector<std::int64_t>& shape,
                       tensor::ParameterRole role) {
  std::vector<std::int64_t> stored = shape;
  stored.front() = padded_rank(shape.front());
  return space.add(name, shape, stored, role);
}

}  // namespace dormer::adapter
