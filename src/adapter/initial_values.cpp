#include "initial_values.hpp"

#include <cmath>
#include <functional>
#include <numbers>

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

namespace dormer::adapter {
namespace {

/// Gives every element its own number of the parameter's stream. Drawn on the host; the parameter may lie on a device.
void draw(tensor::FlatSpace& space, std::size_t parameter, RandomKey key,
          const std::function<float(RandomKey own, std::int64_t element)>& number) {
  const tensor::ParameterEntry& entry = space.entries()[parameter];
  const at::Tensor place = tensor::FlatSpace::unpadded_part(space.values(), entry);
  if (place.is_meta()) {  // a rehearsal on shapes has no use for numbers
    return;
  }
  const at::Tensor drawn = at::empty(place.sizes(), at::kFloat);
  float* values = drawn.mutable_data_ptr<float>();
  const RandomKey own = key.child(entry.name);
  for (std::int64_t i = 0; i < drawn.numel(); ++i) {
    values[i] = number(own, i);
  }
  place.copy_(drawn);
}

/// Box and Muller 1958, two numbers from one call of Philox.
double normal_number(RandomKey key, std::int64_t i, double deviation) {
  const auto words = philox(key, static_cast<std::uint64_t>(i / 2));
  const auto pair = static_cast<std::size_t>(i % 2) * 2;
  const double radius = std::sqrt(-2.0 * std::log(1.0 - static_cast<double>(to_uniform(words[pair]))));
  return deviation * radius * std::cos(2.0 * std::numbers::pi * static_cast<double>(to_uniform(words[pair + 1])));
}

}  // namespace

void draw_uniform(tensor::FlatSpace& space, std::size_t parameter, RandomKey key, std::int64_t fan_in) {
  const float bound = 1.0F / std::sqrt(static_cast<float>(fan_in));
  draw(space, parameter, key, [bound](RandomKey own, std::int64_t i) {
    const auto words = philox(own, static_cast<std::uint64_t>(i / 4));
    return (2.0F * to_uniform(words[static_cast<std::size_t>(i % 4)]) - 1.0F) * bound;
  });
}

void draw_normal(tensor::FlatSpace& space, std::size_t parameter, RandomKey key, double deviation) {
  draw(space, parameter, key,
       [deviation](RandomKey own, std::int64_t i) { return static_cast<float>(normal_number(own, i, deviation)); });
}

at::Tensor normal_numbers(RandomKey key, at::IntArrayRef shape) {
  at::Tensor numbers = at::empty(shape, at::kFloat);
  auto* values = numbers.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < numbers.numel(); ++i) {
    values[i] = static_cast<float>(normal_number(key, i, 1.0));
  }
  return numbers;
}

}  // namespace dormer::adapter
