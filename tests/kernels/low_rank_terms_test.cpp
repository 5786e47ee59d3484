#include "dormer/kernels/low_rank_terms.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace dormer::kernels {
namespace {

struct TermSizes {
  std::int64_t rows;
  std::int64_t width;
  std::int64_t rank;
};

/// One row and one column, odd numbers of either, tiles that are not whole, runs of rows and of columns, several
/// registers of ranks.
const std::vector<TermSizes> kTermSizes{{1, 1, 1},       {3, 15, 4},     {8, 16, 16},    {5, 17, 3},
                                        {70, 1'101, 16}, {531, 300, 32}, {67, 530, 100}, {9, 40, 300}};

std::vector<BFloat16> drawn_halves(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<BFloat16> values(static_cast<std::size_t>(count));
  for (BFloat16& value : values) {
    store(&value, normal(random));
  }
  return values;
}

/// What a range of rows or columns has.
struct Terms {
  explicit Terms(std::int64_t count)
      : change(static_cast<std::size_t>(count), -1.0), size(static_cast<std::size_t>(count), -1.0) {}
  bool operator==(const Terms&) const = default;

  std::vector<double> change;
  std::vector<double> size;
};

class TermProblem {
 public:
  explicit TermProblem(const TermSizes& sizes)
      : sizes_(sizes),
        weight_(drawn_halves(sizes.rows * sizes.width, 1)),
        a_(drawn_halves(sizes.rank * sizes.width, 2)),
        b_(drawn_halves(sizes.rank * sizes.rows, 3)) {}

  /// In ranges of so many.
  [[nodiscard]] Terms rows(std::int64_t range, VectorLevel level = best_vector_level()) const {
    Terms terms(sizes_.rows);
    const FactorPanel panel(a_.data(), sizes_.rank, sizes_.width, level);
    for (std::int64_t first = 0; first < sizes_.rows; first += range) {
      low_rank_row_terms(arguments(terms), panel, {first, std::min(first + range, sizes_.rows)});
    }
    return terms;
  }
  [[nodiscard]] Terms columns(std::int64_t range, VectorLevel level = best_vector_level()) const {
    Terms terms(sizes_.width);
    const FactorPanel panel(b_.data(), sizes_.rank, sizes_.rows, level);
    for (std::int64_t first = 0; first < sizes_.width; first += range) {
      low_rank_column_terms(arguments(terms), panel, {first, std::min(first + range, sizes_.width)});
    }
    return terms;
  }

  [[nodiscard]] double weight(std::int64_t row, std::int64_t column) const {
    return element(weight_, row * sizes_.width + column);
  }
  [[nodiscard]] double a(std::int64_t rank, std::int64_t column) const {
    return element(a_, rank * sizes_.width + column);
  }
  [[nodiscard]] double b(std::int64_t rank, std::int64_t row) const { return element(b_, rank * sizes_.rows + row); }

 private:
  static double element(const std::vector<BFloat16>& values, std::int64_t index) {
    return static_cast<double>(load(&values[static_cast<std::size_t>(index)]));
  }
  [[nodiscard]] LowRankTermsArguments arguments(Terms& terms) const {
    return {weight_.data(),    a_.data(),   b_.data(),    terms.change.data(),
            terms.size.data(), sizes_.rows, sizes_.width, sizes_.rank};
  }

  TermSizes sizes_;
  std::vector<BFloat16> weight_;
  std::vector<BFloat16> a_;
  std::vector<BFloat16> b_;
};

/// 2 w·δ + |δ|² of one row (or column), and how large its products are: a run of up to 512 sums in fp32, each off by
/// at most half a unit of a partial sum, which grows as the root of its number, three times over; then some runs.
struct Wanted {
  double change = 0.0;
  double size = 0.0;
  double bound = 0.0;
};

/// `across(r, i)` and `own(r)` are the factors along the row and beside it.
template <typename Weight, typename Across, typename Own>
Wanted wanted(std::int64_t rank, std::int64_t length, const Weight& weight, const Across& across, const Own& own) {
  Wanted result;
  double frozen = 0.0;
  double reach = 0.0;  // of the ranks' parts, were they all in line
  std::vector<double> lengths(static_cast<std::size_t>(rank));
  for (std::int64_t i = 0; i < length; ++i) {
    double change = 0.0;
    for (std::int64_t r = 0; r < rank; ++r) {
      change += own(r) * across(r, i);
      lengths[static_cast<std::size_t>(r)] += across(r, i) * across(r, i);
    }
    result.change += 2.0 * weight(i) * change + change * change;
    frozen += weight(i) * weight(i);
  }
  for (std::int64_t r = 0; r < rank; ++r) {
    const double part = own(r) * own(r) * lengths[static_cast<std::size_t>(r)];
    result.size += part;
    reach += std::sqrt(part);
  }
  result.bound = 3.0 * 0x1p-24 * (2.0 * std::sqrt(frozen) + reach) * reach;
  return result;
}

void expect_definition(const TermSizes& sizes) {
  SCOPED_TRACE(testing::Message() << sizes.rows << " x " << sizes.width << ", rank " << sizes.rank);
  const TermProblem problem(sizes);
  const Terms rows = problem.rows(sizes.rows);
  for (std::int64_t row = 0; row < sizes.rows; ++row) {
    const Wanted row_wanted = wanted(
        sizes.rank, sizes.width, [&](std::int64_t i) { return problem.weight(row, i); },
        [&](std::int64_t r, std::int64_t i) { return problem.a(r, i); },
        [&](std::int64_t r) { return problem.b(r, row); });
    EXPECT_NEAR(rows.change[static_cast<std::size_t>(row)], row_wanted.change, row_wanted.bound) << "row " << row;
    EXPECT_NEAR(rows.size[static_cast<std::size_t>(row)], row_wanted.size, row_wanted.bound) << "row " << row;
  }
  const Terms columns = problem.columns(sizes.width);
  for (std::int64_t column = 0; column < sizes.width; ++column) {
    const Wanted column_wanted = wanted(
        sizes.rank, sizes.rows, [&](std::int64_t i) { return problem.weight(i, column); },
        [&](std::int64_t r, std::int64_t i) { return problem.b(r, i); },
        [&](std::int64_t r) { return problem.a(r, column); });
    EXPECT_NEAR(columns.change[static_cast<std::size_t>(column)], column_wanted.change, column_wanted.bound)
        << "column " << column;
    EXPECT_NEAR(columns.size[static_cast<std::size_t>(column)], column_wanted.size, column_wanted.bound)
        << "column " << column;
  }
}

TEST(LowRankTerms, AreThoseOfTheDenseChange) {
  for (const TermSizes& sizes : kTermSizes) {
    expect_definition(sizes);
  }
}

TEST(LowRankTerms, HaveTheSameBitsInAnyRanges) {
  for (const TermSizes& sizes : kTermSizes) {
    const TermProblem problem(sizes);
    EXPECT_EQ(problem.rows(3), problem.rows(sizes.rows)) << sizes.rows << " x " << sizes.width;
    EXPECT_EQ(problem.columns(7), problem.columns(sizes.width)) << sizes.rows << " x " << sizes.width;
  }
}

TEST(LowRankTerms, HaveTheSameBitsAtEveryLevelOfTheProcessor) {
  for (const TermSizes& sizes : kTermSizes) {
    const TermProblem problem(sizes);
    const Terms rows = problem.rows(sizes.rows, VectorLevel::kBase);
    const Terms columns = problem.columns(sizes.width, VectorLevel::kBase);
    for (const VectorLevel level : {VectorLevel::kAvx2, VectorLevel::kAvx512, VectorLevel::kAvx512Pairs}) {
      if (level <= best_vector_level()) {
        EXPECT_EQ(problem.rows(sizes.rows, level), rows) << sizes.rows << " x " << sizes.width;
        EXPECT_EQ(problem.columns(sizes.width, level), columns) << sizes.rows << " x " << sizes.width;
      }
    }
  }
}

}  // namespace
}  // namespace dormer::kernels
