#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "dormer/core/dtype.hpp"

namespace dormer::test {

/// Loss, gradient, and the parameters after one update, on the host: a DoRA with dropout of a tiny model whose factors
/// are not zero, on rows of two documents with some targets not counted.
[[nodiscard]] std::vector<at::Tensor> one_update(const std::filesystem::path& folder, DType dtype,
                                                 const std::string& device = "cpu");

/// 40 operations follow one another in a micro-batch, each a sum of up to 112 terms (the widest layer) in another
/// order; an element's largest gradient stands some 16 times above their root mean square. In bfloat16, where the
/// products are the same and only the loops around them differ, single roundings change: less than one of them.
[[nodiscard]] double update_tolerance(DType dtype);

/// Attention as a capped family has it, forward and backward: the output and three gradients, on the host.
[[nodiscard]] std::vector<at::Tensor> capped_attention(DType dtype, const std::string& device = "cpu");

/// Channels of images scaled, and back: the images, the scaled gradient and the channels' sums, on the host.
[[nodiscard]] std::vector<at::Tensor> scaled_images(DType dtype, const std::string& device = "cpu");

/// Fails unless every tensor is within `tolerance` of the other's root mean square.
void expect_close(const std::vector<at::Tensor>& actual, const std::vector<at::Tensor>& expected, double tolerance);

/// Fails unless every tensor of `actual` is about as near to `exact` as `other` is: both are bfloat16 results of the
/// same computation in other orders, `exact` is the fp32 one. Through a chain of layers a first rounding grows beyond
/// any fixed number of units, in both alike; the largest of thousands of such errors differ by less than a factor of
/// two.
void expect_as_near(const std::vector<at::Tensor>& actual, const std::vector<at::Tensor>& other,
                    const std::vector<at::Tensor>& exact);

}  // namespace dormer::test
