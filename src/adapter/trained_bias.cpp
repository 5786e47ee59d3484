#include "trained_bias.hpp"

#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>

namespace dormer::adapter {
namespace {

class UnchangedWeight final : public Change {
 public:
  explicit UnchangedWeight(const FrozenLayer& layer) : layer_(layer) {}
  void initialize(RandomKey /*key*/) override {}
  void refresh() override {}
  std::vector<at::Tensor> add_forward(const at::Tensor& /*x*/, at::Tensor& /*y*/) const override { return {}; }
  void backward(const at::Tensor& /*gradient*/, const ChangeInput& /*input*/, const std::vector<at::Tensor>& /*saved*/,
                at::Tensor& /*x_gradient*/) const override {}
  at::Tensor dense_rows(std::int64_t /*first*/, std::int64_t count) const override {
    return at::zeros({count, layer_.site.columns()}, layer_.weight.values().options().dtype(at::kFloat));
  }
  void add_weight_gradient(std::int64_t /*first*/, const at::Tensor& /*rows*/) const override {}

 private:
  FrozenLayer layer_;
};

/// The sum of a layer's output gradient over everything but its channels, fp32 [out].
at::Tensor bias_gradient(const at::Tensor& gradient) {
  std::vector<std::int64_t> others{0};
  for (std::int64_t axis = 2; axis < gradient.dim(); ++axis) {
    others.push_back(axis);
  }
  return at::sum(gradient, others, false, at::kFloat);
}

}  // namespace

TrainedBias::TrainedBias(const FrozenLayer& layer, tensor::FlatSpace& space)
    : space_(space),
      frozen_(layer.bias),
      parameter_(
          space.add(layer.site.name + ".bias", {layer.site.out}, {layer.site.out}, tensor::ParameterRole::kFull)) {}

void TrainedBias::initialize() {
  space_.value(parameter_).copy_(frozen_.values());
}

void TrainedBias::refresh() {
  values_ = space_.value(parameter_).to(frozen_.values().scalar_type());
}

void TrainedBias::add_gradient(const at::Tensor& gradient) const {
  if (space_.trains(parameter_)) {
    space_.gradient(parameter_).add_(bias_gradient(gradient));
  }
}

std::unique_ptr<Change> unchanged_weight(const FrozenLayer& layer) {
  return std::make_unique<UnchangedWeight>(layer);
}

}  // namespace dormer::adapter
