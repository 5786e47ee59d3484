#pragma once

#include <cstdint>
#include <string_view>

#include "dormer/core/dtype.hpp"
#include "dormer/tensor/forward.hpp"

namespace dormer::tensor {

/// Which library multiplies frozen weights on a CPU (on a GPU it is at::mm). oneDNN runs fp32 products 2.3 times as
/// fast as at::mm on AMD CPUs; half precision on a CPU without its instructions goes through fp32. Part of a run's
/// fingerprint: the paths differ in the last bits.
enum class ProductPath : std::uint8_t { kPlain, kOneDnn };

/// The shipped rule: oneDNN where LibTorch offers it (the operators are private: probed), at::mm otherwise.
[[nodiscard]] ProductPath default_product_path();
/// Chosen once at start, before any product; the same on all ranks.
void set_product_path(ProductPath path);
[[nodiscard]] ProductPath product_path();
[[nodiscard]] std::string_view name_of(ProductPath path);

/// x [rows, in] times weight [out, in] transposed: [rows, out]. A fresh tensor.
[[nodiscard]] at::Tensor multiply_transposed(const at::Tensor& x, const at::Tensor& weight);
/// x [rows, out] times weight [out, in]: [rows, in]. A fresh tensor.
[[nodiscard]] at::Tensor multiply(const at::Tensor& x, const at::Tensor& weight);

[[nodiscard]] at::Tensor to_dtype(const at::Tensor& values, DType dtype);
[[nodiscard]] DType dtype_of(const at::Tensor& values);

}  // namespace dormer::tensor
