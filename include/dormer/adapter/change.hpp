#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/adapter/site.hpp"
#include "dormer/core/random_key.hpp"
#include "dormer/tensor/flat_space.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::adapter {

/// What a decomposition needs of a change Δ (scale included) to know the norms of W + Δ without forming either, fp32
/// [out] each: cross = rowsum(W ∘ Δ), square = rowsum(Δ ∘ Δ).
struct NormTerms {
  std::vector<at::Tensor> cross_and_square;
};

/// A trainable change Δ, scale included, to one frozen weight W [out, in]. Parameters live in the trial's flat space.
/// All tensors of activations have the compute dtype; `x` is [rows, in], outputs are [rows, out]. Nothing here is
/// recorded: `adapted_linear` is the one differentiable operation over it.
class Change {
 public:
  virtual ~Change() = default;
  /// Writes the initial values: the change is exactly zero. Keyed by parameter names, the same on every rank.
  virtual void initialize(RandomKey key) = 0;
  /// Brings copies in the compute dtype up to the parameters. Once per generation.
  virtual void refresh() = 0;
  /// A kind that trains the weight itself gives what the product takes in the place of the frozen weight and bias, in
  /// the compute dtype: x Δᵀ is then a part of that product, `add_forward` adds nothing and `backward` nothing to
  /// x_gradient. Null: the frozen ones.
  [[nodiscard]] virtual const at::Tensor* whole_weight() const { return nullptr; }
  [[nodiscard]] virtual const at::Tensor* whole_bias() const { return nullptr; }
  /// y += x Δᵀ. Returns what `backward` needs besides x.
  [[nodiscard]] virtual std::vector<at::Tensor> add_forward(const at::Tensor& x, at::Tensor& y) const = 0;
  /// Adds the gradients of parameters that train (FlatSpace::trains) to the bound slots, given the gradient g [rows,
  /// out] of x Δᵀ; with `x_gradient` defined also x_gradient += g Δ.
  virtual void backward(const at::Tensor& gradient, const at::Tensor& x, const std::vector<at::Tensor>& saved,
                        at::Tensor& x_gradient) const = 0;
  /// For the norms by output row; see NormTerms.
  [[nodiscard]] virtual NormTerms norm_terms(const tensor::BaseWeight& weight) const = 0;
  /// Replaces norm[o] by |w + δ| computed from the elements where cancels[o] (uint8) is not 0; both have `out` elements
  /// and lie beside the parameters. This one looks at `cancels` on the host and takes `dense_rows`; a kind that stays
  /// on its device overrides it.
  virtual void replace_cancelling_norms(const tensor::BaseWeight& weight, const at::Tensor& cancels,
                                        const at::Tensor& norm) const;
  /// Rows of Δ, fp32 [rows.size(0), in], for these row numbers (int64).
  [[nodiscard]] virtual at::Tensor dense_rows(const at::Tensor& rows) const = 0;
};

/// What a kind is given to build a change.
struct ChangeRequest {
  const FrozenLinear& layer;
  std::int64_t rank = 0;
  double scale = 1.0;
};

/// One registered kind of adapter.
struct AdapterKind {
  std::string_view doc;
  bool whole = false;  ///< trains the weight itself: no rank, alpha, dropout or decomposition
  /// Adds the change's parameters to the space (not yet allocated) and returns the change; the space outlives it.
  std::function<std::unique_ptr<Change>(const ChangeRequest& request, tensor::FlatSpace& space)> build;
};

}  // namespace dormer::adapter
