#pragma once

#include <cstdint>

#include "dormer/kernels/element.hpp"

/// Host loops over rows (or columns) of row-major arrays. Each takes a range, so that a caller can share it among
/// threads; results depend on neither the range's ends nor on the vector width (sums run over 16 fixed lanes). fp32
/// arithmetic; `Element` is float or BFloat16.
namespace dormer::kernels {

struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

/// y[t] = x[t] * inverse_rms[t] * weight (Zhang & Sennrich 2019), inverse_rms[t] = 1/sqrt(mean(x[t]^2) + epsilon).
template <typename Element>
struct RmsNormArguments {
  const Element* x;     // [rows, width]
  const float* weight;  // [width]
  Element* y;           // [rows, width]
  float* inverse_rms;   // [rows]
  std::int64_t width;
  float epsilon;
};
void compute_range(const RmsNormArguments<float>& arguments, Range rows);
void compute_range(const RmsNormArguments<BFloat16>& arguments, Range rows);

/// The input's gradient: inverse_rms * (g*w - x * inverse_rms^2 * mean(g*w*x)).
template <typename Element>
struct RmsNormBackwardArguments {
  const Element* x;
  const float* weight;
  const Element* gradient;
  const float* inverse_rms;
  Element* x_gradient;
  std::int64_t width;
};
void compute_range(const RmsNormBackwardArguments<float>& arguments, Range rows);
void compute_range(const RmsNormBackwardArguments<BFloat16>& arguments, Range rows);

/// What a gated linear unit does with its gate (Shazeer 2020).
enum class GateFunction {
  kSilu,      ///< g * sigmoid(g): SwiGLU
  kGeluTanh,  ///< g * sigmoid(2u), u = sqrt(2/pi) (g + 0.044715 g^3), which is GELU's tanh form: GeGLU
};

/// y = function(gate) * up over elements.
template <typename Element>
struct GatedUnitArguments {
  const Element* gate;
  const Element* up;
  Element* y;
  GateFunction function;
};
void compute_range(const GatedUnitArguments<float>& arguments, Range elements);
void compute_range(const GatedUnitArguments<BFloat16>& arguments, Range elements);

template <typename Element>
struct GatedUnitBackwardArguments {
  const Element* gate;
  const Element* up;
  const Element* gradient;
  Element* gate_gradient;
  Element* up_gradient;
  GateFunction function;
};
void compute_range(const GatedUnitBackwardArguments<float>& arguments, Range elements);
void compute_range(const GatedUnitBackwardArguments<BFloat16>& arguments, Range elements);

/// x = cap * tanh(x * scale / cap), in place: Gemma 2's soft cap of scores and logits.
template <typename Element>
struct SoftCapArguments {
  Element* x;
  float scale;
  float cap;
};
void compute_range(const SoftCapArguments<float>& arguments, Range elements);
void compute_range(const SoftCapArguments<BFloat16>& arguments, Range elements);

/// gradient *= scale * (1 - (y / cap)^2), in place, where y is what `soft_cap` gave.
template <typename Element>
struct SoftCapBackwardArguments {
  const Element* y;
  Element* gradient;
  float scale;
  float cap;
};
void compute_range(const SoftCapBackwardArguments<float>& arguments, Range elements);
void compute_range(const SoftCapBackwardArguments<BFloat16>& arguments, Range elements);

/// Sums of squares of rows, fp32 lanes over blocks, blocks added in fp64: sums[t] = sum x[t]^2.
template <typename Element>
struct SquaredRowSumsArguments {
  const Element* x;
  float* sums;
  std::int64_t width;
};
void compute_range(const SquaredRowSumsArguments<float>& arguments, Range rows);
void compute_range(const SquaredRowSumsArguments<BFloat16>& arguments, Range rows);

/// Softmax in place over the visible scores of each row, times `scale` before; the rest of the row becomes zero.
/// Row r of `rows` stands at position first_position + r / rows_per_position and sees the keys up to its position, at
/// most `window` of them, and none before its document.
template <typename Element>
struct CausalSoftmaxArguments {
  Element* scores;  // [batch, rows, keys]
  std::int64_t rows;
  std::int64_t keys;
  std::int64_t rows_per_position;
  std::int64_t first_position;
  float scale;
  std::int64_t window = 0;                       // 0: all
  const std::int64_t* document_begin = nullptr;  // [batch / batches_per_sample, positions]; null: one document
  std::int64_t positions = 0;                    // of document_begin
  std::int64_t batches_per_sample = 1;
};
void compute_range(const CausalSoftmaxArguments<float>& arguments, Range batch_rows);
void compute_range(const CausalSoftmaxArguments<BFloat16>& arguments, Range batch_rows);

/// dS = P * (dP - sum(P * dP)) * scale, written over dP; P is zero where a row does not see.
template <typename Element>
struct SoftmaxBackwardArguments {
  const Element* probabilities;  // [rows, keys]
  Element* gradient;             // [rows, keys]
  std::int64_t keys;
  float scale;
};
void compute_range(const SoftmaxBackwardArguments<float>& arguments, Range rows);
void compute_range(const SoftmaxBackwardArguments<BFloat16>& arguments, Range rows);

/// loss[t] = log(sum exp(logits[t])) - logits[t, target[t]]; with `wants_gradient` the logits are replaced by
/// (softmax - one_hot) * gradient_scale. Targets below zero are left out (loss 0, gradient 0).
template <typename Element>
struct CrossEntropyArguments {
  Element* logits;              // [rows, vocabulary]
  const std::int64_t* targets;  // [rows]
  float* losses;                // [rows]
  std::int64_t vocabulary;
  bool wants_gradient = false;
  float gradient_scale = 0.0F;
};
void compute_range(const CrossEntropyArguments<float>& arguments, Range rows);
void compute_range(const CrossEntropyArguments<BFloat16>& arguments, Range rows);

/// Rotary embedding (Su et al. 2021, halves rotated as transformers does) and the change of layout between tokens
/// [batch, positions, heads * width] and heads [batch, groups, positions, heads_per_group * width]. Without a table
/// (cosine null) it only moves. `inverse` goes from heads back to tokens with the rotation reversed: the gradient.
template <typename Element>
struct RotaryArguments {
  const Element* from;
  Element* to;
  const float* cosine;  // [positions, width / 2], or with `table_per_sample` [batch, positions, width / 2]
  const float* sine;
  std::int64_t positions;
  std::int64_t groups;
  std::int64_t heads_per_group;
  std::int64_t width;
  bool inverse;
  bool table_per_sample = false;
};
void compute_range(const RotaryArguments<float>& arguments, Range batch_positions);
void compute_range(const RotaryArguments<BFloat16>& arguments, Range batch_positions);

}  // namespace dormer::kernels
