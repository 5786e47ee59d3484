#pragma once

#include <cmath>
#include <cstdint>

#include "dormer/core/philox.hpp"
#include "dormer/kernels/optimizers.hpp"

/// The arithmetic of optimizers.hpp: elements alone, and blocks for a team of lanes.
namespace dormer::kernels {

DORMER_HOST_DEVICE inline void compute_element(const LionArguments& a, std::int64_t i) {
  const float gradient = a.gradients[i] * a.step.gradient_scale;
  const float mixture = a.moments[i] * a.step.mixture_keep + gradient * a.step.mixture_weight;
  const float sign = mixture > 0.0F ? 1.0F : (mixture < 0.0F ? -1.0F : 0.0F);
  a.parameters[i] = a.parameters[i] * a.step.decay - a.step.step_size * sign;
  a.moments[i] = a.moments[i] * a.step.keep + gradient * a.step.weight;
}

DORMER_HOST_DEVICE inline void compute_element(const ScheduleFreeArguments& a, std::int64_t i) {
  const float gradient = a.gradients[i] * a.step.gradient_scale;
  const float second = a.second_moments[i] * a.step.second_keep + a.step.second_weight * gradient * gradient;
  const float denominator = std::sqrt(second) / a.step.second_correction_root + a.step.epsilon;
  const float point = a.points[i];
  const float base = a.bases[i];
  const float direction = gradient / denominator + a.step.weight_decay * point;
  a.points[i] = point + a.step.mixture * (base - point) - a.step.point_step * direction;
  a.bases[i] = base - a.step.base_step * direction;
  a.second_moments[i] = second;
}

DORMER_HOST_DEVICE inline void compute_element(const ProdigyMomentsArguments& a, std::int64_t i) {
  const float gradient = a.gradients[i] * a.step.gradient_scale;
  a.first_moments[i] = a.first_moments[i] * a.step.first_keep + a.step.first_weight * gradient;
  a.second_moments[i] = a.second_moments[i] * a.step.second_keep + a.step.second_weight * (gradient * gradient);
  a.weighted_sums[i] = a.weighted_sums[i] * a.step.sum_keep + a.step.sum_weight * gradient;
}

DORMER_HOST_DEVICE inline double prodigy_product(const ProdigySumsArguments& a, std::int64_t i) {
  const float gradient = a.gradients[i] * a.gradient_scale;
  return static_cast<double>(gradient) * (static_cast<double>(a.anchors[i]) - static_cast<double>(a.parameters[i]));
}

template <typename Team>
DORMER_HOST_DEVICE inline void compute_row(const ProdigySumsArguments& a, std::int64_t block, const Team& team) {
  const std::int64_t first = block * a.width;
  const std::int64_t count = a.size - first < a.width ? a.size - first : a.width;
  const double products = team.exact_sum(count, [&](std::int64_t i) { return prodigy_product(a, first + i); });
  const double sizes =
      team.exact_sum(count, [&](std::int64_t i) { return static_cast<double>(std::fabs(a.weighted_sums[first + i])); });
  team.once([&] {
    a.sums[2 * block] = products;
    a.sums[2 * block + 1] = sizes;
  });
}

DORMER_HOST_DEVICE inline void compute_element(const ProdigyStepArguments& a, std::int64_t i) {
  const float denominator = std::sqrt(a.second_moments[i]) + a.epsilon;
  a.parameters[i] = a.parameters[i] * a.decay - a.step_size * (a.first_moments[i] / denominator);
}

/// What a code stands for, as a share of the block's largest magnitude.
DORMER_HOST_DEVICE inline float share_of_code(MomentCode code, std::int32_t level) {
  if (code == MomentCode::kFirst) {
    const float root = static_cast<float>(level) / 127.0F;
    return root * (root < 0.0F ? -root : root);
  }
  const float root = static_cast<float>(level) / 255.0F;
  const float square = root * root;
  return square * square;
}

/// The level of a share between two levels: the upper one where `chance`, in [0, 1), lies below its place between
/// them. Nearest in the law's root for a negative chance.
DORMER_HOST_DEVICE inline std::int32_t level_of_share(MomentCode code, float share, float chance) {
  const bool first = code == MomentCode::kFirst;
  const float magnitude = share < 0.0F ? -share : share;
  const float most = first ? 127.0F : 255.0F;
  const float place = most * (first ? std::sqrt(magnitude) : std::sqrt(std::sqrt(magnitude)));
  if (chance < 0.0F) {
    const auto level = static_cast<std::int32_t>(place + 0.5F);
    return share < 0.0F ? -level : (!first && level == 0 && share > 0.0F ? 1 : level);
  }
  auto below = static_cast<std::int32_t>(place);
  below = below > static_cast<std::int32_t>(most) - 1 ? static_cast<std::int32_t>(most) - 1 : below;
  const float from = share_of_code(code, below);
  const float to = share_of_code(code, below + 1);
  const std::int32_t level = below + (chance * (to - from) < magnitude - from ? 1 : 0);
  return share < 0.0F ? -level : (!first && level == 0 && share > 0.0F ? 1 : level);
}

DORMER_HOST_DEVICE inline void encode_moment(const EncodeMomentsArguments& a, std::int64_t i, std::uint32_t word,
                                             float largest) {
  const float share = largest > 0.0F ? a.values[i] / largest : 0.0F;
  const float chance = a.nearest ? -1.0F : static_cast<float>(word >> 8) * 0x1p-24F;
  const std::int32_t level = level_of_share(a.code, share, chance);
  a.codes[i] = static_cast<std::uint8_t>(a.code == MomentCode::kFirst ? level + 128 : level);
}

DORMER_HOST_DEVICE inline void encode_quad(const EncodeMomentsArguments& a, std::int64_t quad, std::int64_t count,
                                           float largest) {
  const PhiloxWords words = philox_words(a.key, a.first_quad + static_cast<std::uint64_t>(quad));
  for (std::int64_t i = 0; i < count; ++i) {
    encode_moment(a, 4 * quad + i, words.word[i], largest);
  }
}

template <typename Team>
DORMER_HOST_DEVICE inline void compute_row(const EncodeMomentsArguments& a, std::int64_t block, const Team& team) {
  const std::int64_t first = block * a.width;
  const std::int64_t count = a.size - first < a.width ? a.size - first : a.width;
  const float largest = team.maximum(count, [&](std::int64_t i) { return std::fabs(a.values[first + i]); });
  team.once([&] { a.largest[block] = largest; });
  // Four lanes make the same words: registers for one element at a time.
  team.each(count, [&](std::int64_t i) {
    const std::int64_t element = first + i;
    const PhiloxWords words = philox_words(a.key, a.first_quad + static_cast<std::uint64_t>(element / 4));
    const std::int64_t which = element % 4;
    const std::uint32_t low = which == 0 ? words.word[0] : words.word[1];
    const std::uint32_t high = which == 2 ? words.word[2] : words.word[3];
    encode_moment(a, element, which < 2 ? low : high, largest);
  });
}

DORMER_HOST_DEVICE inline void compute_element(const DecodeMomentsArguments& a, std::int64_t i) {
  const std::int32_t level = static_cast<std::int32_t>(a.codes[i]) - (a.code == MomentCode::kFirst ? 128 : 0);
  a.values[i] = a.largest[i / kMomentBlock] * share_of_code(a.code, level);
}

}  // namespace dormer::kernels
