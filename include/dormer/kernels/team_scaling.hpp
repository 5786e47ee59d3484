#pragma once

#include <cstdint>

#include "dormer/kernels/scaling.hpp"
#include "dormer/kernels/team.hpp"

/// The arithmetic of scaling.hpp for a team of lanes, as in team_rows.hpp.
namespace dormer::kernels {

template <typename Element, typename Team>
DORMER_HOST_DEVICE inline void compute_row(const ScaleColumnsArguments<Element>& a, std::int64_t row,
                                           const Team& team) {
  Element* y = a.y + row * a.width;
  team.each(a.width, [&](std::int64_t i) {
    const float bias = a.bias == nullptr ? 0.0F : load(a.bias + i);
    store(y + i, load(y + i) * a.factor[i] + bias);
  });
}

/// The team shares the rows of one column.
template <typename Element, typename Team>
DORMER_HOST_DEVICE inline void compute_row(const ScaleColumnsBackwardArguments<Element>& a, std::int64_t column,
                                           const Team& team) {
  const float bias = a.bias == nullptr ? 0.0F : load(a.bias + column);
  const float factor = a.factor[column];
  const double sum = team.long_sum(a.rows, [&](std::int64_t row) {
    const std::int64_t i = row * a.width + column;
    const float gradient = load(a.gradient + i);
    store(a.scaled + i, gradient * factor);
    return gradient * (load(a.y + i) - bias);
  });
  team.once([&] { a.product_sums[column] = static_cast<float>(sum); });
}

template <typename Element, typename Team>
DORMER_HOST_DEVICE inline void compute_row(const ScaleRowsArguments<Element>& a, std::int64_t row, const Team& team) {
  const std::int64_t channel = row % a.channels;
  const float bias = a.bias == nullptr ? 0.0F : load(a.bias + channel);
  const float factor = a.factor[channel];
  Element* y = a.y + row * a.width;
  team.each(a.width, [&](std::int64_t i) { store(y + i, load(y + i) * factor + bias); });
}

template <typename Element, typename Team>
DORMER_HOST_DEVICE inline void compute_row(const ScaleRowsBackwardArguments<Element>& a, std::int64_t row,
                                           const Team& team) {
  const std::int64_t channel = row % a.channels;
  const float bias = a.bias == nullptr ? 0.0F : load(a.bias + channel);
  const float factor = a.factor[channel];
  const std::int64_t first = row * a.width;
  const double sum = team.long_sum(a.width, [&](std::int64_t i) {
    const float gradient = load(a.gradient + first + i);
    store(a.scaled + first + i, gradient * factor);
    return gradient * (load(a.y + first + i) - bias);
  });
  team.once([&] { a.row_sums[row] = static_cast<float>(sum); });
}

}  // namespace dormer::kernels
