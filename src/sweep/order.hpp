#pragma once

#include <cstddef>
#include <optional>
#include <vector>

namespace dormer::sweep {

/// An order of things in which each comes after those that it needs, and otherwise as early as its number allows;
/// nothing where they need each other in a circle.
[[nodiscard]] std::optional<std::vector<std::size_t>> order_by_needs(
    const std::vector<std::vector<std::size_t>>& needs);

}  // namespace dormer::sweep
