#pragma once

#include <string>

#include "dormer/config/visitor.hpp"

namespace dormer::config {

/// "at least 1", "above 0 and at most 1", "between 1 and 4096"; empty without bounds.
[[nodiscard]] std::string range_text(const Field& field);

/// The words or the range that a field allows; empty: any.
[[nodiscard]] std::string allowed_text(const Field& field);

[[nodiscard]] bool in_range(double value, const Field& field);

}  // namespace dormer::config
