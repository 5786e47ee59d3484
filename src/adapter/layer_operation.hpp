#pragma once

#include <functional>
#include <optional>

#include <ATen/core/Tensor.h>

#include "dormer/adapter/site.hpp"

/// What the three forms of layers do with a weight, and what passes back through it. Weights have the shape of their
/// layer's (LayerForm). Fresh tensors; nothing is recorded.
namespace dormer::adapter {

/// The layer without its bias.
[[nodiscard]] at::Tensor apply_weight(const Site& site, const at::Tensor& x, const at::Tensor& weight);
/// The gradient of x; undefined for an embedding, whose x are token ids.
[[nodiscard]] at::Tensor input_gradient(const Site& site, const at::Tensor& gradient, const at::Tensor& x,
                                        const at::Tensor& weight);
/// The gradient of the weight, in the weight's shape. Of linear layers and convolutions in the compute dtype,
/// of norms in fp32; an embedding has none that is dense.
[[nodiscard]] at::Tensor weight_gradient(const Site& site, const at::Tensor& gradient, const at::Tensor& x);

/// The weight of a site as rows [first, first + count) of the matrix [out, channels * taps], fp32.
[[nodiscard]] at::Tensor matrix_rows(const Site& site, const at::Tensor& weight, std::int64_t first,
                                     std::int64_t count);
/// Elements of a block of rows: of at most 16 MiB in fp32, and of one that stays in a core's cache with what is made of
/// it.
inline constexpr std::int64_t kBlockElements = std::int64_t{4} << 20;
inline constexpr std::int64_t kCachedElements = std::int64_t{1} << 17;
/// Calls `visit(first, count)` for blocks of rows that together are the `out` rows of the site, in order; a block has
/// at most so many elements, or is one row.
void for_row_blocks(const Site& site, const std::function<void(std::int64_t first, std::int64_t count)>& visit,
                    std::int64_t elements = kBlockElements);
/// The same for a weight whose blocks are made and used up in turn: on a CPU they stay in a core's cache.
void for_cached_rows(const Site& site, const at::Tensor& weight,
                     const std::function<void(std::int64_t first, std::int64_t count)>& visit);

/// [channels * taps] values of a matrix's columns summed over taps: [channels].
[[nodiscard]] at::Tensor sum_taps(const Site& site, const at::Tensor& columns);

/// An image [samples, groups * channels, …] with its groups as samples; the same memory where it is contiguous. Other
/// inputs, and images of one group, as they are.
[[nodiscard]] at::Tensor groups_as_samples(const at::Tensor& image, std::int64_t channels);

/// y *= factor, one for every channel (fp32), then += bias (or undefined). Channels are the last axis of two, the
/// second of more.
void scale_channels(at::Tensor& y, const at::Tensor& factor, const at::Tensor& bias);

/// A copy of x with its channels scaled so, in x's dtype.
[[nodiscard]] at::Tensor scaled_channels(const at::Tensor& x, const at::Tensor& factor);

/// slot += the gradient of a factor whose second axis are channels, times what they were multiplied by (or undefined).
void add_by_channel(at::Tensor slot, const at::Tensor& gradient, const at::Tensor& factor);

/// scaled = gradient * factor (which may be the gradient itself); sums += sum_factor * the sums over everything but
/// channels of gradient * (y - bias). `sums` and `sum_factor` are fp32.
void scale_channels_backward(const at::Tensor& gradient, const at::Tensor& y, const at::Tensor& bias,
                             const at::Tensor& factor, const at::Tensor& sum_factor, at::Tensor sums,
                             at::Tensor scaled);

/// y += bias, one for every channel.
void add_bias(at::Tensor& y, const at::Tensor& bias);

}  // namespace dormer::adapter
