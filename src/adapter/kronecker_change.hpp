#pragma once

#include <functional>
#include <vector>

#include "dormer/adapter/change.hpp"
#include "kronecker_factor.hpp"

namespace dormer::adapter {

/// LoKr (LyCORIS, Yeh et al. 2023): Δ = s kron(W1, W2) with W1 [l, p] and W2 [k, n, kernel…], out = l k and
/// channels = p n. Row i k + j and channel a n + b of Δ hold s W1[i, a] W2[j, b]. The layer takes the factors in turn:
/// W2 on the p parts of the input, then W1 among those; norms follow from those of the factors. Grouped convolutions
/// alone form Δ.
class KroneckerChange final : public Change {
 public:
  KroneckerChange(const ChangeRequest& request, tensor::FlatSpace& space);

  void initialize(RandomKey key) override;
  void refresh() override;
  std::vector<at::Tensor> add_forward(const at::Tensor& x, at::Tensor& y) const override;
  void backward(const at::Tensor& gradient, const ChangeInput& input, const std::vector<at::Tensor>& saved,
                at::Tensor& x_gradient) const override;
  std::optional<NormTerms> norm_terms(const FrozenLayer& layer, Axis axis) const override;
  at::Tensor dense_rows(std::int64_t first, std::int64_t count) const override;
  void add_weight_gradient(std::int64_t first, const at::Tensor& rows) const override;

 private:
  /// Rows of one i: [begin, end) of j.
  struct RowPart {
    std::int64_t i = 0;
    std::int64_t begin = 0;
    std::int64_t end = 0;
  };
  void for_parts(std::int64_t first, std::int64_t count, const std::function<void(const RowPart&)>& visit) const;
  [[nodiscard]] bool grouped() const { return site_.convolution.groups > 1; }
  [[nodiscard]] at::Tensor whole_change() const;
  void backward_in_turn(const at::Tensor& gradient, const ChangeInput& input, const at::Tensor& inner,
                        at::Tensor& x_gradient) const;
  /// The gradient of W2, given that of its products.
  [[nodiscard]] at::Tensor large_gradient(const at::Tensor& inner_gradient, const ChangeInput& input) const;
  /// The input in the shape that W2 takes, the p parts as samples.
  [[nodiscard]] at::Tensor parts_as_samples(const at::Tensor& x) const;
  /// Calls `visit(rows of W in fp32, their rows of W1)` for blocks of whole i, in order.
  template <typename Visit>
  void for_cross_blocks(const FrozenLayer& layer, const Visit& visit) const;
  /// Σ W ∘ kron(W1, W2) for every norm of the axis, but for s.
  [[nodiscard]] at::Tensor output_cross(const FrozenLayer& layer) const;
  [[nodiscard]] at::Tensor input_cross(const FrozenLayer& layer) const;

  tensor::FlatSpace& space_;
  Site site_;
  Site large_site_;  // the layer that W2 is
  double scale_ = 1.0;
  at::Tensor compute_like_;
  KroneckerFactor small_;
  KroneckerFactor large_;
  at::Tensor small_values_;   // fp32 [l, p]
  at::Tensor large_values_;   // fp32 [k, n * taps]
  at::Tensor small_compute_;  // s W1 in the compute dtype
  at::Tensor large_compute_;  // W2 in the compute dtype, [k, n, kernel…]
};

}  // namespace dormer::adapter
