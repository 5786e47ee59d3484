#include "dormer/sweep/point.hpp"

#include <fmt/ranges.h>

namespace dormer::sweep {

std::string text_of(const Point& point) {
  std::vector<std::string> settings;
  for (const Setting& setting : point) {
    settings.push_back(fmt::format("{}: {}", setting.path, setting.text));
  }
  return fmt::format("{{{}}}", fmt::join(settings, ", "));
}

}  // namespace dormer::sweep
