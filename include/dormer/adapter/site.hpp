#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/tensor/base_weight.hpp"

namespace dormer::adapter {

/// How a layer applies its weight.
enum class LayerForm : std::uint8_t {
  kLinear,       ///< y = x Wᵀ + b: x [rows, in], weight [out, in]
  kConvolution,  ///< of one to three axes: x [samples, in, extent…], weight [out, in / groups, kernel…]
  kEmbedding,    ///< rows of a table: x [rows] of token ids, weight [in, out] with `in` the vocabulary
  kNorm,         ///< y = (weight + offset) x / rms(x): x [rows, out], weight fp32 [out], `in` is 1
  kHead,         ///< a linear layer that the loss applies by itself, not `apply_layer` (head.hpp)
};

/// A convolution's numbers, one of each for every axis.
struct Convolution {
  std::vector<std::int64_t> kernel{};
  std::vector<std::int64_t> stride{};
  std::vector<std::int64_t> padding{};
  std::vector<std::int64_t> dilation{};
  std::int64_t groups = 1;
};

/// An RMSNorm's numbers.
struct Normalization {
  double epsilon = 0.0;
  double offset = 0.0;  ///< added to the weight (Gemma: 1)
};

/// One place of a model where an adapter can attach: a frozen layer.
struct Site {
  std::string name;         ///< module path in the field's naming: "model.layers.0.self_attn.q_proj"
  std::string group;        ///< "attention", "mlp", "head", "embedding", "norm"; of image models also "convolution",
                            ///< "time", and "edge": the first and last convolution
  std::int64_t layer = -1;  ///< block index; -1 outside of blocks
  std::int64_t out = 0;     ///< features or channels
  std::int64_t in = 0;      ///< features, channels of all groups, or tokens
  std::size_t index = 0;    ///< position in the model's list of sites
  LayerForm form = LayerForm::kLinear;
  Convolution convolution{};
  Normalization normalization{};
  bool biased = false;  ///< whether the layer has a bias

  /// Input channels that one output channel sees.
  [[nodiscard]] std::int64_t channels() const { return in / convolution.groups; }
  /// Elements of the kernel; 1 where there is none.
  [[nodiscard]] std::int64_t taps() const;
  /// Of the weight as a matrix with one row for every output: channels and taps.
  [[nodiscard]] std::int64_t columns() const { return channels() * taps(); }
  /// "64 x 32", or "64 x 32 x 3 x 3".
  [[nodiscard]] std::string shape_text() const;
};

/// What one norm of a weight as a matrix [out, channels * taps] goes over.
enum class Axis : std::uint8_t {
  kOutput,  ///< all elements of one output: `out` norms (PEFT, NVlabs, LyCORIS today)
  kInput,   ///< all elements of one input channel, taps included: `channels` norms (OneTrainer, A1111, old LyCORIS)
};
[[nodiscard]] std::string_view name_of(Axis axis);
/// How many norms a site's weight has. An embedding has one for every output feature on the output axis.
[[nodiscard]] std::int64_t norm_count(const Site& site, Axis axis);

/// The frozen part of a site, in the compute dtype; a norm's in fp32.
struct FrozenLayer {
  Site site;
  tensor::BaseWeight weight;  ///< see LayerForm
  tensor::BaseWeight bias;    ///< [out] or undefined
};

}  // namespace dormer::adapter
