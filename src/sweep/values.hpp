#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace dormer::sweep {

/// The finite number that a text is; nothing for any other text.
[[nodiscard]] std::optional<double> number_of(std::string_view text);
/// The shortest digits that read back as the same double; whole numbers have no point.
[[nodiscard]] std::string number_text(double value);
/// Whether two texts say the same: equal, or equal numbers (1.0e-4 and 0.0001).
[[nodiscard]] bool same_value(std::string_view one, std::string_view other);
/// The nearest number of twelve digits: what a sum or a power of round numbers was meant to be.
[[nodiscard]] double twelve_digits(double value);

}  // namespace dormer::sweep
