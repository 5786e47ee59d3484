#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/ranges.h>

#include "dormer/core/error.hpp"
#include "dormer/core/nearest_name.hpp"

namespace dormer {

/// Names and what they stand for, in the order of their list. Built by generated code (cmake/rooms.cmake).
template <typename T>
class Registry {
 public:
  void add(std::string name, T value) { entries_.emplace_back(std::move(name), std::move(value)); }

  [[nodiscard]] const T* find(std::string_view name) const {
    for (const auto& [key, value] : entries_) {
      if (key == name) {
        return &value;
      }
    }
    return nullptr;
  }

  /// Throws a usage error that names `what`, the known names and the nearest of them.
  [[nodiscard]] const T& get(std::string_view what, std::string_view name) const {
    const T* found = find(name);
    require(found != nullptr, Fault::kUsage, "unknown {} '{}'{}; known: {}", what, name, did_you_mean(name, names()),
            fmt::join(names(), ", "));
    return *found;
  }

  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> result;
    for (const auto& entry : entries_) {
      result.push_back(entry.first);
    }
    return result;
  }

  [[nodiscard]] const std::vector<std::pair<std::string, T>>& entries() const { return entries_; }

 private:
  std::vector<std::pair<std::string, T>> entries_;
};

}  // namespace dormer
