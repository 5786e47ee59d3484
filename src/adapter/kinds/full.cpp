#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "change_input.hpp"
#include "dormer/adapter/kinds.hpp"
#include "layer_operation.hpp"

namespace dormer::adapter::kinds {
namespace {

/// The layer's weight itself: an fp32 master copy in the flat space. Δ is the copy less the frozen weight; the forward
/// pass multiplies with the copy in the compute dtype. The bias is a TrainedBias, as beside other kinds.
class FullChange final : public Change {
 public:
  FullChange(const ChangeRequest& request, tensor::FlatSpace& space) : space_(space), layer_(request.layer) {
    const adapter::Site& site = layer_.site;
    const std::vector<std::int64_t> sizes = layer_.weight.values().sizes().vec();
    weight_ = space.add(site.name + ".weight", sizes, sizes, tensor::ParameterRole::kFull);
  }

  void initialize(RandomKey /*key*/) override { space_.value(weight_).copy_(layer_.weight.values()); }

  void refresh() override { weight_compute_ = space_.value(weight_).to(layer_.weight.values().scalar_type()); }

  [[nodiscard]] const at::Tensor* whole_weight() const override { return &weight_compute_; }

  std::vector<at::Tensor> add_forward(const at::Tensor& /*x*/, at::Tensor& /*y*/) const override { return {}; }

  void backward(const at::Tensor& gradient, const ChangeInput& input, const std::vector<at::Tensor>& /*saved*/,
                at::Tensor& /*x_gradient*/) const override {
    if (!space_.trains(weight_)) {
      return;
    }
    if (layer_.site.form == LayerForm::kEmbedding) {
      space_.gradient(weight_).index_add_(0, input.x, gradient.to(at::kFloat));
      return;
    }
    space_.gradient(weight_).add_(weight_gradient(layer_.site, gradient, input.x));
  }

  at::Tensor dense_rows(std::int64_t first, std::int64_t count) const override {
    return matrix_rows(layer_.site, space_.value(weight_), first, count)
        .sub(matrix_rows(layer_.site, layer_.weight.values(), first, count));
  }

  void add_weight_gradient(std::int64_t first, const at::Tensor& rows) const override {
    if (space_.trains(weight_)) {
      const at::Tensor slot = space_.gradient(weight_);
      const at::Tensor matrix = layer_.site.form == LayerForm::kEmbedding ? slot.t() : slot.view({layer_.site.out, -1});
      matrix.narrow(0, first, rows.size(0)).add_(rows);
    }
  }

 private:
  tensor::FlatSpace& space_;
  FrozenLayer layer_;
  std::size_t weight_ = 0;
  at::Tensor weight_compute_;
};

}  // namespace

AdapterKind full() {
  return {
      .doc = "The weights themselves, and biases where there are some.",
      .forms = {LayerForm::kLinear, LayerForm::kConvolution, LayerForm::kEmbedding, LayerForm::kNorm, LayerForm::kHead},
      .whole = true,
      .build = [](const ChangeRequest& request, tensor::FlatSpace& space) -> std::unique_ptr<Change> {
        return std::make_unique<FullChange>(request, space);
      }};
}

}  // namespace dormer::adapter::kinds
