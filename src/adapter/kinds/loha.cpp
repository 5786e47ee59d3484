#include <array>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/mul.h>

#include "change_input.hpp"
#include "dormer/adapter/kinds.hpp"
#include "initial_values.hpp"
#include "layer_operation.hpp"
#include "low_rank.hpp"

namespace dormer::adapter::kinds {
namespace {

/// One of the two products that are multiplied element by element.
struct Half {
  std::size_t left = 0;    ///< [rank, out]
  std::size_t right = 0;   ///< [rank, channels, kernel…], or [rank, channels] in the Tucker form
  std::size_t middle = 0;  ///< Tucker form: [rank, rank, kernel…]
};

/// LoHa (Hyeon-Woo et al. 2021, "FedPara"): Δ = s (L1ᵀ R1) ∘ (L2ᵀ R2). Its rank is that of no product, so Δ is formed,
/// in the compute dtype and for one layer at a time; sums over it go by blocks of rows.
class HadamardChange final : public Change {
 public:
  HadamardChange(const ChangeRequest& request, tensor::FlatSpace& space)
      : space_(space),
        site_(request.layer.site),
        rank_(request.rank),
        scale_(request.scale),
        tucker_(request.tucker && site_.taps() > 1),
        weight_(request.layer.weight.values()) {
    const std::vector<std::int64_t>& kernel = site_.convolution.kernel;
    for (std::size_t i = 0; i < halves_.size(); ++i) {
      const std::string number = std::to_string(i + 1);
      std::vector<std::int64_t> right{rank_, site_.channels()};
      if (tucker_) {
        const std::vector<std::int64_t> middle = tucker_middle_shape(rank_, kernel);
        halves_[i].middle =
            space.add(site_.name + ".hada_t" + number, middle, middle, tensor::ParameterRole::kFactorIn);
      } else {
        right.insert(right.end(), kernel.begin(), kernel.end());
      }
      halves_[i].left = add_factor(space, site_.name + ".hada_w" + number + "_a", {rank_, site_.out});
      halves_[i].right = add_factor(space, site_.name + ".hada_w" + number + "_b", right);
    }
  }

  /// As LyCORIS: the second left factor is zero.
  void initialize(RandomKey key) override {
    for (const Half& half : halves_) {
      draw_normal(space_, half.right, key, 1.0);
      if (tucker_) {
        draw_normal(space_, half.middle, key, 0.1);
      }
    }
    draw_normal(space_, halves_[0].left, key, 0.1);
    space_.value(halves_[1].left).zero_();
  }

  void refresh() override {
    for (std::size_t i = 0; i < halves_.size(); ++i) {
      right_[i] = right_factor(halves_[i]);
    }
  }

  /// In a narrower dtype W + Δ would round small changes away.
  [[nodiscard]] bool combines() const override { return weight_.scalar_type() == at::kFloat; }

  [[nodiscard]] at::Tensor combined_weight() const override {
    const at::Tensor combined = at::empty({site_.out, site_.columns()}, weight_.options());
    for_cached_rows(site_, weight_, [&](std::int64_t first, std::int64_t count) {
      at::Tensor rows = combined.narrow(0, first, count);
      at::addcmul_out(rows, matrix_rows(site_, weight_, first, count), half_rows(0, first, count),
                      half_rows(1, first, count), scale_);
    });
    return combined.view(weight_.sizes());
  }

  std::vector<at::Tensor> add_forward(const at::Tensor& x, at::Tensor& y) const override {
    y.add_(apply_weight(site_, x, whole_change()));
    return {};
  }

