#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace dormer::report {

/// How often `part` stands in `text`.
inline std::size_t count(const std::string& text, std::string_view part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) {
    ++found;
  }
  return found;
}

}  // namespace dormer::report
