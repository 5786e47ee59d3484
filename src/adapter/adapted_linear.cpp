#include <algorithm>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/zeros_like.h>

#include "adapter.hpp"
#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/error.hpp"
#include "dormer/tensor/column_scaling.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/frozen_product.hpp"
#include "input_dropout.hpp"

namespace dormer::adapter {
namespace {

/// The rows of one segment and what its backward pass needs.
struct SegmentRecord {
  const Adapter* adapter = nullptr;
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  std::vector<at::Tensor> saved;
  at::Tensor output;           ///< decomposed only: what the magnitude's gradient multiplies
  bool output_scaled = false;  ///< whether that is the layer's own output (its consumer keeps it) or an unscaled copy
  InputDropout dropout;

  [[nodiscard]] const Decomposition* decomposition() const {
    return adapter == nullptr ? nullptr : adapter->decomposition();
  }
  /// Whether the weight itself trains.
  [[nodiscard]] bool whole() const { return adapter != nullptr && adapter->change().whole_weight() != nullptr; }
  /// Whether a part of the frozen product, too, sees the dropped input x~. The output then is
  /// (x - x~) Wᵀ + f (x~ Wᵀ + x~ Δᵀ) + b, which is PEFT's sum without the cancellation of its terms.
  [[nodiscard]] bool splits() const { return decomposition() != nullptr && dropout.active(); }
};

/// The two inputs of one segment in the forward pass.
struct SegmentInput {
  at::Tensor base;     ///< what the frozen product of the whole batch takes
  at::Tensor adapted;  ///< x~
};

/// What the backward pass of one layer holds.
struct LayerRecord {
  at::Tensor input;  ///< undefined where no segment trains
  at::Tensor weight;
  at::Tensor bias;
  std::vector<SegmentRecord> segments;

