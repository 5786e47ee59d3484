// Principal directions of what a layer is given.
#include "dormer/adapter/input_moments.hpp"

#include <cmath>
#include <limits>

#include <ATen/core/Tensor.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>

#include "dormer/core/error.hpp"
#include "support/tensor_comparison.hpp"

namespace dormer::adapter {
namespace {

using test::normal;

constexpr std::int64_t kRows = 40;
constexpr std::int64_t kWidth = 12;
constexpr std::int64_t kParts = 5;

at::Tensor orthonormal_columns(const at::Tensor& values) {
  return std::get<0>(at::linalg_qr(values.to(at::kDouble)));
}

/// Columns 1, 2, … of an orthonormal basis whose first column is constant: orthonormal and of mean zero.
at::Tensor centred_columns() {
  const at::Tensor basis = orthonormal_columns(at::cat({at::ones({kRows, 1}), normal({kRows, kParts}, 1)}, 1));
  return basis.narrow(1, 1, kParts);
}

/// Σ σ_i u_i v_iᵀ with σ = 16, 8, 4, 2, 1, all around one mean: fp64 [rows, width]. The directions are known: v_i.
at::Tensor known_rows(const at::Tensor& directions, double mean) {
  at::Tensor left = centred_columns();
  for (std::int64_t i = 0; i < kParts; ++i) {
    left.select(1, i).mul_(std::ldexp(16.0, -static_cast<int>(i)));
  }
  return at::mm(left, directions.t()).add(normal({1, kWidth}, 3).to(at::kDouble), mean);
}

/// Rows of the directions, each with its largest element positive.
at::Tensor settled(const at::Tensor& directions) {
  at::Tensor rows = directions.t().clone();
  for (std::int64_t i = 0; i < rows.size(0); ++i) {
    if (rows[i].max().item<double>() < -rows[i].min().item<double>()) {
      rows[i].neg_();
    }
  }
  return rows;
}

TEST(InputMoments, FindsKnownDirectionsInTheOrderOfTheirVarianceWhateverTheMean) {
  const at::Tensor directions = orthonormal_columns(normal({kWidth, kParts}, 2));
  for (const double mean : {0.0, 100.0}) {
    const at::Tensor rows = known_rows(directions, mean);
    InputMoments moments(kWidth);
    moments.add(rows.narrow(0, 0, 7));
    moments.add(rows.narrow(0, 7, kRows - 7));
    EXPECT_EQ(moments.count(), kRows);
    const at::Tensor found = moments.take_directions(kParts);
    EXPECT_EQ(found.scalar_type(), at::kFloat);
    // Rounding of the result, and of sums of products in fp64 over the smallest gap of variances, 1.
    const double sums = test::tolerance(at::kFloat, kRows) * 0x1p-29 * rows.pow(2).sum().item<double>();
    EXPECT_LT(found.to(at::kDouble).sub(settled(directions)).abs().max().item<double>(), 0x1p-24 + sums)
        << "mean " << mean;
  }
}

TEST(InputMoments, TheirRowsAreOrthonormalAndTheSameBitsAgain) {
  const at::Tensor rows = normal({kRows, kWidth}, 4).to(at::kBFloat16);
  const auto directions = [&] {
    InputMoments moments(kWidth);
    moments.add(rows);
    return moments.take_directions(4);
  };
  const at::Tensor found = directions();
  const at::Tensor products = at::mm(found.to(at::kDouble), found.t().to(at::kDouble));
  EXPECT_LT(products.sub(at::eye(4, at::kDouble)).abs().max().item<double>(), test::tolerance(at::kFloat, kWidth));
  EXPECT_TRUE(at::equal(found, directions()));
}

TEST(InputMoments, InputsThatAreNotFiniteAreNamed) {
  const at::Tensor rows = normal({kRows, kWidth}, 4);
  rows[3][5].fill_(std::numeric_limits<float>::infinity());
  InputMoments moments(kWidth);
  moments.add(rows);
  try {
    static_cast<void>(moments.take_directions(2));
    ADD_FAILURE() << "nothing was noticed";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::kNumerical);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("a layer's input is not finite"));
  }
}

}  // namespace
}  // namespace dormer::adapter
