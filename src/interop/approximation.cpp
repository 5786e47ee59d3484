#include "dormer/interop/approximation.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sqrt.h>

#include "dense_weight.hpp"
#include "dormer/core/error.hpp"
#include "dormer/tensor/differentiable.hpp"

namespace dormer::interop {
namespace {

const adapter::FrozenLayer& layer_of(const BaseFacts& base, const std::string& name) {
  const auto found = std::ranges::find_if(base.layers, [&](const auto& layer) { return layer.site.name == name; });
  require(found != base.layers.end(), Fault::kInput, "the model has no layer '{}'", name);
  require(found->site.form == adapter::LayerForm::kLinear, Fault::kUsage,
          "'{}' is no linear layer, and a LoRA in its place is made of those alone; write merged weights", name);
  return *found;
}

StoredArray stored(const at::Tensor& matrix) {
  const at::Tensor values = matrix.to(at::kFloat).contiguous();
  const std::span<const float> numbers(values.const_data_ptr<float>(), static_cast<std::size_t>(values.numel()));
  return {.shape = {values.size(0), values.size(1)}, .values = {numbers.begin(), numbers.end()}};
}

double squared_norm(const at::Tensor& values) {
  return values.square().sum().item<double>();
}

struct Halves {
  StoredLayer layer;
  double lost = 0.0;   ///< squared norm of what is missing
  double whole = 0.0;  ///< of all
};

/// Both factors get the roots of the singular values: numbers of one size, which round alike.
Halves nearest(const at::Tensor& change, std::int64_t rank, DType dtype) {
  const std::int64_t kept = std::min({rank, change.size(0), change.size(1)});
  const auto [left, values, right] = at::linalg_svd(change, /*full_matrices=*/false);
  const at::Tensor roots = at::sqrt(values.narrow(0, 0, kept));
  Halves result{.layer = {.kind = "lora", .rank = kept, .alpha = static_cast<double>(kept), .dtype = dtype}};
  result.layer.factors["lora_B"] = stored(left.narrow(1, 0, kept).mul(roots));
  result.layer.factors["lora_A"] = stored(right.narrow(0, 0, kept).mul(roots.unsqueeze(1)));
  result.whole = squared_norm(values);
  result.lost = squared_norm(values.narrow(0, kept, values.size(0) - kept));
  return result;
}

double ratio(double lost, double whole) {
  return whole == 0.0 ? 0.0 : std::sqrt(lost / whole);
}

}  // namespace

Approximation approximate_by_lora(const StoredAdapter& adapter, const BaseFacts& base, std::int64_t rank) {
  require(rank > 0, Fault::kUsage, "a LoRA has a rank of at least one, not {}", rank);
  const tensor::NoRecording guard;
  Approximation result;
  result.adapter = adapter;
  result.adapter.metadata.clear();  // it tells of the adapter that this is not
  double lost = 0.0;
  double whole = 0.0;
  for (auto& [name, layer] : result.adapter.layers) {
    require(layer.bias.empty() && !layer.factors.contains("bias") && !layer.factors.contains("diff_b"), Fault::kUsage,
            "'{}' has a trained bias, which a LoRA in its place does not hold; write merged weights", name);
    const at::Tensor weight = layer_of(base, name).weight.values().cpu();
    const at::Tensor moved = dense_effective_weight(name, layer, weight);
    Halves halves = nearest(moved.to(at::kDouble).sub(weight.to(at::kDouble)), rank, layer.dtype);
    lost += halves.lost;
    whole += halves.whole;
    if (const double error = ratio(halves.lost, halves.whole);
        result.worst_layer.empty() || error > result.worst_error) {
      result.worst_error = error;
      result.worst_layer = name;
    }
    layer = std::move(halves.layer);
  }
  result.error = ratio(lost, whole);
  return result;
}

}  // namespace dormer::interop