  [[nodiscard]] const at::Tensor& weight_of(const SegmentRecord& segment) const {
    return segment.whole() ? *segment.adapter->change().whole_weight() : weight;
  }
  [[nodiscard]] const at::Tensor& bias_of(const SegmentRecord& segment) const {
    const at::Tensor* own = segment.whole() ? segment.adapter->change().whole_bias() : nullptr;
    return own != nullptr ? *own : bias;
  }
};

at::Tensor rows_of(const at::Tensor& values, const SegmentRecord& segment) {
  return segment.rows == values.size(0) ? values : values.narrow(0, segment.first_row, segment.rows);
}

std::vector<SegmentRecord> segments_of(const Pack& pack, const FrozenLinear& layer, std::int64_t rows) {
  const std::int64_t samples = pack.samples();
  invariant(samples > 0 && rows % samples == 0, "a batch of {} rows does not hold {} samples", rows, samples);
  const std::int64_t per_sample = rows / samples;
  std::vector<SegmentRecord> records;
  for (const Segment& segment : pack.segments) {
    const Adapter* adapter = segment.adapters == nullptr ? nullptr : segment.adapters->find(layer.site.index);
    InputDropout dropout;
    if (adapter != nullptr && !segment.dropout_keys.empty()) {
      invariant(std::ssize(segment.dropout_keys) == segment.samples, "{} samples have {} keys", segment.samples,
                segment.dropout_keys.size());
      dropout = {adapter->dropout(), layer.site.name, segment.dropout_keys};
    }
    records.push_back({.adapter = adapter,
                       .first_row = segment.first_sample * per_sample,
                       .rows = segment.samples * per_sample,
                       .saved = {},
                       .output = {},
                       .dropout = std::move(dropout)});
  }
  return records;
}

std::vector<SegmentInput> inputs_of(const LayerRecord& record, const at::Tensor& x) {
  std::vector<SegmentInput> inputs;
  for (const SegmentRecord& segment : record.segments) {
    const at::Tensor rows = rows_of(x, segment);
    const at::Tensor adapted = segment.dropout.apply(rows);
    inputs.push_back({segment.splits() ? at::sub(rows, adapted) : rows, adapted});
  }
  return inputs;
}

/// x Wᵀ, or (x - x~) Wᵀ for segments that split; one product where all segments take the frozen weight.
at::Tensor base_product(const LayerRecord& record, const at::Tensor& x, const std::vector<SegmentInput>& inputs) {
  if (std::ranges::none_of(record.segments,
                           [](const SegmentRecord& segment) { return segment.splits() || segment.whole(); })) {
    return tensor::multiply_transposed(x, record.weight);
  }
  std::vector<at::Tensor> parts;
  for (const SegmentInput& input : inputs) {
    parts.push_back(input.base);
  }
  if (std::ranges::none_of(record.segments, &SegmentRecord::whole)) {
    return tensor::multiply_transposed(tensor::joined_rows(parts), record.weight);
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    parts[i] = tensor::multiply_transposed(parts[i], record.weight_of(record.segments[i]));
  }
  return tensor::joined_rows(parts);
}

/// The gradient that these parts of the output's gradient give the input through `base_product`.
at::Tensor base_product_backward(const LayerRecord& record, std::vector<at::Tensor> parts) {
  if (std::ranges::none_of(record.segments, &SegmentRecord::whole)) {
    return tensor::multiply(tensor::joined_rows(parts), record.weight);
  }
  for (std::size_t i = 0; i < parts.size(); ++i) {
    parts[i] = tensor::multiply(parts[i], record.weight_of(record.segments[i]));
  }
  return tensor::joined_rows(parts);
}

/// y += f (x~ Wᵀ + x~ Δᵀ) + b.
void add_split_part(SegmentRecord& segment, const at::Tensor& dropped, const LayerRecord& record, at::Tensor& y) {
  at::Tensor adapted = tensor::multiply_transposed(dropped, record.weight);
  segment.saved = segment.adapter->change().add_forward(dropped, adapted);
  segment.output = adapted.clone();
  tensor::scale_columns(adapted, segment.decomposition()->factor(), record.bias);
  y.add_(adapted);
}

/// Applies one segment's change and decomposition to its rows of y, the base's product, in place, bias included.
void apply_segment(SegmentRecord& segment, const at::Tensor& x, const LayerRecord& record, at::Tensor y,
                   bool recording) {
  if (segment.splits()) {
    add_split_part(segment, x, record, y);
    return;
  }
  if (segment.adapter != nullptr) {
    segment.saved = segment.adapter->change().add_forward(x, y);
  }
  const at::Tensor& bias = record.bias_of(segment);
  const Decomposition* decomposition = segment.decomposition();
  if (decomposition == nullptr) {
    if (bias.defined()) {
      y.add_(bias);
    }
    return;
  }
  segment.output_scaled = decomposition->factor_invertible();
  if (recording) {
    segment.output = segment.output_scaled ? tensor::detached(y) : y.clone();
  }
  tensor::scale_columns(y, decomposition->factor(), bias);
}

/// The gradient of x Wᵀ + x Δᵀ for one segment (scaled where it is decomposed), magnitudes' gradients added on the way.
at::Tensor segment_gradient(const SegmentRecord& segment, const at::Tensor& gradient, const at::Tensor& bias) {
  const Decomposition* decomposition = segment.decomposition();
  if (decomposition == nullptr) {
    return gradient;
  }
  if (!decomposition->trains()) {
    at::Tensor scaled = gradient.clone();
    tensor::scale_columns(scaled, decomposition->factor(), {});
    return scaled;
  }
  return tensor::scale_columns_backward(gradient, segment.output, segment.output_scaled ? bias : at::Tensor(),
                                        decomposition->factor(), decomposition->gradient_factor(segment.output_scaled),
                                        decomposition->magnitude_gradient());
}

/// Adds the parameters' gradients of one segment and what passes through its adapter to `x_gradient` (its rows, or
/// undefined). `gradient` is that of the adapted product.
void add_adapter_gradients(const LayerRecord& record, const SegmentRecord& segment, const at::Tensor& gradient,
                           at::Tensor x_gradient) {
  const at::Tensor x = rows_of(record.input, segment);
  if (!segment.dropout.active()) {
    segment.adapter->change().backward(gradient, x, segment.saved, x_gradient);
    return;
  }
  at::Tensor through;  // the gradient of x~, less what x itself has for it
  if (x_gradient.defined()) {
    through =
        segment.splits() ? tensor::multiply(gradient, record.weight).sub_(x_gradient) : at::zeros_like(x_gradient);
  }
  segment.adapter->change().backward(gradient, segment.dropout.apply(x), segment.saved, through);
  if (x_gradient.defined()) {
    x_gradient.add_(segment.dropout.apply(through));
  }
}

std::vector<at::Tensor> layer_gradients(const LayerRecord& record, const at::Tensor& gradient,
                                        const std::vector<bool>& wanted) {
  std::vector<at::Tensor> parts;
  std::vector<at::Tensor> base_parts;
  for (const SegmentRecord& segment : record.segments) {
    parts.push_back(segment_gradient(segment, rows_of(gradient, segment), record.bias));
    base_parts.push_back(segment.splits() ? rows_of(gradient, segment) : parts.back());
  }
  std::vector<at::Tensor> gradients(wanted.size());
  if (wanted[0]) {
    gradients[0] = base_product_backward(record, std::move(base_parts));
  }
  for (std::size_t i = 0; i < record.segments.size(); ++i) {
    const SegmentRecord& segment = record.segments[i];
    if (segment.adapter != nullptr) {
      add_adapter_gradients(record, segment, parts[i], wanted[0] ? rows_of(gradients[0], segment) : at::Tensor());
    }
  }
  for (const SegmentRecord& segment : record.segments) {  // after all of them: two may be of one trial
    if (segment.adapter != nullptr) {
      segment.adapter->announce_gradients();
    }
  }
  return gradients;
}

}  // namespace

at::Tensor adapted_linear(const at::Tensor& x, const FrozenLinear& layer, const Pack& pack) {
  const at::Tensor input = tensor::detached(x);
  LayerRecord layer_record{{},
                           layer.weight.values(),
                           layer.bias.defined() ? layer.bias.values() : at::Tensor(),
                           segments_of(pack, layer, x.size(0))};
  std::vector<at::Tensor> inputs{x};
  if (std::ranges::any_of(layer_record.segments,
                          [](const SegmentRecord& segment) { return segment.adapter != nullptr; })) {
    inputs.push_back(tensor::graph_anchor());
    layer_record.input = input;
  }
  const bool recording = tensor::records(inputs);
  const std::vector<SegmentInput> segment_inputs = inputs_of(layer_record, input);
  at::Tensor y = base_product(layer_record, input, segment_inputs);
  for (std::size_t i = 0; i < segment_inputs.size(); ++i) {
    SegmentRecord& segment = layer_record.segments[i];
    apply_segment(segment, segment_inputs[i].adapted, layer_record, rows_of(y, segment), recording);
  }
  if (recording) {
    tensor::record(y, inputs, "AdaptedLinear",
                   [kept = std::move(layer_record)](const at::Tensor& gradient, const std::vector<bool>& wanted) {
                     return layer_gradients(kept, gradient, wanted);
                   });
  }
  return y;
}

}  // namespace dormer::adapter
