#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/mul.h>

#include "change_input.hpp"
#include "dormer/adapter/kinds.hpp"
#include "initial_values.hpp"
#include "layer_operation.hpp"
#include "low_rank.hpp"
#include "norm_terms.hpp"

namespace dormer::adapter::kinds {

AdapterKind lora();

namespace {

/// How one step of the chain convolves.
struct Step {
  std::vector<std::int64_t> stride;
  std::vector<std::int64_t> padding;
  std::vector<std::int64_t> dilation;
  std::int64_t groups = 1;

  [[nodiscard]] at::Tensor forward(const at::Tensor& x, const at::Tensor& weight) const {
    return at::convolution(x, weight, c10::nullopt, stride, padding, dilation, false, zeros(), groups);
  }
  /// Gradients of x (undefined unless wanted) and of the weight.
  [[nodiscard]] std::pair<at::Tensor, at::Tensor> backward(const at::Tensor& gradient, const at::Tensor& x,
                                                           const at::Tensor& weight, bool wants_x) const {
    auto [x_gradient, weight_gradient, unused] = at::convolution_backward(
        gradient, x, weight, c10::nullopt, stride, padding, dilation, false, zeros(), groups, {wants_x, true, false});
    return {x_gradient, weight_gradient};
  }
  [[nodiscard]] std::vector<std::int64_t> zeros() const { return std::vector<std::int64_t>(stride.size(), 0); }
};

Step pointwise(std::size_t axes, std::int64_t groups) {
  return {std::vector<std::int64_t>(axes, 1), std::vector<std::int64_t>(axes, 0), std::vector<std::int64_t>(axes, 1),
          groups};
}

/// LoCon (LyCORIS, Yeh et al. 2023): a convolution to `rank` channels, then one of a single tap: Δ = s B A with A
/// [rank, channels * taps] and B [out, rank]. The Tucker form takes three steps: a single tap to `rank` channels, the
/// kernel among those, and a single tap again. Groups of channels become samples of the first steps and groups of the
/// last one, so that the function is that of Δ in the place of the weight.
class ConvolutionLowRank final : public Change {
 public:
  ConvolutionLowRank(const ChangeRequest& request, tensor::FlatSpace& space)
      : space_(space),
        site_(request.layer.site),
        rank_(request.rank),
        scale_(request.scale),
        tucker_(request.tucker && site_.taps() > 1),
        compute_like_(request.layer.weight.values()) {
    const std::size_t axes = site_.convolution.kernel.size();
    const Convolution& shape = site_.convolution;
    kernel_ = {shape.stride, shape.padding, shape.dilation, 1};
    down_ = pointwise(axes, 1);
    up_ = pointwise(axes, shape.groups);
    std::vector<std::int64_t> kernel = shape.kernel;
    std::vector<std::int64_t> a{rank_, site_.channels()};
    if (tucker_) {
      const std::vector<std::int64_t> middle = tucker_middle_shape(rank_, kernel);
      middle_ = space.add(site_.name + ".lora_mid", middle, middle, tensor::ParameterRole::kFactorIn);
      kernel.assign(axes, 1);
    }
    a.insert(a.end(), kernel.begin(), kernel.end());
    a_ = add_factor(space, site_.name + ".lora_A", a);
    b_ = add_factor(space, site_.name + ".lora_B", {rank_, site_.out}, tensor::ParameterRole::kFactorOut);
  }

  void initialize(RandomKey key) override {
    draw_uniform(space_, a_, key, tucker_ ? site_.channels() : site_.columns());
    if (tucker_) {
      draw_uniform(space_, middle_, key, rank_ * site_.taps());
    }
    space_.value(b_).zero_();
  }

  void refresh() override {
    const at::ScalarType dtype = compute_like_.scalar_type();
    a_compute_ = factor_a().to(dtype);
    std::vector<std::int64_t> up_shape{site_.out, factor_b().size(0)};
    up_shape.resize(2 + site_.convolution.kernel.size(), 1);
    b_compute_ = at::mul(factor_b().t(), scale_).to(dtype).contiguous().view(up_shape);
    if (tucker_) {
      middle_compute_ = space_.value(middle_).to(dtype);
    }
  }

  std::vector<at::Tensor> add_forward(const at::Tensor& x, at::Tensor& y) const override {
    std::vector<at::Tensor> saved;
    at::Tensor hidden = groups_as_samples(x, site_.channels());
    if (tucker_) {
      saved.push_back(down_.forward(hidden, a_compute_));
      hidden = kernel_.forward(saved.back(), middle_compute_);
    } else {
      hidden = kernel_.forward(hidden, a_compute_);
    }
    saved.push_back(samples_as_groups(hidden));
    y.add_(up_.forward(saved.back(), b_compute_));
    return saved;
  }

