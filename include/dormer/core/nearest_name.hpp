#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace dormer {

/// The known name with the smallest edit distance (transpositions count one), if it is near enough to be meant.
[[nodiscard]] std::optional<std::string> nearest_name(std::string_view name, std::span<const std::string> known);

/// "; did you mean 'x'?" or nothing.
[[nodiscard]] std::string did_you_mean(std::string_view name, std::span<const std::string> known);

}  // namespace dormer
