#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace dormer::data {

/// Which neighbouring source samples make up one output sample, along one axis; the weights add up to 1.
struct Taps {
  std::int64_t first = 0;
  std::vector<float> weights;
};

/// Along one axis: output i stands for the source from origin + i*step to origin + (i+1)*step, in source samples.
struct Sampling {
  std::int64_t source = 0;  ///< samples there are
  std::int64_t count = 0;   ///< outputs
  double origin = 0.0;
  double step = 1.0;
};

/// Keys' cubic with a = -1/2 (Keys 1981), widened by the step where the image shrinks, so that nothing is skipped: what
/// Pillow and PyTorch call antialiased bicubic. A polynomial: its values hang on no mathematics library. At a step of 1
/// and a whole origin it takes the samples as they are.
[[nodiscard]] std::vector<Taps> cubic_taps(const Sampling& sampling);
/// The mean over the part of the source that each output stands for, by exact overlap.
[[nodiscard]] std::vector<Taps> area_taps(const Sampling& sampling);

/// Row `y` of the source as floats [columns, channels], of columns `first_column` and following.
using ReadRow = std::function<void(std::int64_t y, std::int64_t first_column, std::span<float> row)>;

/// [rows.size(), columns.size(), channels]: first down the columns, then along the rows, both in fp32 and in the order
/// of taps, so that the bits hang on nothing else. Pure.
[[nodiscard]] std::vector<float> resample(const std::vector<Taps>& rows, const std::vector<Taps>& columns,
                                          std::int64_t channels, const ReadRow& read_row);

}  // namespace dormer::data
