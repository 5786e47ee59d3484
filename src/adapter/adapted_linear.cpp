#include <memory>
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
  at::Tensor output;  // decomposed only: what the magnitude's gradient multiplies
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
  if (recording && !decomposition->factor_invertible()) {
    segment.output = y.clone();
  }
  tensor::scale_columns(y, decomposition->factor(), bias);
}

/// The gradient of x Wᵀ + x Δᵀ for one segment (scaled where it is decomposed), magnitudes' gradients added on the way.
at::Tensor segment_gradient(const SegmentRecord& segment, const at::Tensor& gradient, const at::Tensor& y,
                            const at::Tensor& bias) {
  const Decomposition* decomposition = segment.adapter == nullptr ? nullptr : segment.adapter->decomposition();
  if (decomposition == nullptr) {
    return gradient;
  }
  const bool unscaled = segment.output.defined();
  return tensor::scale_columns_backward(gradient, unscaled ? segment.output : rows_of(y, segment),
                                        unscaled ? at::Tensor() : bias, decomposition->factor(),
                                        decomposition->gradient_factor(), decomposition->magnitude_gradient());
}

}  // namespace

at::Tensor adapted_linear(const at::Tensor& x, const FrozenLinear& layer, const Pack& pack) {
  const at::Tensor input = tensor::detached(x);
  const at::Tensor& weight = layer.weight.values();
  const at::Tensor bias = layer.bias.defined() ? layer.bias.values() : at::Tensor();
  auto segments = std::make_shared<std::vector<SegmentRecord>>(segments_of(pack, layer, x.size(0)));
  bool trains = false;
  for (const SegmentRecord& segment : *segments) {
    trains = trains || segment.adapter != nullptr;
  }
  std::vector<at::Tensor> inputs{x};
  if (trains) {
    inputs.push_back(tensor::graph_anchor());
  }
  const bool recording = tensor::records(inputs);
  at::Tensor y = tensor::multiply_transposed(input, weight);
  for (SegmentRecord& segment : *segments) {
    apply_segment(segment, rows_of(input, segment), bias, rows_of(y, segment), recording);
  }
  if (!recording) {
    return y;
  }
  tensor::record(y, inputs, "AdaptedLinear",
                 [input, weight, bias, segments, output = tensor::detached(y)](const at::Tensor& gradient,
                                                                               const std::vector<bool>& wanted) {
                   std::vector<at::Tensor> parts;
                   for (const SegmentRecord& segment : *segments) {
                     parts.push_back(segment_gradient(segment, rows_of(gradient, segment), output, bias));
                   }
                   at::Tensor x_gradient;
                   if (wanted[0]) {
                     x_gradient = tensor::multiply(tensor::joined_rows(parts), weight);
                   }
                   for (std::size_t i = 0; i < segments->size(); ++i) {
                     const SegmentRecord& segment = (*segments)[i];
                     if (segment.adapter != nullptr) {
                       at::Tensor part = x_gradient.defined() ? rows_of(x_gradient, segment) : at::Tensor();
                       segment.adapter->change().backward(parts[i], rows_of(input, segment), segment.saved, part);
                     }
                   }
                   std::vector<at::Tensor> gradients(wanted.size());
                   gradients[0] = x_gradient;
                   return gradients;
                 });
  return y;
}

}  // namespace dormer::adapter
