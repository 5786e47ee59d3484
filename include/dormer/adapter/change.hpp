#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dormer/adapter/site.hpp"
#include "dormer/adapter/start.hpp"
#include "dormer/core/random_key.hpp"
#include "dormer/tensor/flat_space.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::adapter {

/// The sums of squares of the frozen weight's elements, one for every norm: fp32 [norm_count]. Computed once and kept.
[[nodiscard]] const at::Tensor& squared_norms(const FrozenLayer& layer, Axis axis);

/// What a decomposition needs of a change to know the norms of W + Δ: src/adapter/norm_terms.hpp.
struct NormTerms;

/// One of the constants that Δ is counted from where a start took factors from W: the name of the parameter that
/// started there, and its values, fp32 in the parameter's shape without padding. They are the memory itself, to be
/// written, too; they do not train, and checkpoints hold them.
using StartValue = std::pair<std::string, at::Tensor>;

/// A layer's input in its backward pass: src/adapter/change_input.hpp.
struct ChangeInput;

/// A trainable change Δ, scale included, to one frozen weight W. Parameters live in the trial's flat space. Inputs and
/// outputs are those of the layer (see LayerForm) in the compute dtype; matrices of W and Δ are [out, channels * taps],
/// for embeddings [out, in]. Nothing here is recorded: `apply_layer` is the one differentiable operation over it.
class Change {
 public:
  virtual ~Change() = default;
  /// Writes the initial values: the change is exactly zero. Keyed by parameter names, the same on every rank.
  virtual void initialize(RandomKey key) = 0;
  /// Brings copies in the compute dtype up to the parameters. Once per generation.
  virtual void refresh() = 0;
  /// A kind that trains the weight itself gives what the product takes in the place of the frozen weight, in
  /// the compute dtype: what Δ adds is then a part of that product, `add_forward` adds nothing and `backward` nothing
  /// to x_gradient. Null: the frozen one.
  [[nodiscard]] virtual const at::Tensor* whole_weight() const { return nullptr; }
  /// Whether Δ is formed for every product anyway and W + Δ in the compute dtype loses nothing of it: where the frozen
  /// product and Δ's see the same input, layers then take `combined_weight` in the place of W and call neither
  /// `add_forward` nor ask `backward` for x's gradient. Half the products.
  [[nodiscard]] virtual bool combines() const { return false; }
  /// W + Δ in the weight's shape and dtype, fresh. Only where `combines`.
  [[nodiscard]] virtual at::Tensor combined_weight() const;
  /// y += the layer with Δ in the place of its weight, on x. Returns what `backward` needs besides x.
  [[nodiscard]] virtual std::vector<at::Tensor> add_forward(const at::Tensor& x, at::Tensor& y) const = 0;
  /// Adds the gradients of parameters that train (FlatSpace::trains) to the bound slots, given the gradient of what
  /// `add_forward` added; with `x_gradient` defined also adds that of what it saw.
  virtual void backward(const at::Tensor& gradient, const ChangeInput& input, const std::vector<at::Tensor>& saved,
                        at::Tensor& x_gradient) const = 0;
  /// For the norms of W + Δ, from the factors (see norm_terms.hpp); none of a kind that has no cheaper way than W + Δ
  /// itself by rows.
  [[nodiscard]] virtual std::optional<NormTerms> norm_terms(const FrozenLayer& layer, Axis axis) const;
  /// The squared norms of W + Δ, fp32 [norm_count], in which nothing cancels, where a kind has them sooner than its
  /// `norm_terms`; otherwise none.
  [[nodiscard]] virtual std::optional<at::Tensor> squared_norms_of_sum(const FrozenLayer& layer, Axis axis) const;
  /// Those of W alone, added in the order in which this kind adds those of W + Δ: where Δ is zero they are the same
  /// bits.
  [[nodiscard]] virtual at::Tensor squared_norms_of_frozen(const FrozenLayer& layer, Axis axis) const;
  /// Replaces norm[i] by that of the elements of W + Δ where cancels[i] (uint8) is not 0; both have `norm_count`
  /// elements and lie beside the parameters. This one looks at `cancels` on the host and takes `dense_rows`; a kind
  /// that stays on its device overrides it.
  virtual void replace_cancelling_norms(const FrozenLayer& layer, Axis axis, const at::Tensor& cancels,
                                        const at::Tensor& norm) const;
  /// Rows [first, first + count) of Δ as a matrix, fp32, fresh.
  [[nodiscard]] virtual at::Tensor dense_rows(std::int64_t first, std::int64_t count) const = 0;
  /// Rows of W + Δ, fp32, fresh.
  [[nodiscard]] virtual at::Tensor sum_rows(const FrozenLayer& layer, std::int64_t first, std::int64_t count) const;
  /// Adds to the bound slots what these rows of a gradient of Δ (fp32, from row `first`) give the parameters.
  virtual void add_weight_gradient(std::int64_t first, const at::Tensor& rows) const = 0;
  /// Where Δ is counted from, if not from zero. Whoever writes them calls `refresh` afterwards.
  [[nodiscard]] virtual std::vector<StartValue> start_values() const;
  /// Of a change that is counted from a start: A fp32 [2 rank, in] and B fp32 [out, 2 rank] with Δ = s B A, the form in
  /// which other programs can add it to W. Empty for others.
  [[nodiscard]] virtual std::vector<at::Tensor> stacked_factors() const;
};

/// What a kind is given to build a change.
struct ChangeRequest {
  const FrozenLayer& layer;
  std::int64_t rank = 0;
  double scale = 1.0;
  bool tucker = false;          ///< kernels of more than one tap get factors of their own
  std::int64_t factor = -1;     ///< LoKr: divides both widths; -1: as near to the square root as they allow
  bool decompose_both = false;  ///< LoKr: the small factor may be low-rank, too
  bool full_matrix = false;     ///< LoKr: both factors whole
  StartRule start{};            ///< LoRA of linear layers
};

/// One registered kind of adapter.
struct AdapterKind {
  std::string_view doc;
  std::vector<LayerForm> forms;  ///< of layers that it serves
  /// Keys of the configuration, beyond those of every kind, that it follows: "tucker", "factor", ….
  std::vector<std::string_view> options{};
  bool pointwise = false;  ///< serves convolutions of one tap, whatever `forms` says
  bool any_rank = false;   ///< a rank beyond its factors makes them whole
  bool whole = false;      ///< trains the weight itself: no rank, alpha, dropout or decomposition
  /// Adds the change's parameters to the space (not yet allocated) and returns the change; the space outlives it.
  std::function<std::unique_ptr<Change>(const ChangeRequest& request, tensor::FlatSpace& space)> build;
};

/// Of any change, by blocks of rows, so that memory is bounded and no matrix exists whole: the squared norms of W + Δ,
/// as above, and what `norm_terms` gives.
[[nodiscard]] at::Tensor squared_norms_by_rows(const Change& change, const FrozenLayer& layer, Axis axis);
[[nodiscard]] NormTerms norm_terms_by_rows(const Change& change, const FrozenLayer& layer, Axis axis);

}  // namespace dormer::adapter
