#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

namespace dormer::report {

/// Each dotted path by as few of its last parts as tell it from the others: "learning_rate" for
/// "optimizer.learning_rate", unless another path ends in it, too. In the order of `paths`. Pure.
[[nodiscard]] std::vector<std::string> short_names(std::span<const std::string> paths);

/// "0.4 s", "42 s", "3 min 20 s", "5 h 07 min", "2 d 03 h".
[[nodiscard]] std::string duration_text(double seconds);

/// A text that is a whole number or a decimal fraction, as YAML has them; nothing where it is none, or not finite.
[[nodiscard]] std::optional<double> number_of(const std::string& text);

}  // namespace dormer::report
