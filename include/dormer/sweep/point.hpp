#pragma once

#include <string>
#include <vector>

namespace dormer::sweep {

/// One key of the configuration and the YAML that stands there, as `--set path=text` takes it; "null" takes the key
/// away, so that its default counts.
struct Setting {
  std::string path;
  std::string text;
  bool operator==(const Setting&) const = default;
};

/// A place in the search space: its settings, in the order of the space. Parameters whose condition does not hold are
/// left out.
using Point = std::vector<Setting>;

/// "{optimizer.learning_rate: 0.001, adapter.rank: 8}".
[[nodiscard]] std::string text_of(const Point& point);

}  // namespace dormer::sweep
