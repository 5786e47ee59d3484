#include <algorithm>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/zeros_like.h>

#include "adapter.hpp"
#include "change_input.hpp"
#include "dormer/adapter/adapter_set.hpp"
#include "dormer/core/error.hpp"
#include "dormer/tensor/column_scaling.hpp"
#include "dormer/tensor/differentiable.hpp"
#include "input_dropout.hpp"
#include "layer_operation.hpp"

namespace dormer::adapter {
namespace {

/// The rows of one segment and what its backward pass needs.
struct SegmentRecord {
  const Adapter* adapter = nullptr;
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  std::vector<at::Tensor> saved;
  at::Tensor output;           ///< decomposed by output only: what the magnitude's gradient multiplies
  bool output_scaled = false;  ///< whether that is the layer's own output (its consumer keeps it) or an unscaled copy
  InputDropout dropout;

  /// The decomposition on this axis, or null.
  [[nodiscard]] const Decomposition* decomposition(Axis axis) const {
    const Decomposition* found = adapter == nullptr ? nullptr : adapter->decomposition();
    return found != nullptr && found->axis() == axis ? found : nullptr;
  }
  [[nodiscard]] bool decomposed() const { return adapter != nullptr && adapter->decomposition() != nullptr; }
  /// Whether the weight itself trains.
  [[nodiscard]] bool whole() const { return adapter != nullptr && adapter->change().whole_weight() != nullptr; }
  /// Whether one product with W + Δ serves for both.
  [[nodiscard]] bool combines() const {
    return adapter != nullptr && adapter->change().combines() && (!dropout.active() || dropout.whole());
  }
  /// Whether its rows are not multiplied with the frozen weight.
  [[nodiscard]] bool has_own_weight() const { return whole() || combines(); }
  /// Whether a part of the frozen product, too, sees the dropped input x~. With f the factors of the outputs and h
  /// those of the inputs (one of them is 1) the output then is (x - x~) Wᵀ + f (h x~) (W + Δ)ᵀ + b, which is PEFT's sum
  /// without the cancellation of its terms.
  [[nodiscard]] bool splits() const { return decomposed() && dropout.active() && !dropout.whole(); }
};

/// The two inputs of one segment in the forward pass.
struct SegmentInput {
  at::Tensor base;     ///< what the frozen product of the whole batch takes
  at::Tensor adapted;  ///< x, dropped and scaled as the segment says
};

/// What the backward pass of one layer holds.
struct LayerRecord {
  const Site& site;
  at::Tensor input;  ///< undefined where no segment trains
  at::Tensor weight;
  at::Tensor bias;
  std::vector<SegmentRecord> segments;
  bool products_apart = false;  ///< of the segments

