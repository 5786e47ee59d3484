#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dormer::report {

enum class Mark : std::uint8_t {
  kLine,
  kSteps,  ///< a line that stays until its next point
  kPoints,
  kBars
};

/// One curve, the points of one group, or bars of one colour.
struct Series {
  std::string name;
  std::vector<double> x;
  std::vector<double> y;
  std::vector<std::string> labels;  ///< of points and bars: shown where one of them is pointed at
  Mark mark = Mark::kLine;
  bool labels_tell_all = false;  ///< the labels already tell the numbers
  bool listed = true;            ///< stands in the legend
  std::string colour{};        ///< a colour of the page's style: c0 to c7, v0 to v7, quiet; empty: the next of c0 to c7
  std::vector<double> base{};  ///< where bars begin; empty: at 0
  [[nodiscard]] bool is_line() const { return mark == Mark::kLine || mark == Mark::kSteps; }
};

struct Axis {
  bool log = false;                       ///< the logarithm is drawn; all values are above 0
  std::vector<std::string> categories{};  ///< names of 0, 1, …; empty: numbers
  [[nodiscard]] bool named() const { return !categories.empty(); }
};

/// One picture of a page, with its text alternative.
struct Plot {
  std::string id;
  std::string title;
  std::string x_label;
  std::string y_label;
  std::string summary;  ///< says in words what the picture shows
  std::vector<Series> series;
  Axis x_axis{};
  Axis y_axis{};
  bool sideways = false;  ///< bars grow along x from their place on y
  bool small = false;     ///< one of several side by side
  double height = 320.0;  ///< of the still picture, 760 wide, or 372 where it is small
  [[nodiscard]] bool empty() const;
};

/// The colour of the series at `index`, as the style names it.
[[nodiscard]] std::string colour_of(const Series& series, std::size_t index);

/// A line of at most about `most` points: of more, every stretch keeps its smallest and largest, in order. The ends
/// stay. Pure.
[[nodiscard]] Series thinned(const Series& line, std::size_t most);

/// The plot as inline SVG, in the colours of the page's style.
[[nodiscard]] std::string svg(const Plot& plot);

/// The plot as the page's script reads it: JSON that may stand inside of a script element.
[[nodiscard]] std::string script_data(const Plot& plot);

}  // namespace dormer::report
