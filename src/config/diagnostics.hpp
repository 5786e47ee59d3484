#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "config/document.hpp"

namespace dormer::config {

/// Collects every mistake of one file and its overrides.
class Diagnostics {
 public:
  /// `overrides` as they were given; they stand in place of a line where a mistake came from one.
  Diagnostics(std::string file, std::vector<std::string> overrides)
      : file_(std::move(file)), overrides_(std::move(overrides)) {}

  void add(Place place, std::string_view path, std::string_view text);
  /// Whether the top-level group of `path` has a mistake already.
  [[nodiscard]] bool concerns_group_of(std::string_view path) const;
  /// Throws one usage error with all mistakes, the file's in the order of its lines; returns if there is none.
  void throw_if_any() const;

 private:
  struct Entry {
    Place place;
    std::string text;
  };
  std::string file_;
  std::vector<std::string> overrides_;
  std::vector<Entry> entries_;
  std::set<std::string, std::less<>> groups_;
};

}  // namespace dormer::config
