#include "moved_low_rank.hpp"

#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/add.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/zeros_like.h>

#include "change_input.hpp"
#include "dormer/tensor/frozen_product.hpp"
#include "dormer/tensor/weight_norms.hpp"
#include "layer_operation.hpp"
#include "low_rank.hpp"
#include "norm_terms.hpp"
#include "weight_factors.hpp"

namespace dormer::adapter {
namespace {

/// A and B are stored as by LinearLowRank, A [rank, in] and Bᵀ [rank, out], padded along the rank; so are A0 and B0.
/// Δ = s Rᵀ L with L = [A; A - A0] and R = [B - B0; B0], of twice the padded rank.
class MovedLowRank final : public Change {
 public:
  MovedLowRank(const ChangeRequest& request, tensor::FlatSpace& space)
      : space_(space),
        rule_(request.start),
        rank_(request.rank),
        padded_(padded_rank(request.rank)),
        scale_(request.scale),
        name_(request.layer.site.name),
        weight_(request.layer.weight) {
    const adapter::Site& site = request.layer.site;
    a_ = add_factor(space, name_ + ".lora_A", {rank_, site.in});
    b_ = add_factor(space, name_ + ".lora_B", {rank_, site.out}, tensor::ParameterRole::kFactorOut);
  }

  void initialize(RandomKey key) override {
    const at::Tensor a = space_.value(a_);
    const at::Tensor b = space_.value(b_);
    start_a_ = at::zeros_like(a);
    start_b_ = at::zeros_like(b);
    if (rule_.origin == StartOrigin::kGiven || a.is_meta()) {
      return;
    }
    const WeightFactors factors = factors_of_weight(
        weight_.values(), {.rule = rule_, .rank = rank_, .scale = scale_, .key = key.child(name_ + ".start")});
    unpadded(start_a_).copy_(factors.a);
    unpadded(start_b_).copy_(factors.b);
    a.copy_(start_a_);
    b.copy_(start_b_);
  }

  void refresh() override {
    const at::Tensor a = space_.value(a_);
    const at::ScalarType dtype = weight_.values().scalar_type();
    left_ = at::cat({a, at::sub(a, start_a_)}, 0);
    right_ = at::cat({at::sub(space_.value(b_), start_b_), start_b_}, 0);
    left_compute_ = left_.to(dtype);
    scaled_right_compute_ = at::mul(right_, scale_).to(dtype);
  }

  std::vector<at::Tensor> add_forward(const at::Tensor& x, at::Tensor& y) const override {
    at::Tensor projected = tensor::multiply_transposed(x, left_compute_);  // x [Aᵀ, (A - A0)ᵀ]: [rows, 2 rank]
    y.addmm_(projected, scaled_right_compute_);
    return {std::move(projected)};
  }

  void backward(const at::Tensor& gradient, const ChangeInput& input, const std::vector<at::Tensor>& saved,
                at::Tensor& x_gradient) const override {
    const at::Tensor projected_gradient =
        tensor::multiply_transposed(gradient, scaled_right_compute_);  // s g [B - B0, B0]: [rows, 2 rank]
    if (space_.trains(a_)) {
      const at::Tensor projected = saved.front().narrow(1, 0, padded_);  // x Aᵀ
      space_.gradient(b_).add_(tensor::multiply(projected.t(), gradient), scale_);
      const at::Tensor of_b =
          at::add(projected_gradient.narrow(1, 0, padded_), projected_gradient.narrow(1, padded_, padded_));  // s g B
      add_by_channel(space_.gradient(a_), tensor::multiply(of_b.t(), input.x), input.factor);
    }
    if (x_gradient.defined()) {
      x_gradient.addmm_(projected_gradient, left_compute_);
    }
  }

  std::optional<NormTerms> norm_terms(const FrozenLayer& layer, Axis axis) const override {
    return low_rank_norm_terms(layer, axis, product());
  }

  std::optional<at::Tensor> squared_norms_of_sum(const FrozenLayer& layer, Axis axis) const override {
    return low_rank_squared_norms(layer, axis, product(), LowRankProduct{left_compute_, scaled_right_compute_});
  }

  at::Tensor squared_norms_of_frozen(const FrozenLayer& layer, Axis axis) const override {
    return low_rank_frozen_norms(layer, axis, product());
  }

  void replace_cancelling_norms(const FrozenLayer& layer, Axis axis, const at::Tensor& cancels,
                                const at::Tensor& norm) const override {
    if (axis == Axis::kOutput) {
      tensor::cancelling_norms(layer.weight.values(), {left_, right_, scale_}, cancels, norm);
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

  std::vector<StartValue> start_values() const override {
    return {{name_ + ".lora_A", unpadded(start_a_)}, {name_ + ".lora_B", unpadded(start_b_)}};
  }

  std::vector<at::Tensor> stacked_factors() const override {
    return {both_halves(left_), both_halves(right_).t().contiguous()};
  }

 private:
  [[nodiscard]] LowRankProduct product() const { return {left_, right_, scale_}; }
  [[nodiscard]] at::Tensor unpadded(const at::Tensor& stored) const { return stored.narrow(0, 0, rank_); }
  [[nodiscard]] at::Tensor both_halves(const at::Tensor& stacked) const {
    return at::cat({stacked.narrow(0, 0, rank_), stacked.narrow(0, padded_, rank_)}, 0);
  }

  tensor::FlatSpace& space_;
  StartRule rule_;
  std::int64_t rank_;
  std::int64_t padded_;
  double scale_;
  std::string name_;
  tensor::BaseWeight weight_;
  std::size_t a_ = 0;
  std::size_t b_ = 0;
  at::Tensor start_a_;  // fp32 [padded rank, in]
  at::Tensor start_b_;  // fp32 [padded rank, out]
  at::Tensor left_;     // fp32 [2 padded rank, in]
  at::Tensor right_;    // fp32 [2 padded rank, out]
  at::Tensor left_compute_;
  at::Tensor scaled_right_compute_;  // s [B - B0; B0]
};

}  // namespace

std::unique_ptr<Change> moved_low_rank(const ChangeRequest& request, tensor::FlatSpace& space) {
  return std::make_unique<MovedLowRank>(request, space);
}

}  // namespace dormer::adapter
