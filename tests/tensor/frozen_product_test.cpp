#include "dormer/tensor/frozen_product.hpp"

#include <ATen/core/Tensor.h>
#include <ATen/ops/matmul.h>
#include <gtest/gtest.h>

#include "support/tensor_comparison.hpp"

namespace dormer::tensor {
namespace {

using test::normal;
using test::relative_error;

class FrozenProducts : public ::testing::TestWithParam<at::ScalarType> {};

/// Also where the CPU has no instructions for the dtype: `tensor_products_avx2` runs this without them.
TEST_P(FrozenProducts, AreThoseOfFp64RoundedOnce) {
  const at::Tensor x = normal({37, 72}, 1).to(GetParam());
  const at::Tensor weight = normal({41, 72}, 2).to(GetParam());
  const at::Tensor wide = normal({37, 41}, 3).to(GetParam());
  // The dtype's own rounding and that of a sum of 72 in fp32, of elements up to five times their root mean square.
  const double rounding = GetParam() == at::kBFloat16 ? 0x1p-8 : GetParam() == at::kHalf ? 0x1p-11 : 0.0;
  const double allowed = 5.0 * (rounding + 72 * 0x1p-24);
  const at::Tensor y = multiply_transposed(x, weight);
  EXPECT_EQ(y.scalar_type(), GetParam());
  EXPECT_LT(relative_error(y, at::matmul(x.to(at::kDouble), weight.to(at::kDouble).t())), allowed);
  const at::Tensor gradient = multiply(wide, weight);
  EXPECT_EQ(gradient.scalar_type(), GetParam());
  EXPECT_LT(relative_error(gradient, at::matmul(wide.to(at::kDouble), weight.to(at::kDouble))), allowed);
}

INSTANTIATE_TEST_SUITE_P(Dtypes, FrozenProducts, ::testing::Values(at::kFloat, at::kBFloat16, at::kHalf));

}  // namespace
}  // namespace dormer::tensor
