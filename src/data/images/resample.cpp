#include "resample.hpp"

#include <algorithm>
#include <cmath>

#include "dormer/core/error.hpp"

namespace dormer::data {
namespace {

double cubic(double x) {
  constexpr double kA = -0.5;
  x = std::abs(x);
  if (x < 1.0) {
    return ((kA + 2.0) * x - (kA + 3.0)) * x * x + 1.0;
  }
  return x < 2.0 ? (((x - 5.0) * x + 8.0) * x - 4.0) * kA : 0.0;
}

/// Leaves out what weighs nothing at either end and makes the sum 1.
Taps normalized(std::int64_t first, std::span<const double> weights) {
  double sum = 0.0;
  for (const double weight : weights) {
    sum += weight;
  }
  invariant(sum > 0.0, "an output sample without sources");
  std::size_t begin = 0;
  std::size_t end = weights.size();
  while (weights[begin] == 0.0) {
    ++begin;
  }
  while (weights[end - 1] == 0.0) {
    --end;
  }
  Taps taps{.first = first + static_cast<std::int64_t>(begin), .weights = {}};
  for (std::size_t i = begin; i < end; ++i) {
    taps.weights.push_back(static_cast<float>(weights[i] / sum));
  }
  return taps;
}

/// Calls `weigh(y, i)` for the sources [begin, end) of each output i.
template <typename Extent, typename Weigh>
std::vector<Taps> make_taps(const Sampling& sampling, const Extent& extent, const Weigh& weigh) {
  std::vector<Taps> result;
  std::vector<double> weights;
  for (std::int64_t i = 0; i < sampling.count; ++i) {
    const double begin = sampling.origin + static_cast<double>(i) * sampling.step;
    const auto [low, high] = extent(begin);
    const auto first = std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(low)), 0, sampling.source - 1);
    const auto last = std::clamp<std::int64_t>(static_cast<std::int64_t>(std::ceil(high)), first + 1, sampling.source);
    weights.clear();
    for (std::int64_t source = first; source < last; ++source) {
      weights.push_back(weigh(begin, static_cast<double>(source)));
    }
    result.push_back(normalized(first, weights));
  }
  return result;
}

/// The last rows that were read, as floats.
class RowWindow {
 public:
  RowWindow(std::size_t rows, std::size_t row_size, std::int64_t first_column, const ReadRow& read)
      : row_size_(row_size), first_column_(first_column), read_(read), held_(rows, -1), values_(rows * row_size) {}

  [[nodiscard]] const float* row(std::int64_t y) {
    const std::size_t slot = static_cast<std::size_t>(y) % held_.size();
    float* values = values_.data() + slot * row_size_;
    if (held_[slot] != y) {
      read_(y, first_column_, {values, row_size_});
      held_[slot] = y;
    }
    return values;
  }

 private:
  std::size_t row_size_;
  std::int64_t first_column_;
  const ReadRow& read_;
  std::vector<std::int64_t> held_;
  std::vector<float> values_;
};

void add_scaled(float weight, const float* row, std::span<float> sum) {
  for (std::size_t i = 0; i < sum.size(); ++i) {
    sum[i] += weight * row[i];
  }
}

void along_row(const std::vector<Taps>& columns, std::int64_t first_column, std::size_t channels, const float* row,
               float* out) {
  for (const Taps& taps : columns) {
    const float* source = row + static_cast<std::size_t>(taps.first - first_column) * channels;
    for (std::size_t channel = 0; channel < channels; ++channel) {
      float sum = 0.0F;
      for (std::size_t tap = 0; tap < taps.weights.size(); ++tap) {
        sum += taps.weights[tap] * source[tap * channels + channel];
      }
      *out++ = sum;
    }
  }
}

}  // namespace

std::vector<Taps> cubic_taps(const Sampling& sampling) {
  const double width = std::max(sampling.step, 1.0);
  const double half = sampling.step / 2.0;
  return make_taps(
      sampling,
      [&](double begin) {
        return std::pair{begin + half - 2.0 * width, begin + half + 2.0 * width};
      },
      [&](double begin, double source) { return cubic((source + 0.5 - (begin + half)) / width); });
}

std::vector<Taps> area_taps(const Sampling& sampling) {
  return make_taps(
      sampling,
      [&](double begin) {
        return std::pair{begin, begin + sampling.step};
      },
      [&](double begin, double source) {
        return std::max(std::min(source + 1.0, begin + sampling.step) - std::max(source, begin), 0.0);
      });
}

std::vector<float> resample(const std::vector<Taps>& rows, const std::vector<Taps>& columns, std::int64_t channels,
                            const ReadRow& read_row) {
  invariant(!rows.empty() && !columns.empty(), "an image without rows or columns");
  std::int64_t first_column = columns.front().first;
  std::int64_t end_column = 0;
  for (const Taps& taps : columns) {
    first_column = std::min(first_column, taps.first);
    end_column = std::max(end_column, taps.first + static_cast<std::int64_t>(taps.weights.size()));
  }
  std::size_t most = 0;
  for (const Taps& taps : rows) {
    most = std::max(most, taps.weights.size());
  }
  const auto depth = static_cast<std::size_t>(channels);
  const std::size_t row_size = static_cast<std::size_t>(end_column - first_column) * depth;
  RowWindow window(most, row_size, first_column, read_row);
  std::vector<float> sum(row_size);
  std::vector<float> result(rows.size() * columns.size() * depth);
  float* out = result.data();
  for (const Taps& taps : rows) {
    std::ranges::fill(sum, 0.0F);
    for (std::size_t tap = 0; tap < taps.weights.size(); ++tap) {
      add_scaled(taps.weights[tap], window.row(taps.first + static_cast<std::int64_t>(tap)), sum);
    }
    along_row(columns, first_column, depth, sum.data(), out);
    out += columns.size() * depth;
  }
  return result;
}

}  // namespace dormer::data
