#include <algorithm>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "adapter.hpp"
#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/error.hpp"
#include "dormer/tensor/column_scaling.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "dormer/tensor/frozen_product.hpp"

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
};

/// What the backward pass of one layer holds.
struct LayerRecord {
  at::Tensor input;  ///< undefined where no segment trains
  at::Tensor weight;
  at::Tensor bias;
  std::vector<SegmentRecord> segments;
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
    records.push_back({adapter, segment.first_sample * per_sample, segment.samples * per_sample, {}, {}});
  }
  return records;
}

/// Applies one segment's change and decomposition to its rows of y = x Wᵀ, in place, bias included.
void apply_segment(SegmentRecord& segment, const at::Tensor& x, const at::Tensor& bias, at::Tensor y, bool recording) {
  if (segment.adapter != nullptr) {
    segment.saved = segment.adapter->change().add_forward(x, y);
  }
  const Decomposition* decomposition = segment.adapter == nullptr ? nullptr : segment.adapter->decomposition();
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
  const Decomposition* decomposition = segment.adapter == nullptr ? nullptr : segment.adapter->decomposition();
  if (decomposition == nullptr) {
    return gradient;
  }
  return tensor::scale_columns_backward(gradient, segment.output, segment.output_scaled ? bias : at::Tensor(),
                                        decomposition->factor(), decomposition->gradient_factor(),
                                        decomposition->magnitude_gradient());
}

std::vector<at::Tensor> layer_gradients(const LayerRecord& record, const at::Tensor& gradient,
                                        const std::vector<bool>& wanted) {
  std::vector<at::Tensor> parts;
  for (const SegmentRecord& segment : record.segments) {
    parts.push_back(segment_gradient(segment, rows_of(gradient, segment), record.bias));
  }
  std::vector<at::Tensor> gradients(wanted.size());
  if (wanted[0]) {
    gradients[0] = tensor::multiply(tensor::joined_rows(parts), record.weight);
  }
  for (std::size_t i = 0; i < record.segments.size(); ++i) {
    const SegmentRecord& segment = record.segments[i];
    if (segment.adapter != nullptr) {
      at::Tensor x_gradient = wanted[0] ? rows_of(gradients[0], segment) : at::Tensor();
      segment.adapter->change().backward(parts[i], rows_of(record.input, segment), segment.saved, x_gradient);
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
  at::Tensor y = tensor::multiply_transposed(input, layer_record.weight);
  for (SegmentRecord& segment : layer_record.segments) {
    apply_segment(segment, rows_of(input, segment), layer_record.bias, rows_of(y, segment), recording);
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
