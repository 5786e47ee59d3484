#pragma once

#include <cstdint>

#include "dormer/tensor/forward.hpp"

/// Differentiable operations of image models and their text encoders. Weights of norms are frozen; inputs are float32
/// or bfloat16, contiguous, all of one dtype. Each keeps its input and what is small, nothing else of its size.
namespace dormer::tensor {

/// The numbers of an affine norm; weight and bias in the inputs' dtype, one for every channel.
struct AffineNorm {
  const at::Tensor& weight;
  const at::Tensor& bias;
  double epsilon = 1e-5;
};

/// GroupNorm (Wu & He 2018) of x [samples, channels, extent…], then SiLU where `silu`.
[[nodiscard]] at::Tensor group_norm(const at::Tensor& x, const AffineNorm& norm, std::int64_t groups, bool silu);

/// LayerNorm (Ba et al. 2016) of x [rows, width].
[[nodiscard]] at::Tensor layer_norm(const at::Tensor& x, const AffineNorm& norm);

enum class Activation : std::uint8_t {
  kSilu,
  kGelu,       ///< x Φ(x), by the error function
  kGeluTanh,   ///< GELU by its tanh form
  kQuickGelu,  ///< x sigmoid(1.702 x), of CLIP
};

/// Elementwise, of any shape.
[[nodiscard]] at::Tensor activation(const at::Tensor& x, Activation function);

/// GeGLU (Shazeer 2020) of x [rows, 2 * width]: the first half times GELU of the second, [rows, width].
[[nodiscard]] at::Tensor gelu_gated(const at::Tensor& x);

/// Sizes of multi-head attention over rows of `batch` samples.
struct HeadShape {
  std::int64_t batch = 0;
  std::int64_t queries = 0;  ///< positions of a sample
  std::int64_t keys = 0;
  std::int64_t heads = 0;
  std::int64_t width = 0;  ///< of one head
  bool causal = false;     ///< a position sees itself and those before; queries are keys
};

/// softmax(q kᵀ / sqrt(width)) v by heads: query [batch * queries, heads * width], key and value [batch * keys, …];
/// returns [batch * queries, heads * width]. Scores never exist whole.
[[nodiscard]] at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                                   const HeadShape& shape);

/// An image [samples, channels, height, width] as rows [samples * height * width, channels], and back.
[[nodiscard]] at::Tensor rows_of_image(const at::Tensor& image);
[[nodiscard]] at::Tensor image_of_rows(const at::Tensor& rows, std::int64_t samples, std::int64_t height,
                                       std::int64_t width);

}  // namespace dormer::tensor
