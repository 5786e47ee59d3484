#pragma once

#include <cmath>
#include <cstdint>

#include "dormer/kernels/optimizer_elements.hpp"
#include "dormer/kernels/rows.hpp"
#include "dormer/kernels/team.hpp"
#include "dormer/kernels/team_scaling.hpp"
#include "dormer/kernels/updates.hpp"

/// The arithmetic of the operations over rows (or columns, or blocks) for a team of lanes: `compute_row(arguments, row,
/// team)`. The GPU launches run these with warps and blocks, tests with simulated lanes.
namespace dormer::kernels {

template <typename Element, typename Team>
DORMER_HOST_DEVICE inline void compute_row(const RmsNormArguments<Element>& a, std::int64_t row, const Team& team) {
  const Element* x = a.x + row * a.width;
  Element* y = a.y + row * a.width;
  const float sum = team.sum(a.width, [&](std::int64_t i) { return load(x + i) * load(x + i); });
  const float inverse = 1.0F / std::sqrt(sum / static_cast<float>(a.width) + a.epsilon);
  team.once([&] { a.inverse_rms[row] = inverse; });
  team.each(a.width, [&](std::int64_t i) { store(y + i, load(x + i) * inverse * a.weight[i]); });
}

template <typename Element, typename Team>
DORMER_HOST_DEVICE inline void compute_row(const RmsNormBackwardArguments<Element>& a, std::int64_t row,
                                           const Team& team) {
  const Element* x = a.x + row * a.width;
  const Element* g = a.gradient + row * a.width;
  Element* out = a.x_gradient + row * a.width;
  const float inverse = a.inverse_rms[row];
  const float dot = team.sum(a.width, [&](std::int64_t i) { return load(g + i) * a.weight[i] * load(x + i); });
  const float pull = dot / static_cast<float>(a.width) * inverse * inverse;
  team.each(a.width,
            [&](std::int64_t i) { store(out + i, inverse * (load(g + i) * a.weight[i] - load(x + i) * pull)); });
}

template <typename Element, typename Team>
DORMER_HOST_DEVICE inline void compute_row(const SquaredRowSumsArguments<Element>& a, std::int64_t row,
                                           const Team& team) {
  const Element* x = a.x + row * a.width;
  const double sum = team.long_sum(a.width, [&](std::int64_t i) { return load(x + i) * load(x + i); });
  team.once([&] { a.sums[row] = static_cast<float>(sum); });
}

/// The first key that a position sees.
template <typename Element>
DORMER_HOST_DEVICE inline std::int64_t first_visible(const CausalSoftmaxArguments<Element>& a, std::int64_t batch,
                                                     std::int64_t position) {
  const std::int64_t window_begin = a.window > 0 && position >= a.window ? position - a.window + 1 : 0;
  const std::int64_t document_begin =
      a.document_begin != nullptr ? a.document_begin[batch / a.batches_per_sample * a.positions + position] : 0;
  return window_begin > document_begin ? window_begin : document_begin;
}

template <typename Element, typename Team>
DORMER_HOST_DEVICE inline void compute_row(const CausalSoftmaxArguments<Element>& a, std::int64_t index,
                                           const Team& team) {
  Element* x = a.scores + index * a.keys;
  const std::int64_t position = a.first_position + index % a.rows / a.rows_per_position;
  const std::int64_t end = position + 1 < a.keys ? position + 1 : a.keys;
  const std::int64_t begin = first_visible(a, index / a.rows, position);
  const Element* seen = x + begin;
  const float shift = team.maximum(end - begin, [&](std::int64_t i) { return load(seen + i); }) * a.scale;
  const double sum =
      team.long_sum(end - begin, [&](std::int64_t i) { return exponential(load(seen + i) * a.scale - shift); });
  const auto inverse = static_cast<float>(1.0 / sum);
  team.each(a.keys, [&](std::int64_t i) {
    const bool visible = i >= begin && i < end;
    store(x + i, visible ? exponential(load(x + i) * a.scale - shift) * inverse : 0.0F);
  });
}

template <typename Element, typename Team>
DORMER_HOST_DEVICE inline void compute_row(const SoftmaxBackwardArguments<Element>& a, std::int64_t row,
                                           const Team& team) {
  const Element* p = a.probabilities + row * a.keys;
  Element* g = a.gradient + row * a.keys;
  const float dot = team.sum(a.keys, [&](std::int64_t i) { return load(p + i) * load(g + i); });
  team.each(a.keys, [&](std::int64_t i) { store(g + i, load(p + i) * (load(g + i) - dot) * a.scale); });
}

template <typename Element, typename Team>
DORMER_HOST_DEVICE inline void compute_row(const CrossEntropyArguments<Element>& a, std::int64_t row,
                                           const Team& team) {
  Element* x = a.logits + row * a.vocabulary;
  const std::int64_t target = a.targets[row];
  const bool counted = target >= 0;
  const float at_target = counted ? load(x + target) : 0.0F;  // before the sums: below, its lane overwrites it
  const float maximum = team.maximum(a.vocabulary, [&](std::int64_t i) { return load(x + i); });
  const double sum = team.long_sum(a.vocabulary, [&](std::int64_t i) { return exponential(load(x + i) - maximum); });
  team.once([&] {
    const double loss = std::log(sum) + static_cast<double>(maximum) - static_cast<double>(at_target);
    a.losses[row] = counted ? static_cast<float>(loss) : 0.0F;
  });
  if (!a.wants_gradient) {
    return;
  }
  const float scale = counted ? a.gradient_scale : 0.0F;
  const auto factor = static_cast<float>(static_cast<double>(scale) / sum);
  team.each(a.vocabulary, [&](std::int64_t i) {
    const float share = exponential(load(x + i) - maximum) * factor;
    store(x + i, i == target ? share - scale : share);
  });
}

/// One position of one sample, all its heads.
template <typename Element, typename Team>
DORMER_HOST_DEVICE inline void compute_row(const RotaryArguments<Element>& a, std::int64_t index, const Team& team) {
  const std::int64_t half = a.width / 2;
  const std::int64_t per_group = a.heads_per_group * a.width;
  const std::int64_t first_head = index / a.positions * a.groups * a.positions + index % a.positions;
  const std::int64_t turn = (a.table_per_sample ? index : index % a.positions) * half;
  const float direction = a.inverse ? -1.0F : 1.0F;
  const bool turns = a.cosine != nullptr;
  const std::int64_t per_head = turns ? half : a.width;  // with a table, i and i + half turn together
  team.each(a.groups * a.heads_per_group * per_head, [&](std::int64_t item) {
    const std::int64_t i = item % per_head;
    const std::int64_t head = item / per_head;
    const std::int64_t group = head / a.heads_per_group;
    const std::int64_t member = head % a.heads_per_group * a.width + i;
    const std::int64_t at_token = (index * a.groups + group) * per_group + member;
    const std::int64_t at_head = (first_head + group * a.positions) * per_group + member;
    const Element* from = a.from + (a.inverse ? at_head : at_token);
    Element* to = a.to + (a.inverse ? at_token : at_head);
    if (!turns) {
      *to = *from;
      return;
    }
    const float cosine = a.cosine[turn + i];
    const float sine = direction * a.sine[turn + i];
    const float first = load(from);
    const float second = load(from + half);
    store(to, first * cosine - second * sine);
    store(to + half, second * cosine + first * sine);
  });
}

/// For a team of SquaredBlocksArguments::kLanes lanes, which makes the order.
template <typename Team>
DORMER_HOST_DEVICE inline void compute_row(const SquaredBlocksArguments& a, std::int64_t block, const Team& team) {
  const float* values = a.values + block * a.block;
  const std::int64_t rest = a.size - block * a.block;
  const double sum = team.exact_sum(rest < a.block ? rest : a.block, [&](std::int64_t i) {
    return static_cast<double>(values[i]) * static_cast<double>(values[i]);
  });
  team.once([&] { a.sums[block] = sum; });
}

template <typename Element, typename Team>
DORMER_HOST_DEVICE inline void compute_row(const CancellingNormsArguments<Element>& a, std::int64_t row,
                                           const Team& team) {
  if (a.cancels[row] == 0) {
    return;
  }
  const double sum = team.exact_sum(a.width, [&](std::int64_t i) {
    float change = 0.0F;
    for (std::int64_t r = 0; r < a.rank; ++r) {
      change += a.b[r * a.rows + row] * a.a[r * a.width + i];
    }
    const double value =
        static_cast<double>(load(a.weight + row * a.width + i)) + static_cast<double>(change * a.scale);
    return value * value;
  });
  team.once([&] { a.norm[row] = static_cast<float>(std::sqrt(sum)); });
}

}  // namespace dormer::kernels