  void backward(const at::Tensor& gradient, const ChangeInput& input, const std::vector<at::Tensor>& /*saved*/,
                at::Tensor& x_gradient) const override {
    if (space_.trains(halves_[0].left)) {
      const at::Tensor dense = weight_gradient(site_, gradient, input.scaled()).reshape({site_.out, site_.columns()});
      for_cached_rows(site_, weight_, [&](std::int64_t first, std::int64_t count) {
        add_weight_gradient(first, dense.narrow(0, first, count).to(at::kFloat));
      });
    }
    if (x_gradient.defined()) {
      x_gradient.add_(input_gradient(site_, gradient, input.x, whole_change()));
    }
  }

  at::Tensor dense_rows(std::int64_t first, std::int64_t count) const override {
    return half_rows(0, first, count).mul_(half_rows(1, first, count)).mul_(scale_);
  }

  at::Tensor sum_rows(const FrozenLayer& layer, std::int64_t first, std::int64_t count) const override {
    return at::addcmul(matrix_rows(site_, layer.weight.values(), first, count), half_rows(0, first, count),
                       half_rows(1, first, count), scale_);
  }

  void add_weight_gradient(std::int64_t first, const at::Tensor& rows) const override {
    if (!space_.trains(halves_[0].left)) {
      return;
    }
    const std::int64_t count = rows.size(0);
    for (std::size_t i = 0; i < halves_.size(); ++i) {
      const at::Tensor own = at::mul(rows, half_rows(1 - i, first, count));  // the gradient of this half, but for s
      const Half& half = halves_[i];
      part(space_.gradient(half.left)).narrow(1, first, count).addmm_(right_[i], own.t(), 1.0, scale_);
      const at::Tensor right_gradient = at::mm(left(half).narrow(1, first, count), own).mul_(scale_);
      if (tucker_) {
        add_tucker_gradients(right_gradient, space_.value(half.middle), part(space_.value(half.right)),
                             space_.gradient(half.middle), part(space_.gradient(half.right)));
      } else {
        const at::Tensor slot = space_.gradient(half.right);
        slot.add_(right_gradient.view(slot.sizes()));
      }
    }
  }

 private:
  /// The Tucker form computes without padding: its middle has the rank on two axes.
  [[nodiscard]] at::Tensor part(const at::Tensor& stored) const {
    return tucker_ ? stored.narrow(0, 0, rank_) : stored;
  }
  [[nodiscard]] at::Tensor left(const Half& half) const { return part(space_.value(half.left)); }
  [[nodiscard]] at::Tensor right_factor(const Half& half) const {
    return tucker_ ? tucker_factor(space_.value(half.middle), part(space_.value(half.right)))
                   : space_.value(half.right).flatten(1);
  }
  [[nodiscard]] at::Tensor half_rows(std::size_t i, std::int64_t first, std::int64_t count) const {
    return at::mm(left(halves_[i]).narrow(1, first, count).t(), right_[i]);
  }

  /// Δ in the weight's shape and the compute dtype, made by blocks of rows.
  [[nodiscard]] at::Tensor whole_change() const {
    const at::Tensor whole = at::empty({site_.out, site_.columns()}, weight_.options());
    for_cached_rows(site_, weight_, [&](std::int64_t first, std::int64_t count) {
      whole.narrow(0, first, count).copy_(dense_rows(first, count));
    });
    return whole.view(weight_.sizes());
  }

  tensor::FlatSpace& space_;
  Site site_;
  std::int64_t rank_;
  double scale_;
  bool tucker_;
  at::Tensor weight_;  // the frozen one
  std::array<Half, 2> halves_;
  std::array<at::Tensor, 2> right_;  // fp32 [rank, channels * taps]
};

}  // namespace

AdapterKind loha() {
  return {.doc = "Two low-rank products, multiplied element by element.",
          .forms = {LayerForm::kLinear, LayerForm::kConvolution},
          .options = {"tucker", "conv_rank", "conv_alpha"},
          .build = [](const ChangeRequest& request, tensor::FlatSpace& space) -> std::unique_ptr<Change> {
            return std::make_unique<HadamardChange>(request, space);
          }};
}

}  // namespace dormer::adapter::kinds
