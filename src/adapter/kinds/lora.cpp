#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>

#include "change_input.hpp"
#include "dormer/adapter/kinds.hpp"
#include "dormer/core/error.hpp"
#include "dormer/tensor/frozen_product.hpp"
#include "dormer/tensor/weight_norms.hpp"
#include "initial_values.hpp"
#include "layer_operation.hpp"
#include "low_rank.hpp"
#include "moved_low_rank.hpp"
#include "norm_terms.hpp"

namespace dormer::adapter::kinds {

AdapterKind locon();

namespace {

/// LoRA (Hu et al. 2021): Δ = s B A with A [rank, in] and B [out, rank], stored as A and Bᵀ, padded along the rank.
class LinearLowRank final : public Change {
 public:
  LinearLowRank(const ChangeRequest& request, tensor::FlatSpace& space)
      : space_(space),
        start_(request.start.start),
        rank_(request.rank),
        scale_(request.scale),
        in_(request.layer.site.in),
        compute_like_(request.layer.weight.values()) {
    const adapter::Site& site = request.layer.site;
    a_ = add_factor(space, site.name + ".lora_A", {request.rank, site.in});
    b_ = add_factor(space, site.name + ".lora_B", {request.rank, site.out}, tensor::ParameterRole::kFactorOut);
  }

  void initialize(RandomKey key) override {
    if (start_ == Start::kGaussian) {
      draw_normal(space_, a_, key, 1.0 / static_cast<double>(rank_));
    } else {
      draw_uniform(space_, a_, key, in_);
    }
    space_.value(b_).zero_();
  }

  void refresh() override {
    const at::Tensor scaled = at::mul(space_.value(b_), scale_);
    a_compute_ = space_.value(a_).to(compute_like_.scalar_type());
    scaled_b_compute_ = scaled.to(compute_like_.scalar_type());
  }

  std::vector<at::Tensor> add_forward(const at::Tensor& x, at::Tensor& y) const override {
    at::Tensor projected = tensor::multiply_transposed(x, a_compute_);  // [rows, rank]
    y.addmm_(projected, scaled_b_compute_);
    return {std::move(projected)};
  }

  void backward(const at::Tensor& gradient, const ChangeInput& input, const std::vector<at::Tensor>& saved,
                at::Tensor& x_gradient) const override {
    const at::Tensor& projected = saved.front();
    const at::Tensor projected_gradient =
        tensor::multiply_transposed(gradient, scaled_b_compute_);  // s g B: [rows, rank]
    if (space_.trains(a_)) {
      space_.gradient(b_).add_(tensor::multiply(projected.t(), gradient), scale_);
      add_by_channel(space_.gradient(a_), tensor::multiply(projected_gradient.t(), input.x), input.factor);
    }
    if (x_gradient.defined()) {
      x_gradient.addmm_(projected_gradient, a_compute_);
    }
  }

  std::optional<NormTerms> norm_terms(const FrozenLayer& layer, Axis axis) const override {
    return low_rank_norm_terms(layer, axis, product());
  }

  std::optional<at::Tensor> squared_norms_of_sum(const FrozenLayer& layer, Axis axis) const override {
    return low_rank_squared_norms(layer, axis, product(), LowRankProduct{a_compute_, scaled_b_compute_});
  }

  at::Tensor squared_norms_of_frozen(const FrozenLayer& layer, Axis axis) const override {
    return low_rank_frozen_norms(layer, axis, product());
  }

  void replace_cancelling_norms(const FrozenLayer& layer, Axis axis, const at::Tensor& cancels,
                                const at::Tensor& norm) const override {
    if (axis == Axis::kOutput) {
      tensor::cancelling_norms(layer.weight.values(), {space_.value(a_), space_.value(b_), scale_}, cancels, norm);
    } else {
      Change::replace_cancelling_norms(layer, axis, cancels, norm);
    }
  }

  at::Tensor dense_rows(std::int64_t first, std::int64_t count) const override {
    return low_rank_rows(product(), first, count);
  }

  void add_weight_gradient(std::int64_t first, const at::Tensor& rows) const override {
    add_low_rank_gradients(space_, {.a = a_, .b = b_}, scale_, first, rows);
  }

 private:
  [[nodiscard]] LowRankProduct product() const { return {space_.value(a_), space_.value(b_), scale_}; }

