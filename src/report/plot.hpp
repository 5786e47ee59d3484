#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace dormer::report {

/// One curve, or the points of one group.
struct Series {
  std::string name;
  std::vector<double> x;
  std::vector<double> y;
  std::vector<std::string> labels;  ///< of the points, for a scattering; empty: a line
  [[nodiscard]] bool is_line() const { return labels.empty(); }
};

/// One picture of a page, with its text alternative.
struct Plot {
  std::string id;
  std::string title;
  std::string x_label;
  std::string y_label;
  std::string summary;  ///< says in words what the picture shows
  std::vector<Series> series;
  [[nodiscard]] bool empty() const;
};

/// A line of at most about `most` points: of more, every stretch keeps its smallest and largest, in order. The ends
/// stay. Pure.
[[nodiscard]] Series thinned(const Series& line, std::size_t most);

/// Round numbers inside of [low, high], about five of them.
[[nodiscard]] std::vector<double> ticks(double low, double high);

/// The plot as inline SVG, in the colours of the page's style.
[[nodiscard]] std::string svg(const Plot& plot);

/// The plots as the page's script reads them: JSON that may stand inside of a script element.
[[nodiscard]] std::string script_data(const std::vector<Plot>& plots);

/// `text` as HTML shows it, also inside of quoted attributes.
[[nodiscard]] std::string escaped(std::string_view text);

}  // namespace dormer::report
