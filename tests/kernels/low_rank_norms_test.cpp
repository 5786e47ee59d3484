#include "dormer/kernels/low_rank_norms.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

namespace dormer::kernels {
namespace {

struct Sizes {
  std::int64_t rows;
  std::int64_t width;
  std::int64_t rank;
};

/// One row and one column, tiles that are not whole, several blocks of columns, a factor larger than a block.
const std::vector<Sizes> kSizes{{1, 1, 1},       {3, 15, 4},     {4, 16, 16},    {5, 17, 3},
                                {70, 1'100, 16}, {130, 300, 32}, {67, 530, 100}, {9, 40, 1'000}};

template <typename Element>
class Problem {
 public:
  explicit Problem(const Sizes& sizes)
      : sizes_(sizes),
        weight_(drawn<Element>(sizes.rows * sizes.width, 1)),
        a_(drawn<Element>(sizes.rank * sizes.width, 2)),
        b_(drawn<Element>(sizes.rank * sizes.rows, 3)) {}

  LowRankNormsArguments<Element> arguments(std::vector<double>& squares) const {
    return {weight_.data(), a_.data(), b_.data(), squares.data(), sizes_.rows, sizes_.width, sizes_.rank, kScale};
  }

  /// W + Δ at a place in fp64.
  double sum(std::int64_t row, std::int64_t column) const {
    double change = 0.0;
    for (std::int64_t r = 0; r < sizes_.rank; ++r) {
      change += static_cast<double>(load(&b_[static_cast<std::size_t>(r * sizes_.rows + row)])) *
                static_cast<double>(load(&a_[static_cast<std::size_t>(r * sizes_.width + column)]));
    }
    return static_cast<double>(load(&weight_[static_cast<std::size_t>(row * sizes_.width + column)])) +
           static_cast<double>(kScale) * change;
  }

  /// Sums of up to `rank` products in fp32, their square, and runs of 512 squares: relative to the sum of squares, in
  /// which the elements' errors add up as random ones would, three times over.
  [[nodiscard]] double bound() const { return 3 * 0x1p-24 * (std::sqrt(static_cast<double>(sizes_.rank)) + 4.0); }

 private:
  static constexpr float kScale = std::is_same_v<Element, float> ? 0.7F : 1.0F;

  template <typename Value>
  static std::vector<Value> drawn(std::int64_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<Value> values(static_cast<std::size_t>(count));
    for (Value& value : values) {
      store(&value, normal(random));
    }
    return values;
  }

  Sizes sizes_;
  std::vector<Element> weight_;
  std::vector<Element> a_;
  std::vector<Element> b_;
};

template <typename Element>
void expect_definition(const Sizes& sizes) {
  SCOPED_TRACE(testing::Message() << sizes.rows << " x " << sizes.width << ", rank " << sizes.rank);
  const Problem<Element> problem(sizes);
  std::vector<double> wanted_rows(static_cast<std::size_t>(sizes.rows));
  std::vector<double> wanted_columns(static_cast<std::size_t>(sizes.width));
  for (std::int64_t row = 0; row < sizes.rows; ++row) {
    for (std::int64_t column = 0; column < sizes.width; ++column) {
      const double value = problem.sum(row, column);
      wanted_rows[static_cast<std::size_t>(row)] += value * value;
      wanted_columns[static_cast<std::size_t>(column)] += value * value;
    }
  }
  std::vector<double> rows(wanted_rows.size(), -1.0);
  std::vector<double> columns(wanted_columns.size(), -1.0);
  sum_row_squares(problem.arguments(rows), {0, sizes.rows});
  sum_column_squares(problem.arguments(columns), {0, sizes.width});
  // A row or column of few elements may cancel more than its like do: the largest sum is the scale.
  const double row_scale = *std::max_element(wanted_rows.begin(), wanted_rows.end());
  const double column_scale = *std::max_element(wanted_columns.begin(), wanted_columns.end());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_NEAR(rows[i], wanted_rows[i], problem.bound() * row_scale) << "row " << i;
  }
  for (std::size_t i = 0; i < columns.size(); ++i) {
    EXPECT_NEAR(columns[i], wanted_columns[i], problem.bound() * column_scale) << "column " << i;
  }
}

TEST(LowRankNorms, AreTheSquaresOfTheDenseSum) {
  for (const Sizes& sizes : kSizes) {
    expect_definition<float>(sizes);
    expect_definition<BFloat16>(sizes);
  }
}

template <typename Element>
void expect_same_bits_in_any_ranges(const Sizes& sizes) {
  const Problem<Element> problem(sizes);
  std::vector<double> rows(static_cast<std::size_t>(sizes.rows));
  std::vector<double> columns(static_cast<std::size_t>(sizes.width));
  sum_row_squares(problem.arguments(rows), {0, sizes.rows});
  sum_column_squares(problem.arguments(columns), {0, sizes.width});
  std::vector<double> cut_rows(rows.size(), -1.0);
  std::vector<double> cut_columns(columns.size(), -1.0);
  for (std::int64_t first = 0; first < sizes.rows; first += 3) {
    sum_row_squares(problem.arguments(cut_rows), {first, std::min(first + 3, sizes.rows)});
  }
  for (std::int64_t first = 0; first < sizes.width; first += 7) {
    sum_column_squares(problem.arguments(cut_columns), {first, std::min(first + 7, sizes.width)});
  }
  EXPECT_EQ(cut_rows, rows);
  EXPECT_EQ(cut_columns, columns);
}

TEST(LowRankNorms, HaveTheSameBitsInAnyRanges) {
  for (const Sizes& sizes : kSizes) {
    expect_same_bits_in_any_ranges<float>(sizes);
    expect_same_bits_in_any_ranges<BFloat16>(sizes);
  }
}

template <typename Element>
void expect_same_bits_at_every_level(const Sizes& sizes) {
  const Problem<Element> problem(sizes);
  std::vector<double> rows(static_cast<std::size_t>(sizes.rows));
  std::vector<double> columns(static_cast<std::size_t>(sizes.width));
  sum_row_squares(problem.arguments(rows), {0, sizes.rows}, VectorLevel::kBase);
  sum_column_squares(problem.arguments(columns), {0, sizes.width}, VectorLevel::kBase);
  for (const VectorLevel level : {VectorLevel::kAvx2, VectorLevel::kAvx512, VectorLevel::kAvx512Pairs}) {
    if (level <= best_vector_level()) {
      std::vector<double> level_rows(rows.size(), -1.0);
      std::vector<double> level_columns(columns.size(), -1.0);
      sum_row_squares(problem.arguments(level_rows), {0, sizes.rows}, level);
      sum_column_squares(problem.arguments(level_columns), {0, sizes.width}, level);
      EXPECT_EQ(level_rows, rows);
      EXPECT_EQ(level_columns, columns);
    }
  }
}

TEST(LowRankNorms, HaveTheSameBitsAtEveryLevelOfTheProcessor) {
  for (const Sizes& sizes : kSizes) {
    expect_same_bits_at_every_level<float>(sizes);
    expect_same_bits_at_every_level<BFloat16>(sizes);
  }
}

}  // namespace
}  // namespace dormer::kernels
