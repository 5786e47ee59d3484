#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dormer/kernels/rows.hpp"
#include "dormer/tensor/forward.hpp"

/// Differentiable operations of language models, each with its backward pass written out. All take and return
/// contiguous float32 or bfloat16 tensors of one dtype.
namespace dormer::tensor {

/// x [rows, width], weight fp32 [width] (frozen); returns [rows, width].
[[nodiscard]] at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon);

/// Its gradients, not recorded: of x (x's dtype), and of the weight (fp32 [width]).
[[nodiscard]] at::Tensor rms_norm_gradient(const at::Tensor& x, const at::Tensor& weight, double epsilon,
                                           const at::Tensor& gradient);
[[nodiscard]] at::Tensor rms_norm_weight_gradient(const at::Tensor& x, double epsilon, const at::Tensor& gradient);

using kernels::GateFunction;

/// function(gate) * up, elementwise: SwiGLU or GeGLU.
[[nodiscard]] at::Tensor gated_unit(const at::Tensor& gate, const at::Tensor& up, GateFunction function);

/// logits = cap * tanh(logits / cap), in place and not recorded.
void soft_cap_(const at::Tensor& logits, double cap);

/// a + b: the residual stream.
[[nodiscard]] at::Tensor add(const at::Tensor& a, const at::Tensor& b);

/// Sizes of grouped-query attention: heads = groups * heads_per_group; one key and value head per group.
struct AttentionShape {
  std::int64_t batch = 0;
  std::int64_t positions = 0;  ///< new positions
  std::int64_t groups = 0;
  std::int64_t heads_per_group = 0;
  std::int64_t width = 0;  ///< of one head
  double scale = 1.0;
  double soft_cap = 0.0;    ///< of the scaled scores (Gemma 2); 0: none
  std::int64_t window = 0;  ///< keys that a position sees, itself among them; 0: all
};

/// Cosines and sines, fp32 [positions, width/2] each, of the positions at hand; where rows hold several documents (a
/// position sees none before its own) those of every sample, [batch*positions, width/2].
struct RotaryTable {
  const at::Tensor& cosine;
  const at::Tensor& sine;
  const at::Tensor* document_begin = nullptr;  ///< int64 [batch, positions]; null: every row is one document
};

/// Causal attention with rotary embedding. query [batch*positions, heads*width], key and value
/// [batch*positions, groups*width]; returns [batch*positions, heads*width].
[[nodiscard]] at::Tensor causal_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                          const RotaryTable& table, const AttentionShape& shape);

/// The same without recording, where `past_key` and `past_value` [batch*groups, past, width] (rotated) come before;
/// they are replaced by themselves with the new positions appended.
[[nodiscard]] at::Tensor cached_attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                          const RotaryTable& table, const AttentionShape& shape, at::Tensor& past_key,
                                          at::Tensor& past_value);

/// What `linear_cross_entropy` returns.
struct CrossEntropySums {
  double loss_sum = 0.0;     ///< over counted targets, fp64
  std::int64_t targets = 0;  ///< counted
};

/// What trains of a head: rows after its own, and the fp32 slots that gradients are added to (null: none).
struct AddedRows {
  const at::Tensor* values = nullptr;  ///< [rows, width]; null: there are none
  const at::Tensor* gradient = nullptr;
  const at::Tensor* head_gradient = nullptr;  ///< [vocabulary, width]: of the head's own rows
};

struct CrossEntropyScale {
  double divisor = 1.0;
  bool backward = false;
  double soft_cap = 0.0;  ///< of the logits; 0: none
};

/// Consecutive rows of one trial of a pack: they are summed, and their gradient divided, apart from the others'.
struct CrossEntropyPart {
  std::int64_t rows = 0;
  double divisor = 1.0;
};

/// Next-token cross entropy over hidden [rows, width] (of the graph or not), the head [vocabulary, width] and
/// targets int64 [rows] on the host (negative: left out), in chunks of at most 256 rows and 16 Mi logits: they never
/// exist whole, and the memory does not grow with the vocabulary. With `backward` the gradient of loss_sum / divisor
/// runs back through the graph at once. Rows of `added` stand after the head's.
[[nodiscard]] CrossEntropySums linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& head,
                                                    const at::Tensor& targets, const CrossEntropyScale& scale,
                                                    const AddedRows& added = {});

/// The same for a pack: `parts` cover the rows in order (`scale.divisor` is not looked at). Every part is computed as
/// if it were alone, so that its bits do not depend on the others; the gradients of all run back together.
[[nodiscard]] std::vector<CrossEntropySums> linear_cross_entropy(const at::Tensor& hidden, const at::Tensor& head,
                                                                 const at::Tensor& targets,
                                                                 std::span<const CrossEntropyPart> parts,
                                                                 const CrossEntropyScale& scale,
                                                                 const AddedRows& added = {});

}  // namespace dormer::tensor
