#pragma once

#include <cstddef>
#include <cstdint>

#include <ATen/core/Tensor.h>

#include "dormer/core/random_key.hpp"
#include "dormer/tensor/flat_space.hpp"

/// How parameters start: a function of the key and the parameter's name alone. Padding is left as it is.
namespace dormer::adapter {

/// Uniform in [-1, 1) / sqrt(fan_in): PyTorch's Kaiming uniform with a = sqrt(5).
void draw_uniform(tensor::FlatSpace& space, std::size_t parameter, RandomKey key, std::int64_t fan_in);
/// Normal with mean 0 (Box and Muller 1958).
void draw_normal(tensor::FlatSpace& space, std::size_t parameter, RandomKey key, double deviation);
/// Standard normal numbers of a stream, fp32 on the host.
[[nodiscard]] at::Tensor normal_numbers(RandomKey key, at::IntArrayRef shape);

}  // namespace dormer::adapter
