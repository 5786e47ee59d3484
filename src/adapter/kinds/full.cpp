#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/sum.h>

#include "dormer/adapter/kinds.hpp"
#include "dormer/tensor/frozen_product.hpp"

namespace dormer::adapter::kinds {
namespace {

/// The layer itself: an fp32 master copy of its weight, and of its bias where it has one, in the flat space. Δ is the
/// copy less the frozen weight; the forward pass multiplies with the copy in the compute dtype.
class FullChange final : public Change {
 public:
  FullChange(const ChangeRequest& request, tensor::FlatSpace& space) : space_(space), layer_(request.layer) {
    const adapter::Site& site = layer_.site;
    weight_ = space.add(site.name + ".weight", {site.out, site.in}, {site.out, site.in}, tensor::ParameterRole::kFull);
    if (layer_.bias.defined()) {
      bias_ = space.add(site.name + ".bias", {site.out}, {site.out}, tensor::ParameterRole::kFull);
    }
  }

  void initialize(RandomKey /*key*/) override {
    space_.value(weight_).copy_(layer_.weight.values());
    if (bias_) {
      space_.value(*bias_).copy_(layer_.bias.values());
    }
  }

  void refresh() override {
    const at::ScalarType dtype = layer_.weight.values().scalar_type();
    weight_compute_ = space_.value(weight_).to(dtype);
    if (bias_) {
      bias_compute_ = space_.value(*bias_).to(dtype);
    }
  }

  [[nodiscard]] const at::Tensor* whole_weight() const override { return &weight_compute_; }
  [[nodiscard]] const at::Tensor* whole_bias() const override { return bias_ ? &bias_compute_ : nullptr; }

  std::vector<at::Tensor> add_forward(const at::Tensor& /*x*/, at::Tensor& /*y*/) const override { return {}; }

  void backward(const at::Tensor& gradient, const at::Tensor& x, const std::vector<at::Tensor>& /*saved*/,
                at::Tensor& /*x_gradient*/) const override {
    if (!space_.trains(weight_)) {
      return;
    }
    space_.gradient(weight_).add_(tensor::multiply(gradient.t(), x));
    if (bias_) {
      space_.gradient(*bias_).add_(at::sum(gradient, {0}, false, at::kFloat));
    }
  }

  NormTerms norm_terms(const tensor::BaseWeight& weight) const override {
    constexpr std::int64_t kBlock = 1'024;  // rows, so that a half-precision W never exists whole in fp32
    std::vector<at::Tensor> cross;
    std::vector<at::Tensor> square;
    const at::Tensor values = space_.value(weight_);
    for (std::int64_t first = 0; first < weight.rows(); first += kBlock) {
      const std::int64_t rows = std::min(kBlock, weight.rows() - first);
      const at::Tensor frozen = weight.values().narrow(0, first, rows).to(at::kFloat);
      const at::Tensor delta = at::sub(values.narrow(0, first, rows), frozen);
      cross.push_back(at::sum(at::mul(frozen, delta), {1}));
      square.push_back(at::sum(at::mul(delta, delta), {1}));
    }
    return {{at::cat(cross, 0), at::cat(square, 0)}};
  }

  at::Tensor dense_rows(const at::Tensor& rows) const override {
    return at::sub(space_.value(weight_).index_select(0, rows),
                   layer_.weight.values().index_select(0, rows).to(at::kFloat));
  }

 private:
  tensor::FlatSpace& space_;
  FrozenLinear layer_;
  std::size_t weight_ = 0;
  std::optional<std::size_t> bias_;
  at::Tensor weight_compute_;
  at::Tensor bias_compute_;
};

}  // namespace

AdapterKind full() {
  return {.doc = "The weights themselves, and biases where there are some.",
          .whole = true,
          .build = [](const ChangeRequest& request, tensor::FlatSpace& space) -> std::unique_ptr<Change> {
            return std::make_unique<FullChange>(request, space);
          }};
}

}  // namespace dormer::adapter::kinds