  tensor::FlatSpace& space_;
  Start start_;
  std::int64_t rank_;
  double scale_;
  std::int64_t in_;
  at::Tensor compute_like_;
  std::size_t a_ = 0;
  std::size_t b_ = 0;
  at::Tensor a_compute_;         // [rank, in]
  at::Tensor scaled_b_compute_;  // s Bᵀ: [rank, out]
};

/// LoRA of an embedding, as PEFT: the table W [vocabulary, width] changes by s (B A)ᵀ with A [rank, vocabulary]
/// starting at zero and B [width, rank] normal, stored as A and Bᵀ.
class EmbeddingLowRank final : public Change {
 public:
  EmbeddingLowRank(const ChangeRequest& request, tensor::FlatSpace& space)
      : space_(space), scale_(request.scale), compute_like_(request.layer.weight.values()) {
    const adapter::Site& site = request.layer.site;
    a_ = add_factor(space, site.name + ".lora_embedding_A", {request.rank, site.in});
    b_ =
        add_factor(space, site.name + ".lora_embedding_B", {request.rank, site.out}, tensor::ParameterRole::kFactorOut);
  }

  void initialize(RandomKey key) override {
    space_.value(a_).zero_();
    draw_normal(space_, b_, key, 1.0);
  }

  void refresh() override {
    a_compute_ = space_.value(a_).to(compute_like_.scalar_type());
    scaled_b_compute_ = at::mul(space_.value(b_), scale_).to(compute_like_.scalar_type());
  }

  std::vector<at::Tensor> add_forward(const at::Tensor& x, at::Tensor& y) const override {
    at::Tensor projected = at::index_select(a_compute_, 1, x).t().contiguous();  // [rows, rank]
    y.addmm_(projected, scaled_b_compute_);
    return {std::move(projected)};
  }

  void backward(const at::Tensor& gradient, const ChangeInput& input, const std::vector<at::Tensor>& saved,
                at::Tensor& /*x_gradient*/) const override {
    if (!space_.trains(a_)) {
      return;
    }
    space_.gradient(b_).add_(tensor::multiply(saved.front().t(), gradient), scale_);
    const at::Tensor rows = tensor::multiply_transposed(gradient, scaled_b_compute_);  // s g B: [rows, rank]
    space_.gradient(a_).index_add_(1, input.x, rows.t().to(at::kFloat));
  }

  std::optional<NormTerms> norm_terms(const FrozenLayer& layer, Axis axis) const override {
    invariant(axis == Axis::kOutput, "an embedding is decomposed by its output features");
    return low_rank_norm_terms(layer, axis, product());
  }

  std::optional<at::Tensor> squared_norms_of_sum(const FrozenLayer& layer, Axis axis) const override {
    return low_rank_squared_norms(layer, axis, product(), LowRankProduct{a_compute_, scaled_b_compute_});
  }

  at::Tensor squared_norms_of_frozen(const FrozenLayer& layer, Axis axis) const override {
    return low_rank_frozen_norms(layer, axis, product());
  }

  at::Tensor dense_rows(std::int64_t first, std::int64_t count) const override {
    return low_rank_rows(product(), first, count);
  }

  void add_weight_gradient(std::int64_t first, const at::Tensor& rows) const override {
    add_low_rank_gradients(space_, {.a = a_, .b = b_}, scale_, first, rows);
  }

 private:
  [[nodiscard]] LowRankProduct product() const { return {space_.value(a_), space_.value(b_), scale_}; }

  tensor::FlatSpace& space_;
  double scale_;
  at::Tensor compute_like_;
  std::size_t a_ = 0;
  std::size_t b_ = 0;
  at::Tensor a_compute_;
  at::Tensor scaled_b_compute_;
};

std::unique_ptr<Change> build(const ChangeRequest& request, tensor::FlatSpace& space) {
  if (request.layer.site.form == LayerForm::kEmbedding) {
    return std::make_unique<EmbeddingLowRank>(request, space);
  }
  if (request.layer.site.form == LayerForm::kConvolution) {
    return locon().build(request, space);
  }
  if (takes_from_weight(request.start.start)) {
    return moved_low_rank(request, space);
  }
  return std::make_unique<LinearLowRank>(request, space);
}

}  // namespace

AdapterKind lora() {
  return {.doc = "Low-rank factors: W + (alpha / rank) B A.",
          .forms = {LayerForm::kLinear, LayerForm::kEmbedding},
          .options = {"start"},
          .pointwise = true,
          .build = build};
}

}  // namespace dormer::adapter::kinds
