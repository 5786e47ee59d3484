#pragma once

#include <limits>
#include <string>
#include <vector>

namespace dormer::report {

/// Round numbers inside of [low, high], about five of them.
[[nodiscard]] std::vector<double> ticks(double low, double high);

/// The same on a logarithm: powers of ten, with their doubles and fives where there are few, or as `ticks` within less
/// than one decade. 0 < low < high.
[[nodiscard]] std::vector<double> log_ticks(double low, double high);

/// Texts of ticks that are `step` apart.
[[nodiscard]] std::string tick_text(double value, double step);
/// Of one tick of a logarithm: "5e-3", "0.02", "300".
[[nodiscard]] std::string log_tick_text(double value);

/// What an axis shows.
struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void include(double value);
  void include(const std::vector<double>& values);
  /// With some space around the values.
  [[nodiscard]] Range padded() const;
};

/// From values to a picture's units.
struct Scale {
  Range range;         ///< of logarithms where `log`
  double begin = 0.0;  ///< where range.low is drawn
  double end = 1.0;    ///< where range.high is drawn
  bool log = false;
  [[nodiscard]] double at(double value) const;
};

/// Of so many names, every how many-th stands beside an axis: about 24 find room.
[[nodiscard]] std::size_t name_stride(std::size_t names);

/// How wide a text of the pictures' 12 units is, about.
[[nodiscard]] double text_width(const std::string& text);

/// At most `letters` letters, the last one an ellipsis where some are left out.
[[nodiscard]] std::string shortened(const std::string& text, std::size_t letters);

}  // namespace dormer::report
