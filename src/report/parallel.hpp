#pragma once

#include <string>
#include <utility>
#include <vector>

namespace dormer::report {

/// One upright axis: what stands over it, and what stands at which height (0 below, 1 above).
struct ParallelAxis {
  std::string name;
  std::string full_name;
  std::vector<std::pair<double, std::string>> ticks;
};

/// One trial: its height on each axis and what it has there. A height that is no number ends the line before.
struct ParallelLine {
  std::string label;
  std::string colour;  ///< of the page's style: v0 to v7, failed
  std::vector<double> heights;
  std::vector<std::string> texts;
};

/// Parallel coordinates: several axes side by side and a line a trial across all of them.
struct Parallel {
  std::string id;
  std::string title;
  std::string summary;  ///< says in words what the picture shows
  std::string best;     ///< what v0 stands for
  std::string worst;    ///< what v7 stands for
  std::vector<ParallelAxis> axes;
  std::vector<ParallelLine> lines;  ///< the first one lies below all others
  [[nodiscard]] bool empty() const { return lines.empty(); }
};

/// The picture as inline SVG, in the colours of the page's style.
[[nodiscard]] std::string svg(const Parallel& plot);

/// The picture as the page's script reads it: JSON that may stand inside of a script element.
[[nodiscard]] std::string script_data(const Parallel& plot);

}  // namespace dormer::report
