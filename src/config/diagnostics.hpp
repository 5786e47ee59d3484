#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "dormer/config/tree.hpp"

namespace dormer::config {

/// Collects the mistakes of one document.
class Diagnostics {
 public:
  void add(Place place, std::string_view path, std::string_view text);
  /// Whether the top-level group of `path` has a mistake already.
  [[nodiscard]] bool concerns_group_of(std::string_view path) const;
  /// In the order in which they were found.
  [[nodiscard]] std::vector<Mistake> take() && { return std::move(mistakes_); }

 private:
  std::vector<Mistake> mistakes_;
  std::set<std::string, std::less<>> groups_;
};

}  // namespace dormer::config