  /// Whether one product with the frozen weight serves all segments.
  [[nodiscard]] bool one_product() const {
    return !products_apart && std::ranges::none_of(segments, &SegmentRecord::has_own_weight);
  }
  [[nodiscard]] bool all_keep_outputs() const {
    return std::ranges::all_of(
        segments, [](const SegmentRecord& segment) { return segment.decomposition(Axis::kOutput) != nullptr; });
  }
  [[nodiscard]] at::Tensor weight_of(const SegmentRecord& segment) const {
    if (segment.combines()) {
      return segment.adapter->change().combined_weight();
    }
    return segment.whole() ? *segment.adapter->change().whole_weight() : weight;
  }
  [[nodiscard]] const at::Tensor& bias_of(const SegmentRecord& segment) const {
    return segment.adapter != nullptr && segment.adapter->bias() != nullptr ? segment.adapter->bias()->values() : bias;
  }
};

at::Tensor rows_of(const at::Tensor& values, const SegmentRecord& segment) {
  return segment.rows == values.size(0) ? values : values.narrow(0, segment.first_row, segment.rows);
}

std::vector<SegmentRecord> segments_of(const Pack& pack, const FrozenLayer& layer, std::int64_t rows) {
  const std::int64_t samples = pack.samples();
  invariant(samples > 0 && rows % samples == 0, "a batch of {} rows does not hold {} samples", rows, samples);
  const std::int64_t per_sample = rows / samples;
  std::vector<SegmentRecord> records;
  for (const Segment& segment : pack.segments) {
    const bool drops = !segment.dropout_keys.empty();
    const Adapter* adapter = nullptr;
    if (segment.adapters != nullptr) {
      adapter = drops ? segment.adapters->find_drawn(layer.site.index) : segment.adapters->find(layer.site.index);
    }
    InputDropout dropout;
    if (adapter != nullptr && drops) {
      invariant(std::ssize(segment.dropout_keys) == segment.samples, "{} samples have {} keys", segment.samples,
                segment.dropout_keys.size());
      dropout = {adapter->dropout().rate, adapter->dropout().whole, layer.site.name, segment.dropout_keys};
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

/// x as the segment's change sees it: its channels are scaled where it is decomposed by input.
ChangeInput change_input(const SegmentRecord& segment, const at::Tensor& x) {
  const Decomposition* decomposition = segment.decomposition(Axis::kInput);
  return {x, decomposition == nullptr ? at::Tensor() : decomposition->factor()};
}

std::vector<SegmentInput> inputs_of(const LayerRecord& record, const at::Tensor& x) {
  std::vector<SegmentInput> inputs;
  for (const SegmentRecord& segment : record.segments) {
    const at::Tensor rows = rows_of(x, segment);
    const at::Tensor dropped = segment.dropout.apply(rows);
    const at::Tensor adapted = change_input(segment, dropped).scaled();
    const bool base_is_adapted = segment.dropout.whole() || segment.decomposition(Axis::kInput) != nullptr;
    inputs.push_back({segment.splits() ? at::sub(rows, dropped) : base_is_adapted ? adapted : rows, adapted});
  }
  return inputs;
}

/// The rows of all segments, each made by `product`: of several, one at a time beside the whole.
template <typename Product>
at::Tensor by_segment(const LayerRecord& record, const Product& product) {
  if (record.segments.size() == 1) {
    return product(0);
  }
  at::Tensor all;
  for (std::size_t i = 0; i < record.segments.size(); ++i) {
    const at::Tensor part = product(i);
    if (!all.defined()) {
      std::vector<std::int64_t> sizes = part.sizes().vec();
      sizes[0] = record.segments.back().first_row + record.segments.back().rows;
      all = at::empty(sizes, part.options());
    }
    all.narrow(0, record.segments[i].first_row, part.size(0)).copy_(part);
  }
  return all;
}

/// The layer's own product: of x, of (x - x~) for segments that split, of the scaled x for those decomposed by input.
/// One product where all segments take the frozen weight.
at::Tensor base_product(const LayerRecord& record, const at::Tensor& x, const std::vector<SegmentInput>& inputs) {
  if (record.one_product() && std::ranges::none_of(record.segments, [](const SegmentRecord& segment) {
        return segment.splits() || segment.dropout.whole() || segment.decomposition(Axis::kInput) != nullptr;
      })) {
    return apply_weight(record.site, x, record.weight);
  }
  std::vector<at::Tensor> parts;
  for (const SegmentInput& input : inputs) {
    parts.push_back(input.base);
  }
  if (record.one_product()) {
    return apply_weight(record.site, tensor::joined_rows(parts), record.weight);
  }
  return by_segment(record, [&](std::size_t i) {
    return apply_weight(record.site, std::exchange(parts[i], {}), record.weight_of(record.segments[i]));
  });
}

/// The gradient that these parts of the output's gradient give the input of `base_product`.
at::Tensor base_product_backward(const LayerRecord& record, std::vector<at::Tensor> parts) {
  if (record.one_product()) {
    return input_gradient(record.site, tensor::joined_rows(parts), record.input, record.weight);
  }
  return by_segment(record, [&](std::size_t i) {
    const SegmentRecord& segment = record.segments[i];
    return input_gradient(record.site, std::exchange(parts[i], {}), rows_of(record.input, segment),
                          record.weight_of(segment));
  });
}

/// y += f (h x~) (W + Δ)ᵀ + b.
void add_split_part(SegmentRecord& segment, const at::Tensor& adapted, const LayerRecord& record, at::Tensor& y) {
  at::Tensor part = apply_weight(record.site, adapted, record.weight);
  segment.saved = segment.adapter->change().add_forward(adapted, part);
  if (const Decomposition* decomposition = segment.decomposition(Axis::kOutput)) {
    segment.output = part.clone();
    scale_channels(part, decomposition->factor(), record.bias_of(segment));
  } else {
    add_bias(part, record.bias_of(segment));
  }
  y.add_(part);
}

/// Applies one segment's change and decomposition to its rows of y, the base's product, in place, bias included.
void apply_segment(SegmentRecord& segment, const at::Tensor& adapted, const LayerRecord& record, at::Tensor y,
                   bool recording) {
  if (segment.splits()) {
    add_split_part(segment, adapted, record, y);
    return;
  }
  if (segment.adapter != nullptr && !segment.combines()) {
    segment.saved = segment.adapter->change().add_forward(adapted, y);
  }
  const at::Tensor& bias = record.bias_of(segment);
  const Decomposition* decomposition = segment.decomposition(Axis::kOutput);
  if (decomposition == nullptr) {
    add_bias(y, bias);
    return;
  }
  segment.output_scaled = decomposition->factor_invertible();
  if (recording) {
    segment.output = segment.output_scaled ? tensor::detached(y) : y.clone();
  }
  scale_channels(y, decomposition->factor(), bias);
  if (recording && segment.output_scaled && !record.all_keep_outputs()) {
    segment.output = y.clone();  // rows of y would keep those of the others, too
  }
}

/// Where one backward pass adds what it gives the magnitudes: their slot, or a buffer of its own where the norm passes
/// gradients on.
at::Tensor magnitude_sums(const Decomposition& decomposition) {
  const at::Tensor slot = decomposition.magnitude_gradient();
  return decomposition.norm_gradient() ? at::zeros_like(slot) : slot;
}

void settle_magnitudes(const SegmentRecord& segment, const Decomposition& decomposition, const at::Tensor& sums) {
  if (decomposition.norm_gradient()) {
    decomposition.magnitude_gradient().add_(sums);
    decomposition.add_norm_gradient(segment.adapter->change(), sums);
  }
}

/// The gradient of the segment's adapted product: of the unscaled outputs where it is decomposed by output, magnitudes'
/// gradients added on the way. Overwrites the given one if it may.
at::Tensor segment_gradient(const SegmentRecord& segment, const at::Tensor& gradient, const at::Tensor& bias,
                            bool overwrites) {
  const Decomposition* decomposition = segment.decomposition(Axis::kOutput);
  if (decomposition == nullptr) {
    return gradient;
  }
  if (!decomposition->trains()) {
    return scaled_channels(gradient, decomposition->factor());
  }
  const at::Tensor sums = magnitude_sums(*decomposition);
  at::Tensor scaled = overwrites ? gradient : at::empty_like(gradient);
  scale_channels_backward(gradient, segment.output, segment.output_scaled ? bias : at::Tensor(),
                          decomposition->factor(), decomposition->gradient_factor(segment.output_scaled), sums, scaled);
  settle_magnitudes(segment, *decomposition, sums);
  return scaled;
}

/// Makes the gradient of h x that of x, in place, where the segment is decomposed by input; magnitudes' gradients added
/// on the way.
void unscale_input_gradient(const SegmentRecord& segment, at::Tensor gradient, const at::Tensor& x) {
  const Decomposition* decomposition = segment.decomposition(Axis::kInput);
  if (decomposition == nullptr) {
    return;
  }
  const at::Tensor& factor = decomposition->factor();
  at::Tensor by_group = groups_as_samples(gradient, factor.size(0));
  const bool in_place = by_group.is_alias_of(gradient);
  if (!decomposition->trains()) {
    scale_channels(by_group, factor, {});
  } else {
    const at::Tensor sums = magnitude_sums(*decomposition);
    const at::Tensor saved = groups_as_samples(x.dim() == 2 ? x.contiguous() : x, factor.size(0));
    scale_channels_backward(by_group, saved, {}, factor, decomposition->gradient_factor(false), sums, by_group);
    settle_magnitudes(segment, *decomposition, sums);
  }
  if (!in_place) {
    gradient.copy_(by_group.view(gradient.sizes()));
  }
}

/// Adds the parameters' gradients of one segment and what passes through its adapter to `x_gradient`, which holds its
/// rows of the base product's (undefined where nobody asks). `gradient` is that of the adapted product.
void add_adapter_gradients(const LayerRecord& record, const SegmentRecord& segment, const at::Tensor& gradient,
                           at::Tensor x_gradient) {
  const Change& change = segment.adapter->change();
  const at::Tensor dropped = segment.dropout.apply(rows_of(record.input, segment));
  const ChangeInput input = change_input(segment, dropped);
  if (!segment.dropout.active() || segment.dropout.whole()) {
    at::Tensor beside_product = segment.combines() ? at::Tensor() : x_gradient;
    change.backward(gradient, input, segment.saved, beside_product);
    if (x_gradient.defined()) {
      unscale_input_gradient(segment, x_gradient, dropped);
    }
    if (x_gradient.defined() && segment.dropout.whole()) {
      x_gradient.copy_(segment.dropout.apply(x_gradient));
    }
    return;
  }
  at::Tensor through;  // the gradient of h x~, then of x~
  if (x_gradient.defined()) {
    through =
        segment.splits() ? input_gradient(record.site, gradient, dropped, record.weight) : at::zeros_like(x_gradient);
  }
  change.backward(gradient, input, segment.saved, through);
  if (x_gradient.defined()) {
    unscale_input_gradient(segment, through, dropped);
    x_gradient.add_(segment.dropout.apply(segment.splits() ? at::sub(through, x_gradient) : through));
  }
}

/// Whether somebody asks for the gradient of the layer's input: the layers before it, or a magnitude of its channels.
bool asks_for_input(const LayerRecord& record, bool wanted) {
  return record.site.form != LayerForm::kEmbedding &&
         (wanted || std::ranges::any_of(record.segments, [](const SegmentRecord& segment) {
            const Decomposition* decomposition = segment.decomposition(Axis::kInput);
            return decomposition != nullptr && decomposition->trains();
          }));
}

std::vector<at::Tensor> layer_gradients(const LayerRecord& record, const at::Tensor& gradient,
                                        const std::vector<bool>& wanted) {
  const bool overwrites = tensor::only_here(gradient);  // before there are views of it
  std::vector<at::Tensor> parts;
  std::vector<at::Tensor> base_parts;
  for (const SegmentRecord& segment : record.segments) {
    if (segment.adapter != nullptr && segment.adapter->bias() != nullptr) {
      segment.adapter->bias()->add_gradient(rows_of(gradient, segment));
    }
    parts.push_back(segment_gradient(segment, rows_of(gradient, segment), record.bias_of(segment),
                                     overwrites && !segment.splits()));
    base_parts.push_back(segment.splits() ? rows_of(gradient, segment) : parts.back());
  }
  at::Tensor x_gradient;
  if (asks_for_input(record, wanted[0])) {
    x_gradient = base_product_backward(record, std::move(base_parts));
  }
  for (std::size_t i = 0; i < record.segments.size(); ++i) {
    const SegmentRecord& segment = record.segments[i];
    if (segment.adapter != nullptr) {
      add_adapter_gradients(record, segment, parts[i],
                            x_gradient.defined() ? rows_of(x_gradient, segment) : at::Tensor());
    }
  }
  for (const SegmentRecord& segment : record.segments) {  // after all of them: two may be of one trial
    if (segment.adapter != nullptr) {
      segment.adapter->announce_gradients();
    }
  }
  std::vector<at::Tensor> gradients(wanted.size());
  if (wanted[0]) {
    gradients[0] = x_gradient;
  }
  return gradients;
}

}  // namespace

at::Tensor apply_layer(const at::Tensor& x, const FrozenLayer& layer, const Pack& pack) {
  if (pack.observer != nullptr) {
    pack.observer->see(layer.site, x);
  }
  const at::Tensor input = tensor::detached(x);
  LayerRecord layer_record{layer.site,
                           {},
                           layer.weight.values(),
                           layer.bias.defined() ? layer.bias.values() : at::Tensor(),
                           segments_of(pack, layer, x.size(0)),
                           pack.products_apart && pack.segments.size() > 1};
  std::vector<at::Tensor> inputs{x};
  if (std::ranges::any_of(layer_record.segments,
                          [](const SegmentRecord& segment) { return segment.adapter != nullptr; })) {
    inputs.push_back(tensor::graph_anchor());
  }
  const bool recording = tensor::records(inputs);
  const std::vector<SegmentInput> segment_inputs = inputs_of(layer_record, input);
  at::Tensor y = base_product(layer_record, input, segment_inputs);
  for (std::size_t i = 0; i < segment_inputs.size(); ++i) {
    SegmentRecord& segment = layer_record.segments[i];
    apply_segment(segment, segment_inputs[i].adapted, layer_record, rows_of(y, segment), recording);
  }
  if (recording) {
    if (inputs.size() > 1 ||
        layer.site.form == LayerForm::kConvolution) {  // a convolution's gradient asks for x's shape
      layer_record.input = input;
    }
    tensor::record(y, inputs, "AdaptedLayer",
                   [kept = std::move(layer_record)](const at::Tensor& gradient, const std::vector<bool>& wanted) {
                     return layer_gradients(kept, gradient, wanted);
                   });
  }
  return y;
}

}  // namespace dormer::adapter