  void backward(const at::Tensor& gradient, const ChangeInput& input, const std::vector<at::Tensor>& saved,
                at::Tensor& x_gradient) const override {
    const auto [hidden_gradient, b_gradient] = up_.backward(gradient, saved.back(), b_compute_, true);
    const bool trains = space_.trains(a_);
    if (trains) {
      part(space_.gradient(b_)).add_(b_gradient.view({site_.out, -1}).t(), scale_);
    }
    at::Tensor inner = groups_as_samples(hidden_gradient, hidden_gradient.size(1) / site_.convolution.groups);
    if (tucker_) {
      const auto [before, middle_gradient] = kernel_.backward(inner, saved.front(), middle_compute_, true);
      if (trains) {
        space_.gradient(middle_).add_(middle_gradient);
      }
      inner = before;
    }
    const auto [through, a_gradient] =
        (tucker_ ? down_ : kernel_)
            .backward(inner, groups_as_samples(input.x, site_.channels()), a_compute_, x_gradient.defined());
    if (trains) {
      add_by_channel(part(space_.gradient(a_)), a_gradient, input.factor);
    }
    if (x_gradient.defined()) {
      x_gradient.add_(through.reshape(input.x.sizes()));
    }
  }

  std::optional<NormTerms> norm_terms(const FrozenLayer& layer, Axis axis) const override {
    return low_rank_norm_terms(layer, axis, product());
  }

  std::optional<at::Tensor> squared_norms_of_sum(const FrozenLayer& layer, Axis axis) const override {
    return low_rank_squared_norms(layer, axis, product());
  }

  at::Tensor squared_norms_of_frozen(const FrozenLayer& layer, Axis axis) const override {
    return low_rank_frozen_norms(layer, axis, product());
  }

  at::Tensor dense_rows(std::int64_t first, std::int64_t count) const override {
    return low_rank_rows(product(), first, count);
  }

  void add_weight_gradient(std::int64_t first, const at::Tensor& rows) const override {
    if (!space_.trains(a_)) {
      return;
    }
    const LowRankProduct change = product();
    const at::Tensor a_gradient = change.b.narrow(1, first, rows.size(0)).mm(rows).mul_(scale_);
    part(space_.gradient(b_)).narrow(1, first, rows.size(0)).addmm_(change.a, rows.t(), 1.0, scale_);
    if (tucker_) {
      add_tucker_gradients(a_gradient, space_.value(middle_), factor_a().flatten(1), space_.gradient(middle_),
                           part(space_.gradient(a_)).flatten(1));
    } else {
      const at::Tensor slot = part(space_.gradient(a_));
      slot.add_(a_gradient.view(slot.sizes()));
    }
  }

 private:
  /// The Tucker form computes without padding: its middle has the rank on two axes.
  [[nodiscard]] at::Tensor part(const at::Tensor& stored) const {
    return tucker_ ? stored.narrow(0, 0, rank_) : stored;
  }
  [[nodiscard]] at::Tensor factor_a() const { return part(space_.value(a_)); }
  [[nodiscard]] at::Tensor factor_b() const { return part(space_.value(b_)); }
  [[nodiscard]] LowRankProduct product() const {
    const at::Tensor a = factor_a().flatten(1);
    return {tucker_ ? tucker_factor(space_.value(middle_), a) : a, factor_b(), scale_};
  }

  [[nodiscard]] at::Tensor samples_as_groups(const at::Tensor& x) const {
    if (site_.convolution.groups == 1) {
      return x;
    }
    std::vector<std::int64_t> sizes = x.sizes().vec();
    sizes[0] /= site_.convolution.groups;
    sizes[1] *= site_.convolution.groups;
    return x.reshape(sizes);
  }

  tensor::FlatSpace& space_;
  Site site_;
  std::int64_t rank_;
  double scale_;
  bool tucker_;
  at::Tensor compute_like_;
  Step down_;
  Step kernel_;
  Step up_;
  std::size_t a_ = 0;
  std::size_t b_ = 0;
  std::size_t middle_ = 0;
  at::Tensor a_compute_;
  at::Tensor middle_compute_;
  at::Tensor b_compute_;  // s B: [out, rank, 1…]
};

std::unique_ptr<Change> build(const ChangeRequest& request, tensor::FlatSpace& space) {
  if (request.layer.site.form == LayerForm::kConvolution) {
    return std::make_unique<ConvolutionLowRank>(request, space);
  }
  return lora().build(request, space);
}

}  // namespace

AdapterKind locon() {
  return {
      .doc = "Low-rank factors for convolutions, too: the first has the kernel, or with tucker a third one between.",
      .forms = {LayerForm::kLinear, LayerForm::kConvolution},
      .options = {"tucker", "conv_rank", "conv_alpha"},
      .build = build};
}

}  // namespace dormer::adapter::kinds
